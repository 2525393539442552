"""Command: draws pictures from any checkpoint of a job."""

import io
import sys

from trainer import files, places
from trainer.errors import ConfigError
from trainer.runtime.command import run_command
from trainer.runtime.flags import Usage, new_job_flags

_USAGE = Usage(
    program="vae-generate",
    about="Draws pictures from a checkpoint: images from the prior, the "
    "manifold, classes, reconstructions, interpolations and traversals.",
    example="vae-generate --job_dir=runs/vae --checkpoint=best --rows=10",
)
# Their square is a count of TensorFlow's random numbers, an int32.
_MOST_ROWS = 46_340
# Of an animation: each of its frames is a grid.
_ANIMATED_ROWS, _MOST_ANIMATED_ROWS = 6, 30
_STOPS = 5
# Of the known classes, in a message.
_CLASSES_SHOWN = 20


def main():
    """Draws grids from a checkpoint; the console script `vae-generate`.

    Returns:
        The exit code, as `run_command`.
    """
    return run_command(_parse, _generate, load=_load)


def _parse(arguments):
    flags = new_job_flags(_USAGE)
    flags.add("seed", 0, "seed of the draws from the prior", minimum=0)
    flags.add(
        "rows",
        30,
        "rows and columns of the grid and the manifold; if not given, fewer "
        "of images in colour, or larger than 28 pixels",
        minimum=1,
        maximum=_MOST_ROWS,
    )
    flags.add(
        "label",
        "",
        "of a job with --condition=labels: draw the grid of this class alone, "
        "by its name or number, without the data",
        unit="class",
    )
    flags.add(
        "temperature",
        1.0,
        "by what the standard deviations of the prior are multiplied for the "
        "grid; below 1 its images are more alike and more typical",
        minimum=0,
    )
    flags.add(
        "format",
        "png",
        "npy: NumPy arrays, uint8 of shape (rows, columns, height, width)",
        choices=("png", "npy"),
    )
    flags.add(
        "animate",
        "none",
        "draw a GIF and nothing else, without the data: samples, the same "
        "draws decoded by each checkpoint that the job has kept; walk, a "
        "closed walk through latent space",
        choices=("none", "samples", "walk"),
    )
    flags.add(
        "stops",
        _STOPS,
        "of --animate=walk: through the draws of how many seeds it goes, from "
        "--seed on",
        minimum=2,
        maximum=100,
    )
    flags.add(
        "output",
        "",
        "where the pictures go; JOB_DIR/plots/step-N if not given",
        unit="folder",
    )
    if not flags.parse(arguments):
        return None
    _refuse(flags)
    output = flags["output"].value
    return flags, output and places.parse_local(output, "--output")


def _refuse(flags):
    """Refuses flags that contradict each other."""
    animate, stops = flags["animate"].value, flags["stops"]
    if stops.present and animate != "walk":
        raise ConfigError(
            f"--stops={stops.value} is of --animate=walk; add that, or leave "
            "it out."
        )
    if animate == "none":
        return
    if flags["format"].value == "npy":
        raise ConfigError(
            f"--animate={animate} draws a GIF, but --format=npy saves arrays; "
            "leave one of them out."
        )
    if animate == "samples" and flags["checkpoint"].present:
        raise ConfigError(
            "--animate=samples draws with each checkpoint, but --checkpoint="
            f"{flags['checkpoint'].value} names one; leave one of them out."
        )
    rows = flags["rows"]
    if rows.present and rows.value > _MOST_ANIMATED_ROWS:
        raise ConfigError(
            f"--rows={rows.value} is too many for --animate={animate}, each "
            f"frame of which is such a grid; give {_MOST_ANIMATED_ROWS} at "
            "most."
        )


def _load():
    from trainer.pictures import album, animation  # noqa: F401 - quietly.


def _generate(parsed, stop, console):
    from trainer.job_dir.open import publish_folder
    from trainer.model.trained import open_trained

    flags, output = parsed
    with open_trained(flags, console, stop) as trained:
        stop.check()
        if flags["animate"].value == "none":
            drawn = _draw(flags, trained, console, stop)
            contents = _contents(drawn, flags["format"].value, trained.config)
            sentences = drawn.left_out
        else:
            contents, sentences = _animate(flags, trained, console, stop)
        stop.check()
        job = trained.job
        name = f"plots/{job.checkpoint(trained.step).name}"
        folder = output or job.root / name
        folder.mkdir(parents=True, exist_ok=True)
        for file_name, content in contents:
            files.write_atomically(folder / file_name, content)
            stop.check()
        if not output:
            publish_folder(job, folder)
        for sentence in sentences:
            console.line(sentence)
        console.line(
            f"Pictures of step {trained.step}: "
            f"{output or f'{job.location}/{name}'}"
        )


def _draw(flags, trained, console, stop):
    """Returns the `Album` that the flags ask for."""
    from trainer.pictures import album, grids

    rows = flags["rows"]
    arguments = (
        rows.value
        if rows.present
        else grids.rows_of_grid(trained.vae.image_shape),
        flags["seed"].value,
        console,
        stop,
        flags["temperature"].value,
    )
    if flags["label"].value:
        label = _label(flags["label"].value, trained)
        return album.draw_class(trained, label, *arguments)
    data = trained.data(console, stop)
    stop.check()
    return album.draw(trained, data, *arguments)


def _label(text, trained):
    """Returns the label of the class that `--label` names, an int."""
    names = trained.class_names
    where = trained.job.location
    if not names:
        raise ConfigError(
            f"--label={text} chooses a class, but {where} was trained without "
            "--condition=labels; leave it out."
        )
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    known = [f"{label} {name}" for label, name in enumerate(names)]
    more = len(known) - _CLASSES_SHOWN
    end = f", and {more:,} more" if more > 0 else ""
    raise ConfigError(
        f"--label={text} is no class of {where}; its classes: "
        f"{', '.join(known[:_CLASSES_SHOWN])}{end}."
    )


def _contents(drawn, ending, config):
    """Yields (name, bytes) of the file of each picture of an `Album`."""
    from trainer.pictures import album, picture_files

    for name, sheet in drawn.sheets.items():
        if ending == "npy":
            cells = sheet.cells
            content = _npy(cells[..., 0] if cells.shape[-1] == 1 else cells)
        else:
            content = picture_files.draw(sheet, name, config).encode()
        yield f"{name}.{ending}", content
    if drawn.latent_map is not None and ending == "png":
        content = picture_files.draw_map(drawn.latent_map).encode()
        yield f"{album.LATENT_MAP}.png", content


def _npy(array):
    import numpy as np

    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def _animate(flags, trained, console, stop):
    """Returns [(name, bytes)] of the GIF of the flags, and what to say."""
    from trainer.job_dir import checkpoint
    from trainer.model.trained import at_each_checkpoint
    from trainer.pictures import album, animation, grids

    kind, seed = flags["animate"].value, flags["seed"].value
    temperature, rows = flags["temperature"].value, flags["rows"]
    label = flags["label"].value
    label = _label(label, trained) if label else None
    rows = rows.value if rows.present else _ANIMATED_ROWS

    def draws(seed):
        return grids.draws(
            trained.vae,
            rows,
            seed,
            temperature,
            label,
            as_plane=kind == "samples",
        )

    sentences = []
    if kind == "walk":
        count = animation.frame_count(flags["stops"].value)
    else:
        album.check_temperature(trained.vae, temperature)
        count = len(checkpoint.list_steps(trained.job))
        if count == 1:
            sentences.append(
                f"The job has kept one checkpoint, that of step {trained.step}"
                ": the animation stands still. --keep_checkpoints of a "
                "training keeps more."
            )
    with console.image_bar("Drawing", count) as advance:
        if kind == "walk":
            seeds = animation.seeds(seed, flags["stops"].value)
            frames = animation.walk(trained, map(draws, seeds), stop, advance)
        else:
            checkpoints = at_each_checkpoint(trained)
            frames = animation.samples(draws(seed), checkpoints, stop, advance)
        content = animation.encode(frames, kind)
    of_class = "" if label is None else f"_label_{label}"
    return [(f"{kind}{of_class}.gif", content)], sentences


if __name__ == "__main__":
    sys.exit(main())
