"""Charts that TensorBoard shows as pictures."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def kl_bars(kl_of_units):
    """Draws each latent unit's KL divergence as a bar, the largest first.

    Args:
        kl_of_units: float array of shape (latent_dim,), in nats.

    Returns:
        uint8 array of shape (240, 400): grey.
    """
    figure = Figure(figsize=(4, 2.4), dpi=100)
    axes = figure.add_axes((0.15, 0.2, 0.82, 0.68))
    bars = np.sort(kl_of_units)[::-1]
    axes.stairs(bars, np.arange(len(bars) + 1) + 0.5, fill=True, color="0.3")
    axes.set_title(f"{bars.sum():.2f} nats in {len(bars)} latent units")
    axes.set_xlabel("latent units, by their KL")
    axes.set_ylabel("KL in nats")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # All colours are grey, so that one channel has the picture.
    return np.asarray(canvas.buffer_rgba())[..., 0].copy()
