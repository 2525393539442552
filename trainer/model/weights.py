"""The weights of a model, and their names."""


def weights_of(vae):
    """Returns the trainable variables of a `VAE`, encoder first."""
    return list(variables_of(vae, None).values())


def variables_of(vae, optimizer):
    """Returns the variables of a training state, by name.

    Args:
        vae: a `trainer.model.vae.VAE`.
        optimizer: a built Keras optimizer, or None for the weights alone.
    """
    named = {
        f"{part.name}/{variable.path}": variable
        for part in (vae.encoder, vae.decoder)
        for variable in part.trainable_variables
    }
    named |= {variable.path: variable for variable in vae.likelihood_weights}
    if optimizer is not None:
        named |= {f"optimizer/{v.path}": v for v in optimizer.variables}
    return named
