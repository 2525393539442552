"""What the gallery says of a job: data for `page.html.j2`, and the page."""

import dataclasses

from trainer import __version__, stored
from trainer.config import TrainConfig
from trainer.evaluation.held_out import collapse_phrase, has_collapsed
from trainer.gallery import tables, templates, units
from trainer.pictures import (
    charts,
    kl_chart,
    latent_map,
    png,
    sheet as sheet_lib,
)
from trainer.pictures.album import CLASSES, GENERATED
from trainer.schedule import Schedule
from trainer.tracking import run_cards

_TEMPLATES = templates.environment()
_LOSS_INCHES = (3.0, 2.6)
# More than any unit has, and few enough to add up.
_MOST_NATS = 1e9
_OF_WHICH_ROW = ("step", "epoch", "split")
# In which order pictures stand on the page.
_PICTURES = (
    GENERATED,
    "reconstructions",
    CLASSES,
    "manifold",
    "interpolations",
    "traversals",
)
# What the page has for a picture, also beside names of its rows.
_PIXELS, _PIXELS_BESIDE_NAMES = 912, 720


def render(trained, *, rows, evaluation, data, album, goodput):
    """Returns the page of a checkpoint, an HTML document.

    Args:
        trained: a `trainer.model.trained.Trained`.
        rows: list of dicts, as in `metrics.jsonl`.
        evaluation: dict, what `evaluation.json` says; empty if there is none.
        data: the `Dataset` that the model was trained on.
        album: the `Album` of that model.
        goodput: the `Goodput` of the job; None if it is not known.
    """
    schedule = Schedule.of(trained.config, len(data.train_images))
    later_sessions = goodput.sessions[1:] if goodput else ()
    marks = charts.marks(
        trained.config,
        schedule,
        rows,
        [session.first_step for session in later_sessions],
    )
    return _TEMPLATES.get_template("page.html.j2").render(
        location=trained.job.location,
        lead=_lead(trained, data, schedule),
        notices=list(_notices(trained, rows, schedule)),
        tiles=_tiles(trained, rows),
        tiles_text=units.why_negative(trained.vae),
        metrics=list(_metrics(trained, rows, evaluation)),
        losses=list(_losses(rows, marks)),
        losses_text=f"{charts.caption(trained.config.reconstruction_loss)} "
        f"{marks.sentence()}",
        kl_of_units=_kl_of_units(evaluation),
        latent_map=_latent_map(album.latent_map),
        pictures=list(_pictures(album)),
        left_out=album.left_out,
        time=goodput and tables.of_time(goodput),
        tables=list(_settings(trained)),
        version=__version__,
    )


def _lead(trained, data, schedule):
    units, model = trained.config.latent_dim, trained.config.model
    told = ", told the classes" if trained.class_names else ""
    epochs = trained.step / schedule.steps_per_epoch
    return (
        f"A variational autoencoder ({model}{told}) with {units:,} latent "
        f"unit{'s' if units > 1 else ''}, after {epochs:,.3g} "
        f"epoch{'s' if epochs != 1 else ''} ({trained.step:,} steps) on "
        f"{len(data.train_images):,} images of {data.called}."
    )


def _notices(trained, rows, schedule):
    if not trained.job.finished_path.exists():
        yield (
            f"This job is not finished: the checkpoint is of step "
            f"{trained.step:,} of {schedule.total_steps:,}."
        )
    row = _evaluated_row(trained, rows)
    if row and has_collapsed(row, trained.config.latent_dim):
        yield collapse_phrase(row, trained.config.latent_dim)


def _evaluated_row(trained, rows):
    """Returns the last evaluation up to the checkpoint; None without one."""
    evaluated = [
        row
        for row in rows
        if row["split"] != "train" and row["step"] <= trained.step
    ]
    return evaluated[-1] if evaluated else None


def _tiles(trained, rows):
    row = _evaluated_row(trained, rows)
    if row is None:
        return []
    of_total, of_reconstruction = units.of_losses(trained.config)
    of_all = f"of {trained.config.latent_dim}"
    figures = {
        f"{row['split'].capitalize()} loss": (
            f"{row['total_loss']:.2f}",
            of_total,
        ),
        "Reconstruction": (
            f"{row['reconstruction_loss']:.2f}",
            of_reconstruction,
        ),
        "KL divergence": (
            f"{row['kl_loss']:.2f}",
            f"{units.NATS}, an estimate" if "kl" in row else units.NATS,
        ),
        "Active units": (row["active_units"], of_all),
    }
    if "active_directions" in row:
        figures["Active directions"] = (row["active_directions"], of_all)
    return [
        {"name": name, "value": value, "unit": unit}
        for name, (value, unit) in figures.items()
    ]


def _metrics(trained, rows, evaluation):
    row = _evaluated_row(trained, rows)
    if row:
        yield tables.table(
            f"{row['split'].capitalize()} set, step {row['step']:,}, epoch "
            f"{row['epoch']:,.4g}",
            {name: row[name] for name in row if name not in _OF_WHICH_ROW},
        )
    left_out = {"versions", "data"}
    if row and row["step"] == evaluation.get("step"):
        left_out.add("metrics")  # Those of the table above.
    scalars = tables.scalars(
        {name: evaluation[name] for name in evaluation if name not in left_out}
    )
    if scalars:
        yield tables.table("What vae-evaluate found", scalars)


def _losses(rows, marks):
    split = charts.held_out(rows)
    for name, title in charts.LOSSES.items():
        points = charts.points_of(rows, name, split)
        if not points:
            continue
        (first_step, first), (last_step, last) = points[0], points[-1]
        yield {
            "title": title,
            "alt": f"{title} over steps, in training and on the {split} set: "
            f"there {first:.4g} at step {first_step:,}, {last:.4g} at step "
            f"{last_step:,}.",
            **_by_scheme(
                lambda scheme, name=name: charts.losses(
                    rows,
                    {name: ""},
                    scheme,
                    _LOSS_INCHES,
                    whole=False,
                    marks=marks,
                )
            ),
        }


def _kl_of_units(evaluation):
    values = evaluation.get("kl_of_units")
    if not _are_nats(values):
        return None
    return {
        "alt": f"{kl_chart.share_out(values).sentence()}.",
        **_by_scheme(
            lambda scheme: kl_chart.draw(values, scheme, of="the test set")
        ),
    }


def _are_nats(values):
    """Whether a JSON value is a list of what a latent unit may have."""
    return (
        isinstance(values, list)
        and bool(values)
        and all(stored.is_number(each) for each in values)
        # Neither NaN nor infinity is in a range.
        and all(abs(each) <= _MOST_NATS for each in values)
    )


def _by_scheme(draw):
    """Returns a chart for each scheme of a page, as addresses by its name."""
    return {
        name: templates.address("svg+xml", charts.to_svg(draw(scheme)))
        for name, scheme in charts.SCHEMES.items()
    }


def _latent_map(found):
    if found is None:
        return None
    return {
        "text": found.caption,
        "alt": f"A map of points. {found.caption}",
        **_by_scheme(lambda scheme: latent_map.draw(found, scheme)),
    }


def _pictures(album):
    for name in _PICTURES:
        if name not in album.sheets:
            continue
        sheet = album.sheets[name]
        title, text = sheet.title, sheet.caption
        picture = {"title": title, "text": text, "notes": sheet.notes}
        picture["rows"] = [
            {
                "name": row_name,
                "alt": f"{title}: {row_name}",
                **_source(sheet.row(number), _PIXELS_BESIDE_NAMES),
            }
            for number, row_name in enumerate(sheet.row_names)
        ]
        if not sheet.row_names:
            picture |= {"alt": f"{title}. {text}", **_source(sheet, _PIXELS)}
        yield picture


def _source(sheet, width):
    pixels = sheet_lib.with_gaps(sheet, width)
    return {
        "source": templates.address("png", png.encode(pixels)),
        "width": pixels.shape[1],
    }


def _settings(trained):
    record = trained.job.record()
    config = trained.config.to_json()
    defaults = {
        field.name: field.default for field in dataclasses.fields(TrainConfig)
    }
    changed = [name for name in config if config[name] != defaults[name]]
    yield tables.table("Flags (bold: not the default)", config, changed)
    if model := run_cards.model_of(record):
        yield tables.table("Model", model)
    shape = " x ".join(map(str, record["data"]["image_shape"]))
    yield tables.table(
        "Data", {"image shape": shape, **tables.scalars(record["data"])}
    )
    yield tables.table("Versions", tables.scalars(record["versions"]))
    for number, session in enumerate(record["sessions"], start=1):
        yield tables.table(f"Session {number}", tables.scalars(session))
