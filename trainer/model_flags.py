"""What `--model` and `--model_options` may say."""

import re

from trainer.errors import ConfigError

# By what `--model` calls them, in the order of the help: the modules that
# build them.
BUILT_IN = {
    "notebook": "trainer.model.notebook",
    "mlp": "trainer.model.mlp",
    "conv": "trainer.model.conv",
    "hierarchy": "trainer.model.hierarchy",
    "mlp_hierarchy": "trainer.model.mlp_hierarchy",
}
# Of those, which take the labels of images: `--condition=labels`.
CONDITIONAL = ("mlp", "conv")
# And which draw their latent units in groups.
GROUPED = ("hierarchy", "mlp_hierarchy")
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def check_name(name):
    """Refuses what no model can be called.

    Raises:
        ConfigError: it is neither a built-in model nor a function's name.
    """
    if name not in BUILT_IN and not _FUNCTION.fullmatch(name):
        raise ConfigError(
            f"--model={name} is neither one of {', '.join(BUILT_IN)} nor a "
            "function of yours, which is written package.module:function."
        )


def split_options(text):
    """Returns what `--model_options` says: texts by name.

    Raises:
        ConfigError: it is not NAME=VALUE,NAME=VALUE.
    """
    found = {}
    for part in text.split(",") if text else ():
        name, equals, value = (word.strip() for word in part.partition("="))
        if not (equals and value and name.isidentifier()):
            raise ConfigError(
                f"--model_options={text} is not NAME=VALUE,NAME=VALUE, for "
                "instance width=64,depth=2."
            )
        if name in found:
            raise ConfigError(
                f"--model_options={text} has {name} twice; give it once."
            )
        found[name] = value
    return found
