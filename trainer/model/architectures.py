"""Which models there are: built in by a name, or a function of the user's."""

import dataclasses
import hashlib
import importlib
import inspect
import pathlib
from collections.abc import Callable

from trainer.errors import ConfigError
from trainer.model import options as options_lib, users_code
from trainer.model_flags import BUILT_IN, check_name


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A function that builds a model, and what it says of itself.

    Attributes:
        name: str, what `--model` says.
        function: the build function.
        options: dict, as `options.declared` gives it.
        source: str, the SHA-256 of the file that has the function, if it is
            the user's; empty for a built-in one.
        silence: function of (encoder, decoder, units) that makes all latent
            units but the first ones silent, for `--initial_units`; None if
            the model has none.
    """

    name: str
    function: Callable
    options: dict
    source: str = ""
    silence: Callable | None = None

    @property
    def is_built_in(self):
        """Whether it is a part of this package."""
        return self.name in BUILT_IN

    @property
    def takes_classes(self):
        """Whether the function can build a model that is given labels."""
        return options_lib.CLASSES in self._parameters

    @property
    def needs_classes(self):
        """Whether it can build no other."""
        classes = self._parameters.get(options_lib.CLASSES)
        return classes is not None and classes.default is classes.empty

    @property
    def _parameters(self):
        return inspect.signature(self.function).parameters

    def build(
        self,
        image_shape,
        latent_dim,
        seed,
        output_channels,
        values,
        classes=0,
    ):
        """Returns what the function returns.

        Args:
            image_shape: (height, width, channels).
            latent_dim: int.
            seed: int.
            output_channels: int, the most channels that the likelihood can
                use; a function that does not take them gives those of the
                image.
            values: dict of the options.
            classes: int, of a model that is given labels; 0 of one without.
        """
        given = {
            "image_shape": image_shape,
            "latent_dim": latent_dim,
            "seed": seed,
        }
        if options_lib.OUTPUT_CHANNELS in self._parameters:
            given[options_lib.OUTPUT_CHANNELS] = output_channels
        if classes:
            given[options_lib.CLASSES] = classes
        return self.function(**given, **values)


def find(name):
    """Returns the `Architecture` that `--model` names.

    Raises:
        ConfigError: there is none, or it cannot be imported or called.
    """
    check_name(name)
    if name in BUILT_IN:
        module = importlib.import_module(BUILT_IN[name])
        function, source = module.build, ""
    else:
        module_name, _, attribute = name.partition(":")
        module = _imported(name, module_name)
        function = getattr(module, attribute, None)
        _check_function(name, function)
        source = _digest(name, module)
    return Architecture(
        name=name,
        function=function,
        options=options_lib.declared(function, name),
        source=source,
        silence=getattr(module, "silence", None) if not source else None,
    )


def _imported(name, module_name):
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"--model={name}: Python finds no module {error.name}; run "
                "with PYTHONPATH=FOLDER of the folder that has it."
            ) from error
        raise _not_importable(name, module_name, error) from error
    except users_code.RAISED as error:
        raise _not_importable(name, module_name, error) from error


def _not_importable(name, module_name, error):
    return ConfigError(
        f"--model={name}: {module_name} cannot be imported "
        f"({users_code.reason(error)}); mend it, and try it with: python "
        f"-c 'import {module_name}'"
    )


def _check_function(name, function):
    """Refuses what cannot be called as a build function."""
    module_name, _, attribute = name.partition(":")
    if not callable(function):
        what = "no" if function is None else "no function"
        raise ConfigError(
            f"--model={name}: {module_name} has {what} {attribute}; define "
            f"{attribute}(image_shape, latent_dim, seed) there."
        )
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        parameters = ()
    taken = {
        parameter.name
        for parameter in parameters
        if parameter.kind
        in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    if not set(options_lib.NEEDED) <= taken:
        shown = ", ".join(parameter.name for parameter in parameters)
        raise ConfigError(
            f"--model={name}: {attribute} has to take (image_shape, "
            "latent_dim, seed), and options that have defaults; it takes "
            f"({shown})."
        )


def _digest(name, module):
    """Returns the SHA-256 of the file of a module."""
    path = inspect.getsourcefile(module)
    if path is None:
        raise ConfigError(
            f"--model={name} has no source file, by which the job could know "
            "it again; put it in a .py file."
        )
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
