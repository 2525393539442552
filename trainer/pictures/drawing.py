"""Pictures of what a model learned: grids, reconstructions, loss curves."""

import io

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from trainer import files, randomness

GRID_ROWS = 30
_MANIFOLD_LIMIT = 2.0
_BATCH = 256
COLUMNS = 10
_TRAVERSAL_LIMIT = 3.0
_STATISTICS_IMAGES = 1000
ROW_SCALE = 3
_WIDTH_INCHES = 10.0
_NAME_INCHES = 1.5
_CURVES = ("total_loss", "reconstruction_loss", "kl_loss")


def decode(vae, z):
    """Decodes latent vectors.

    Args:
        vae: a `trainer.model.vae.VAE`.
        z: float array of shape (N, latent_dim).

    Returns:
        uint8 array of shape (N, height, width).
    """
    z = tf.cast(z, vae.decoder.compute_dtype)
    parts = [
        vae.decoder(z[start : start + _BATCH], training=False)
        for start in range(0, len(z), _BATCH)
    ]
    return to_pixels(tf.concat(parts, axis=0))[..., 0].numpy()


def to_pixels(images):
    """Rounds images to the 256 greys of a picture.

    Args:
        images: float tensor, in [0, 1].

    Returns:
        uint8 tensor of the same shape.
    """
    return tf.cast(tf.round(255 * tf.cast(images, tf.float64)), tf.uint8)


def reconstruct(vae, images):
    """Decodes the posterior means of images.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, 1).

    Returns:
        uint8 array of shape (N, height, width).
    """
    return decode(vae, posterior_means(vae, images))


def posterior_means(vae, images):
    """Encodes images.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, 1).

    Returns:
        Array of shape (N, latent_dim).
    """
    parts = []
    for start in range(0, len(images), _BATCH):
        batch = tf.cast(
            images[start : start + _BATCH], vae.encoder.compute_dtype
        )
        z_mean, _ = vae.encoder(batch / 255, training=False)
        parts.append(z_mean.numpy())
    return np.concatenate(parts)


def most_active_units(vae, images):
    """Returns the latent units, most active first.

    A unit is the more active, the more its posterior mean varies over the
    images (Burda et al. 2016, section 5.2).

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, 1); the first thousand
            are looked at.

    Returns:
        Integer array of shape (latent_dim,).
    """
    means = posterior_means(vae, images[:_STATISTICS_IMAGES])
    return np.argsort(-means.var(axis=0), kind="stable")


def grid_codes(latent_dim, rows, seed):
    """Returns the latent vectors of a grid, row by row.

    Args:
        latent_dim: int. With 2, each cell's own coordinates: from -2 to 2
            across, and from 2 down to -2.
        rows: int, rows and columns of the grid.
        seed: int, of the draws from the prior in other dimensions.

    Returns:
        float32 array of shape (rows x rows, latent_dim).
    """
    if latent_dim == 2:
        across = np.linspace(-_MANIFOLD_LIMIT, _MANIFOLD_LIMIT, rows)
        x, y = np.meshgrid(across, across[::-1])
        return np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)
    return randomness.normal(
        seed, randomness.Tag.PICTURES, 0, 0, rows * rows, latent_dim
    ).numpy()


def grid(vae, latent_dim, rows=GRID_ROWS, seed=0):
    """Draws a square grid of generated images.

    Returns:
        uint8 array of shape (rows x height, rows x width).
    """
    return tile(decode(vae, grid_codes(latent_dim, rows, seed)), rows)


def reconstruction_rows(vae, images):
    """Draws images above their reconstructions.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, 1); the first ones
            are drawn.

    Returns:
        uint8 array, two rows of images high.
    """
    originals = images[:COLUMNS]
    both = [originals[..., 0], reconstruct(vae, originals)]
    return tile(np.concatenate(both), len(originals))


def interpolation_rows(vae, images):
    """Draws the way from one image to another, a pair in each row.

    The latent vectors lie on the line between the two posterior means.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, 1); the first ones
            are used, the next in turn for each row.

    Returns:
        uint8 array of shape (rows x height, 10 x width).
    """
    count = min(COLUMNS + 1, len(images))
    means = posterior_means(vae, images[:count])
    way = np.linspace(0, 1, COLUMNS)[np.newaxis, :, np.newaxis]
    starts, ends = means[:-1, np.newaxis], means[1:, np.newaxis]
    codes = starts + way * (ends - starts)
    return tile(decode(vae, codes.reshape(-1, means.shape[1])), COLUMNS)


def traversal_rows(vae, images):
    """Draws what single latent units do, the most active ones first.

    Each row moves one unit from -3 to 3; the others stay at the posterior
    mean of the first image.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, 1).

    Returns:
        uint8 array of shape (rows x height, 10 x width).
    """
    units = most_active_units(vae, images)[:COLUMNS]
    means = posterior_means(vae, images[:1])
    codes = np.tile(means[0], (len(units), COLUMNS, 1))
    for row, unit in enumerate(units):
        codes[row, :, unit] = np.linspace(
            -_TRAVERSAL_LIMIT, _TRAVERSAL_LIMIT, COLUMNS
        )
    return tile(decode(vae, codes.reshape(-1, means.shape[1])), COLUMNS)


def tile(images, columns):
    """Lays images out in rows.

    Args:
        images: array of shape (rows x columns, height, width).
        columns: int.

    Returns:
        Array of shape (rows x height, columns x width).
    """
    _, height, width = images.shape
    rows = images.reshape(-1, columns, height, width).transpose(0, 2, 1, 3)
    return rows.reshape(-1, columns * width)


def cells(pixels, height, width):
    """Cuts a picture into the images that `tile` laid out.

    Args:
        pixels: array of shape (rows x height, columns x width).
        height: int, of an image.
        width: int, of an image.

    Returns:
        Array of shape (rows, columns, height, width).
    """
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    return pixels.reshape(rows, height, columns, width).swapaxes(1, 2)


def save_picture(path, pixels, scale=1):
    """Saves grey pixels as a PNG ten inches wide, without axes.

    Args:
        path: where to.
        pixels: uint8 array of shape (height, width).
        scale: pixels of the file per pixel.
    """
    height, width = pixels.shape
    figure = Figure(figsize=(_WIDTH_INCHES, _WIDTH_INCHES * height / width))
    _show(figure.add_axes((0, 0, 1, 1)), pixels)
    _save_figure(path, figure, dpi=scale * width / _WIDTH_INCHES)


def save_named_rows(path, pixels, names, scale=1):
    """Saves grey pixels as a PNG, with a name to the left of each row.

    Args:
        path: where to.
        pixels: uint8 array of shape (rows x row height, width).
        names: list of str, one a row.
        scale: pixels of the file per pixel.
    """
    height, width = pixels.shape
    whole = _WIDTH_INCHES + _NAME_INCHES
    figure = Figure(figsize=(whole, _WIDTH_INCHES * height / width))
    left = _NAME_INCHES / whole
    _show(figure.add_axes((left, 0, 1 - left, 1)), pixels)
    for row, name in enumerate(names):
        figure.text(
            left * 0.95,
            1 - (row + 0.5) / len(names),
            name,
            ha="right",
            va="center",
            fontsize=14,
            parse_math=False,
        )
    _save_figure(path, figure, dpi=scale * width / _WIDTH_INCHES)


def save_loss_curves(path, rows):
    """Draws train and test losses over steps, and saves them as a PNG.

    Args:
        path: where to.
        rows: list of dicts, as in `metrics.jsonl`.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 3), _CURVES, strict=True):
        for split in ("train", "test", "validation"):
            points = [
                (row["step"], row[name])
                for row in rows
                if row["split"] == split
            ]
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    "-" if split == "train" else "o-",
                    ms=3,
                    lw=1,
                    label=split,
                )
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        # A fixed place: looking for the best one takes time, and warns of it.
        axes.legend(loc="upper right")
    _save_figure(path, figure, dpi=100)


def save_plots(job, vae, config, test_images, rows, stop):
    """Draws the pictures of a finished run into its `plots` folder.

    Raises:
        InterruptedJobError: the stop signal came between two pictures.
    """
    stop.check()
    job.plots.mkdir(exist_ok=True)
    save_picture(
        job.plots / "generated.png",
        grid(vae, config.latent_dim, seed=config.seed),
    )
    stop.check()
    save_picture(
        job.plots / "reconstructions.png",
        reconstruction_rows(vae, test_images),
        ROW_SCALE,
    )
    stop.check()
    save_loss_curves(job.plots / "losses.png", rows)


def _show(axes, pixels):
    # As RGB: a colour map would round some greys to their neighbours.
    axes.imshow(
        np.repeat(pixels[..., np.newaxis], 3, axis=2),
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_axis_off()


def _save_figure(path, figure, dpi):
    content = io.BytesIO()
    # No software version in the file: equal pictures are equal files.
    figure.savefig(content, format="png", dpi=dpi, metadata={"Software": None})
    files.write_atomically(path, content.getvalue())
