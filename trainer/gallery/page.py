"""What the gallery says of a job, from its title to its settings."""

import dataclasses
import io

from PIL import Image

from trainer import __version__
from trainer.commands.generate import CLASSES
from trainer.config import TrainConfig
from trainer.evaluation.held_out import has_collapsed
from trainer.gallery import charts, html
from trainer.schedule import Schedule

_CURVES = {
    "total_loss": "Total loss",
    "reconstruction_loss": "Reconstruction loss",
    "kl_loss": "KL divergence",
}
_OF_WHICH_ROW = ("step", "epoch", "split")
_PICTURES = {
    "generated": (
        "Generated images",
        "Each is what the decoder makes of a draw from the prior; with two "
        "latent units, of a point of their plane, each from -2 to 2.",
    ),
    "reconstructions": (
        "Reconstructions",
        "Above: test images. Below: what the decoder makes of the mean of "
        "their posterior.",
    ),
    CLASSES: (
        "Classes",
        "First in each row: the decoded mean of the class's posterior means. "
        "Then draws around it, with the standard deviation that each unit has "
        "in the class. The model was never told the classes.",
    ),
    "manifold": (
        "Manifold",
        "The plane of the two most active latent units, from the 2nd to the "
        "98th percentile of the prior; all other units are 0.",
    ),
    "interpolations": (
        "Interpolations",
        "From one test image to the next, on the line between their posterior "
        "means.",
    ),
    "traversals": (
        "Latent traversals",
        "Each row moves one latent unit from -3 to 3, the most active first; "
        "the others stay at the posterior mean of the first test image.",
    ),
}


def render(trained, *, rows, evaluation, data, drawn):
    """Returns the page of a checkpoint, an HTML document.

    Args:
        trained: a `trained.Trained`.
        rows: list of dicts, as in `metrics.jsonl`.
        evaluation: dict, what `evaluation.json` says; empty if there is none.
        data: the `Dataset` that the model was trained on.
        drawn: a `generate.Drawn` of that model.
    """
    location = trained.job.location
    schedule = Schedule.of(trained.config, len(data.train_images))
    return html.page(
        f"{location}: a variational autoencoder",
        [
            html.header(location, _lead(trained, data, schedule)),
            *_notices(trained, rows, schedule),
            *_metrics(trained, rows, evaluation),
            *_curves(rows),
            *_kl_of_units(evaluation),
            *_pictures(drawn, data),
            *map(html.notice, drawn.left_out),
            _settings(trained),
            html.footer(f"Made by vae-gallery of vae-trainer {__version__}."),
        ],
    )


def _lead(trained, data, schedule):
    units = trained.config.latent_dim
    epochs = trained.step / schedule.steps_per_epoch
    return (
        f"A variational autoencoder with {units:,} latent "
        f"unit{'s' if units > 1 else ''}, after {epochs:,.3g} "
        f"epoch{'s' if epochs != 1 else ''} ({trained.step:,} steps) on "
        f"{len(data.train_images):,} images of {data.name}."
    )


def _notices(trained, rows, schedule):
    if not trained.job.finished_path.exists():
        yield html.notice(
            f"This job is not finished: the checkpoint is of step "
            f"{trained.step:,} of {schedule.total_steps:,}."
        )
    row = _evaluated_row(trained, rows)
    if row and has_collapsed(row["active_units"], trained.config.latent_dim):
        yield html.notice(
            f"Posterior collapse: {row['active_units']} of "
            f"{trained.config.latent_dim} latent units are active, so the "
            "decoder ignores z and every image it generates is nearly the same."
        )


def _evaluated_row(trained, rows):
    """Returns the last evaluation up to the checkpoint; None without one."""
    evaluated = [
        row
        for row in rows
        if row["split"] != "train" and row["step"] <= trained.step
    ]
    return evaluated[-1] if evaluated else None


def _metrics(trained, rows, evaluation):
    row = _evaluated_row(trained, rows)
    if row:
        units = trained.config.latent_dim
        yield html.tiles(
            {
                f"{row['split'].capitalize()} loss": (
                    f"{row['total_loss']:.2f}",
                    "",
                ),
                "Reconstruction": (f"{row['reconstruction_loss']:.2f}", ""),
                "KL divergence": (f"{row['kl_loss']:.2f}", "nats"),
                "Active units": (str(row["active_units"]), f"of {units}"),
            }
        )
        yield html.table(
            f"{row['split'].capitalize()} set, step {row['step']:,}, epoch "
            f"{row['epoch']:,.4g}",
            {name: row[name] for name in row if name not in _OF_WHICH_ROW},
        )
    left_out = {"versions", "data"}
    if row and row["step"] == evaluation.get("step"):
        left_out.add("metrics")  # Those of the table above.
    scalars = _scalars(
        {name: evaluation[name] for name in evaluation if name not in left_out}
    )
    if scalars:
        yield html.table("What vae-evaluate found", scalars)


def _scalars(values, prefix=""):
    """Returns the numbers and texts of a JSON object, however deep."""
    found = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _scalars(value, f"{prefix}{name} ")
        elif isinstance(value, (int, float, str)):
            found[f"{prefix}{name}"] = value
    return found


def _curves(rows):
    items = []
    for name, title in _CURVES.items():
        held_out = charts.held_out(rows)
        points = charts.points_of(rows, name, held_out)
        if not points:
            continue
        (first_step, first), (last_step, last) = points[0], points[-1]
        light, dark = (
            charts.curves(rows, name, scheme) for scheme in charts.SCHEMES
        )
        alt = (
            f"{title} over steps, in training and on the {held_out} set: there "
            f"{first:.4g} at step {first_step:,}, {last:.4g} at step "
            f"{last_step:,}."
        )
        items.append((title, light, dark, alt))
    if items:
        yield html.section(
            "Losses",
            "Per image. The steps before the first evaluation may lie outside "
            "of the charts.",
            html.charts(items),
        )


def _kl_of_units(evaluation):
    values = evaluation.get("kl_of_units")
    if not _are_numbers(values):
        return
    light, dark = (charts.bars(values, scheme) for scheme in charts.SCHEMES)
    yield html.section(
        "KL divergence of each latent unit",
        "What each unit says of an image, on average over the test set. A unit "
        "at 0 says nothing.",
        html.wide_chart(
            light,
            dark,
            f"Bars for {len(values):,} latent units, from {max(values):.3g} "
            f"down to {min(values):.3g} nats.",
        ),
    )


def _are_numbers(values):
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(value, (int, float)) for value in values)
    )


def _pictures(drawn, data):
    height = data.image_shape[0]
    for name, (title, text) in _PICTURES.items():
        if name not in drawn.pictures:
            continue
        pixels = drawn.pictures[name]
        names = drawn.row_names.get(name)
        if names:
            content = html.named_rows(
                [
                    (
                        row_name,
                        _png(pixels[row * height : (row + 1) * height]),
                        f"{title}: {row_name}",
                    )
                    for row, row_name in enumerate(names)
                ]
            )
        else:
            content = html.picture(_png(pixels), f"{title}. {text}")
        yield html.section(title, text, content)


def _png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def _settings(trained):
    record = trained.job.record()
    config = trained.config.to_json()
    defaults = {
        field.name: field.default for field in dataclasses.fields(TrainConfig)
    }
    changed = [name for name in config if config[name] != defaults[name]]
    tables = [
        html.table("Flags (bold: not the default)", config, changed),
        html.table("Data", _scalars(record["data"])),
        html.table("Versions", _scalars(record["versions"])),
    ]
    for number, session in enumerate(record["sessions"], start=1):
        tables.append(html.table(f"Session {number}", _scalars(session)))
    return html.folded("Settings", *tables)
