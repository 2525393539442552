"""The weights of a model, and their names in a checkpoint."""

import itertools
import re

from trainer.errors import ConfigError

# The notebook's layers were named before there were other models: the moments
# of their weights are called by the layer alone.
_NOTEBOOK = re.compile(
    "(encoder|decoder)/((z_mean|z_log_var|(en|de)coder_(conv_[1-3]|dense))/.+)"
)
_OPTIMIZER = "optimizer/"
# A model whose layers are part of another one is none of its layers.
_KINDS = {"sequential", "functional"}
_CAMELS = (
    re.compile("(.)([A-Z][a-z]+)"),
    re.compile("([a-z])([A-Z])"),
)


def weights_of(vae):
    """Returns the trainable variables of a `VAE`, encoder first."""
    return list(variables_of(vae, None).values())


def variables_of(vae, optimizer):
    """Returns the variables of a training state, by name.

    A name has the role, the layer and the weight: encoder/z_mean/kernel. Keras
    numbers layers without a name over all models of a process; here they are
    numbered within the encoder or decoder: decoder/dense/kernel,
    decoder/dense_1/kernel. A weight that both parts use has its name in the
    encoder, and is one weight.

    Args:
        vae: a `trainer.model.vae.VAE`.
        optimizer: an `optimizer.Adam`, built on `weights_of`; None for the
            weights alone.

    Raises:
        ConfigError: two weights have the same name.
    """
    named, known = {}, set()
    for role, part in (("encoder", vae.encoder), ("decoder", vae.decoder)):
        for path, variable in _named_within(part):
            name = f"{role}/{path}"
            if id(variable) in known:
                continue
            if name in named:
                raise ConfigError(
                    f"Two weights of the model are called {name}; give each "
                    f"layer of the {role} a name of its own."
                )
            named[name] = variable
            known.add(id(variable))
    named |= {
        f"prior/{path}": weight for path, weight in vae.prior.weights.items()
    }
    named |= {f"vae/{weight.name}": weight for weight in vae.likelihood_weights}
    if optimizer is None:
        return named
    return named | {
        f"{_OPTIMIZER}{name}": variable
        for name, variable in _state(optimizer, list(named)).items()
    }


def average_names(vae):
    """Returns what the average of each weight is called, by its name."""
    return {
        name: f"{_OPTIMIZER}{_moment_name(name, 'ema')}"
        for name in variables_of(vae, None)
    }


def weights_in(arrays):
    """Returns the weights among the arrays of a checkpoint, of any model.

    Args:
        arrays: dict of arrays by name.

    Returns:
        (weights, are_averages): a dict of arrays by name, the average in the
        place of a weight that has one; and whether any has.
    """
    weights = {
        name: array
        for name, array in arrays.items()
        if not name.startswith(_OPTIMIZER)
    }
    averages = {
        name: arrays[average]
        for name in weights
        if (average := f"{_OPTIMIZER}{_moment_name(name, 'ema')}") in arrays
    }
    return {**weights, **averages}, bool(averages)


def _moment_name(name, kind):
    known = _NOTEBOOK.fullmatch(name)
    path = (known[2] if known else name).replace("/", "_")
    return f"adam/{path}_{kind}"


def _state(optimizer, names):
    """Returns the variables of an optimizer, by name.

    Args:
        optimizer: a built `optimizer.Adam`.
        names: list of str, of the weights, in the order of its own.
    """
    state, moments = {}, {}
    for kind, variables in optimizer.moments().items():
        for name, variable in zip(names, variables, strict=True):
            moments[id(variable)] = _moment_name(name, kind)
    for variable in optimizer.variables:
        state[moments.get(id(variable), variable.path)] = variable
    return state


def _named_within(part):
    """Yields (layer/weight, variable) of the trainable variables of a part."""
    layers = part._flatten_layers(include_self=True)
    kinds = {_snake_case(type(layer).__name__) for layer in layers} | _KINDS
    numbered = re.compile(f"({'|'.join(map(re.escape, kinds))})(_[0-9]+)?")
    # By (path of the layer above, kind): its layers, in the order of weights.
    layers_within = {}
    for variable in part.trainable_variables:
        path, above = [], ()
        *owners, weight = variable.path.split("/")
        for owner in owners:
            kind = numbered.fullmatch(owner)
            if kind:
                known = layers_within.setdefault(
                    (above, kind[1]), ({}, itertools.count())
                )
                number = known[0].setdefault(owner, None)
                if number is None:
                    number = known[0][owner] = next(known[1])
                path.append(f"{kind[1]}_{number}" if number else kind[1])
            else:
                path.append(owner)
            above += (owner,)
        yield "/".join([*path, weight]), variable


def _snake_case(name):
    """Returns what Keras calls a layer of a class that has no name."""
    for camels in _CAMELS:
        name = camels.sub(r"\1_\2", name)
    return name.lower()
