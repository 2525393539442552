"""The files of a finished job's `plots`, and of `vae-generate`."""

from trainer import files
from trainer.data import classes
from trainer.pictures import (
    album,
    catalogue,
    charts,
    grids,
    latent_map,
    sheet as sheet_lib,
)
from trainer.schedule import Schedule

_LOSSES_INCHES = (12, 3.6)
# Of the map: how many hundred pixels an inch has.
_CHART_SCALE = 2


def save(path, drawn):
    """Saves a picture as a PNG.

    Args:
        path: where to.
        drawn: a `sheet.Drawn`.
    """
    files.write_atomically(path, drawn.encode())


def draw(sheet, name, config):
    """Draws a sheet for a file.

    The grid of 30 x 30 images with which the notebook ends keeps its form:
    the images alone. Its caption is in the texts of the PNG.

    Args:
        sheet: a `Sheet`.
        name: str, of the picture.
        config: the `TrainConfig` of the job.

    Returns:
        A `sheet.Drawn`.
    """
    is_notebook_grid = (
        config.model == "notebook"
        and name == album.GENERATED
        and sheet.rows == sheet.columns == grids.GRID_ROWS
    )
    return (sheet_lib.bare if is_notebook_grid else sheet_lib.draw)(sheet)


def draw_map(found):
    """Draws a `LatentMap` for a file; returns a `sheet.Drawn`."""
    figure = latent_map.draw(found, charts.PAPER)
    pixels = charts.to_pixels(figure, _CHART_SCALE)
    return sheet_lib.frame(pixels, "Latent map", found.caption, _CHART_SCALE)


def save_plots(job, vae, config, data, rows, stop):
    """Draws the pictures of a finished run into its `plots` folder.

    They are functions of the job's settings, data and rows, whatever happened
    on the way.

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
    sheet = catalogue.generated(
        vae,
        grids.rows_of_grid(data.image_shape),
        config.seed,
        class_names=classes.names(config, data),
    )
    name = album.GENERATED
    save(job.plots / f"{name}.png", draw(sheet, name, config))
    stop.check()
    labels = classes.given(config, data.test_labels)
    save(
        job.plots / "reconstructions.png",
        sheet_lib.draw(
            catalogue.reconstructions(vae, data.test_images, labels)
        ),
    )
    stop.check()
    schedule = Schedule.of(config, len(data.train_images))
    # Restarts are not marked: a killed job ends with the same files.
    marks = charts.marks(config, schedule, rows)
    figure = charts.losses(
        rows, charts.LOSSES, charts.PAPER, _LOSSES_INCHES, marks=marks
    )
    caption = charts.caption(config.reconstruction_loss)
    save(
        job.plots / "losses.png",
        sheet_lib.frame(
            charts.to_pixels(figure),
            "Losses",
            f"{caption} {marks.sentence()}",
        ),
    )
