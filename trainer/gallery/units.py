"""In which units the losses of a job are, as a newcomer reads them."""

NATS = "nats an image"
_NEGATIVE = (
    "A loss below 0 is no fault: it is minus a log-density of pixels, and a "
    "density may be above 1. Lower is better."
)


def of_losses(config):
    """Returns the units of the total and of the reconstruction loss.

    Args:
        config: a `TrainConfig`.
    """
    # It is nats but for a constant, which nobody would add.
    if config.reconstruction_loss != "mse":
        return NATS, NATS
    weight = "" if config.beta == 1 else f"{config.beta:g} x "
    return f"squared error + {weight}KL", "squared error"


def why_negative(vae):
    """Returns a sentence for a loss that may be negative; "" for others.

    Args:
        vae: the `VAE`.
    """
    return _NEGATIVE if vae.likelihood.may_exceed_one else ""
