"""The files of a finished job's `plots`, and of `vae-generate`."""

from trainer.data import classes
from trainer.pictures import charts, grids, named_rows, png

# Pixels of a file per pixel of the few images in a row.
ROW_SCALE = 3
_LOSSES_INCHES = (12, 3.6)


def save_picture(path, pixels, scale=1):
    """Saves pixels as a PNG.

    Args:
        path: where to.
        pixels: uint8 array of shape (height, width, channels).
        scale: pixels of the file per pixel.
    """
    png.save(path, _enlarge(pixels, scale))


def save_plots(job, vae, config, data, rows, stop):
    """Draws the pictures of a finished run into its `plots` folder.

    Args:
        job: a claimed `JobDir`.
        vae: a `trainer.model.vae.VAE`.
        config: the `TrainConfig`.
        data: the `Dataset`.
        rows: list of dicts, as in `metrics.jsonl`.
        stop: a `StopSignal`.

    Raises:
        InterruptedJobError: the stop signal came between two pictures.
    """
    stop.check()
    job.plots.mkdir(exist_ok=True)
    path = job.plots / "generated.png"
    columns = grids.rows_of_grid(data.image_shape)
    if vae.classes:
        pixels = grids.class_grid(vae, columns, config.seed)
        names = classes.names(config, data)[: named_rows.MOST_CLASSES]
        named_rows.save(path, pixels, names, named_rows.scale_of(pixels))
    else:
        save_picture(path, grids.grid(vae, columns, config.seed))
    stop.check()
    labels = classes.given(config, data.test_labels)
    save_picture(
        job.plots / "reconstructions.png",
        grids.reconstruction_rows(vae, data.test_images, labels),
        ROW_SCALE,
    )
    stop.check()
    figure = charts.losses(rows, charts.LOSSES, charts.PAPER, _LOSSES_INCHES)
    png.save(job.plots / "losses.png", charts.to_pixels(figure))


def _enlarge(pixels, scale):
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)
