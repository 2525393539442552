"""The card of an exported model: `README.md` beside it, and its pictures."""

import dataclasses
import html
import re

from trainer import __version__, files, named_datasets, stored
from trainer.config import TrainConfig
from trainer.errors import JobDirError
from trainer.evaluation import report
from trainer.evaluation.held_out import collapse_phrase, has_collapsed
from trainer.gallery import tables, units
from trainer.model import export
from trainer.pictures import catalogue, picture_files, sheet
from trainer.tracking import run_cards
from trainer.tracking.rows import read_rows

NAME = "README.md"
# What a card shows of a job beside its records.
READ = ("plots/reconstructions.png",)
# Whoever edits a card takes this out.
_MARK = (
    "<!-- vae-export writes this file anew each time. Take this line out, and "
    "it keeps what you write. -->"
)
_MOST_BYTES = 2**20
_FOLDER, _DRAWS, _RECONSTRUCTIONS = "card", "draws.png", "reconstructions.png"
_PICTURE_BYTES = 8 * 2**20
_PNG = b"\x89PNG\r\n\x1a\n"
# No more draws than these, and fewer of large images.
_ROWS, _GRID_PIXELS = 8, 512
_DRAWN = 16  # By the lines that load the model.
# What Markdown would take for its own in the middle of a line.
_MARKUP = re.compile(r"([\\`*_\[\]|~])")


def write(trained, folder, checkpoint, console):
    """Writes the card of a checkpoint that has been exported.

    A file of that name that is no card, or that somebody has edited, is left.

    Args:
        trained: a `trainer.model.trained.Trained`.
        folder: `pathlib.Path`, where `export.save_models` has saved it.
        checkpoint: str, what `--checkpoint` says.
        console: a `Console`.
    """
    path = folder / NAME
    if reason := _not_ours(path):
        console.line(f"{path} {reason}, and is left as it is.")
        return
    pictures = _save_pictures(trained, folder / _FOLDER, console)
    row = _held_out_row(trained, console)
    evaluation = report.read(trained.job, console)
    if evaluation.get("step") != trained.step:
        evaluation = {}
    record = trained.job.record()
    parts = [
        _front_matter(trained),
        _MARK,
        *_lead(trained, record),
        *_loading(trained),
        *pictures,
        *_figures(trained, row, evaluation),
        *_data(record),
        *_settings(trained, record),
        *_limits(trained, record, row, evaluation, checkpoint),
    ]
    files.write_atomically(path, ("\n\n".join(parts) + "\n").encode())


def _not_ours(path):
    """Returns why a file is not to be replaced; empty if it may be."""
    try:
        content = stored.read_bytes(path, _MOST_BYTES)
    except FileNotFoundError:
        return ""
    except stored.UnreadableError as error:
        return str(error)
    if _MARK.encode() in content:
        return ""
    return "is not of vae-export, or somebody has edited it"


def _save_pictures(trained, folder, console):
    """Saves the pictures of a card; returns its parts about them."""
    folder.mkdir(parents=True, exist_ok=True)
    _save_draws(trained, folder / _DRAWS)
    # Each says itself what it shows.
    parts = ["## What it draws", f"![Images that it draws]({_FOLDER}/{_DRAWS})"]
    path = folder / _RECONSTRUCTIONS
    if content := _reconstructions(trained, console):
        files.write_atomically(path, content)
        parts.append(f"![Reconstructions]({_FOLDER}/{_RECONSTRUCTIONS})")
    else:  # It would be of another checkpoint.
        path.unlink(missing_ok=True)
    return parts


def _save_draws(trained, path):
    vae = trained.vae
    count = max(1, min(_ROWS, _GRID_PIXELS // max(vae.image_shape[:2])))
    drawn = catalogue.generated(
        vae, count, trained.config.seed, class_names=trained.class_names
    )
    picture_files.save(path, sheet.draw(drawn))


def _reconstructions(trained, console):
    """Returns the PNG that the job drew at its end, if it is of this step."""
    job = trained.job
    path = job.plots / _RECONSTRUCTIONS
    try:
        finished = job.finished()
        if finished is None or finished["step"] != trained.step:
            return None
        content = stored.read_bytes(path, _PICTURE_BYTES)
    except FileNotFoundError:
        return None
    except (JobDirError, stored.UnreadableError) as error:
        console.warning(f"The card has no reconstructions: {error}")
        return None
    if not content.startswith(_PNG):
        console.warning(f"{path} is no PNG, and is not on the card.")
        return None
    return content


def _held_out_row(trained, console):
    """Returns the last evaluation up to the checkpoint; None without one."""
    try:
        rows = read_rows(trained.job.metrics_path)
    except JobDirError as error:
        console.warning(f"The card has no losses: {error}")
        return None
    held_out = [
        row
        for row in rows
        if row["split"] != "train" and row["step"] <= trained.step
    ]
    return held_out[-1] if held_out else None


def _front_matter(trained):
    """Returns what Hugging Face reads: only what is known to be so."""
    lines = ["tags:", "- variational-autoencoder"]
    if not trained.vae.classes:
        lines.append("pipeline_tag: unconditional-image-generation")
    return "\n".join(["---", *lines, "---"])


def _called(record):
    """Returns what people call the data of a job."""
    name = record["data"]["name"]
    known = named_datasets.NAMED.get(name)
    return known.title if known else name


def _lead(trained, record):
    height, width, channels = trained.vae.image_shape
    config = trained.config
    yield f"# A variational autoencoder of {_plain(_called(record))} images"
    yield (
        f"It makes images of {height} x {width} pixels, "
        f"{'grey' if channels == 1 else 'in colour'}, from "
        f"{config.latent_dim:,} latent units, and finds the latent units of "
        f"an image. It was trained for {trained.step:,} steps of "
        f"{config.batch_size:,} images."
    )


def _loading(trained):
    vae = trained.vae
    labels = ", labels=tf.constant([0])" if vae.classes else ""
    shape = ", ".join(map(str, (_DRAWN, *vae.image_shape)))
    yield "## How to load it"
    yield (
        "```python\n"
        "import tensorflow as tf\n"
        'model = tf.saved_model.load("saved_model/1")\n'
        'drawn = model.signatures["generate"]'
        f"(count=tf.constant({_DRAWN}), seed=tf.constant(0){labels})\n"
        "```"
    )
    yield (
        f'`drawn["pixels"]` is uint8 of shape ({shape}). The signatures '
        "`encode` and `reconstruct` take images, uint8 from 0 to 255, and "
        "`decode` takes latent vectors. TensorFlow is all that this needs."
    )
    if not export.left_out(vae):
        yield (
            "`encoder.keras` and `decoder.keras` are the same for Keras: "
            '`keras.saving.load_model("decoder.keras")`. They take images as '
            "fractions from 0 to 1."
        )
    if vae.classes:
        listed = ", ".join(
            f"{label}: {_plain(name)}"
            for label, name in enumerate(trained.class_names)
        )
        yield f"Each image goes with a label. {listed}."


def _figures(trained, row, evaluation):
    if row is None and not evaluation:
        return
    yield "## Figures"
    if row:
        left_out = (
            ", the squared error but for a constant"
            if trained.vae.likelihood.nats_a_value
            else ""
        )
        yield (
            f"Of the {_plain(row['split'])} images at step {row['step']:,}, in "
            f"{units.NATS}{left_out}:"
        )
        yield _table(
            {
                "total loss": f"{row['total_loss']:.4f}",
                "reconstruction loss": f"{row['reconstruction_loss']:.4f}",
                "KL divergence": f"{row['kl_loss']:.4f}"
                + (", an estimate" if "kl" in row else ""),
                "active latent units": f"{row['active_units']} of "
                f"{trained.config.latent_dim}",
            }
        )
        if sentence := units.why_negative(trained.vae):
            yield sentence
    if found := dict(_evaluated(evaluation)):
        yield "Of all test images, by `vae-evaluate`:"
        yield _table(found)


def _evaluated(evaluation):
    """Yields name and value of the figures that there are."""
    density = evaluation.get("density", "log p(x)")
    estimate = _part(evaluation, "log_likelihood")
    if stored.is_number(evaluation.get("elbo")):
        yield "ELBO", _with_error(evaluation, "elbo", "elbo_error")
    if stored.is_number(estimate.get("mean")):
        yield (
            f"{density}, K = {estimate.get('samples')}",
            _with_error(estimate, "mean", "error_of_images"),
        )
    if isinstance(evaluation.get("likelihood"), str):
        yield "what kind of number these are", evaluation["likelihood"]
    if stored.is_number(evaluation.get("bits_per_dimension")):
        yield "bits per dimension", f"{evaluation['bits_per_dimension']:.4f}"
    for name, title in (
        ("linear_probe", "accuracy of a linear probe on latent means"),
        ("nearest_neighbors", "accuracy of nearest neighbors there"),
    ):
        found = _part(evaluation, name)
        if stored.is_number(found.get("accuracy")):
            yield title, _with_error(found, "accuracy", "error")


def _part(values, name):
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _with_error(values, name, error):
    text = f"{values[name]:.4f}"
    if stored.is_number(values.get(error)):
        text += f" ± {values[error]:.4f}"
    return text


def _data(record):
    data = record["data"]
    known = named_datasets.NAMED.get(data["name"])
    yield "## Data"
    yield _table(
        {
            "name": _called(record),
            "licence of the data": (known and known.licence) or "unknown",
            **{
                title: f"{data[name]:,}"
                for name, title in (
                    ("train_examples", "training images"),
                    ("test_examples", "test images"),
                )
                if name in data
            },
            "image shape": " x ".join(map(str, data["image_shape"])),
            **{
                f"{kind} of {name}": checksum
                for kind, sums in (
                    ("MD5", data.get("md5", {})),
                    ("SHA-256", data.get("sha256", {})),
                )
                for name, checksum in sums.items()
            },
        }
    )


def _settings(trained, record):
    """Yields how it was trained; no paths, as in TensorBoard's card."""
    defaults = {
        field.name: field.default for field in dataclasses.fields(TrainConfig)
    }
    changed = {
        name: value
        for name, value in trained.config.shared().items()
        if value != defaults[name] and name != "init_from"
    }
    yield "## Training"
    if changed:
        yield (
            f"The settings that are not the defaults of vae-trainer "
            f"{__version__}:"
        )
        yield _table(changed, of_flags=True)
    else:
        yield f"All settings are the defaults of vae-trainer {__version__}."
    if initial := record.get("initial_weights"):
        yield (
            f"It began with the weights of step {initial['step']:,} of another "
            f"job, SHA-256 {_plain(initial['sha256'])}."
        )
    if model := run_cards.model_of(record):
        yield "The model:"
        yield _table(model)
    yield "Trained with:"
    yield _table(record["versions"])


def _limits(trained, record, row, evaluation, checkpoint):
    config = trained.config
    others = "" if record.get("initial_weights") else " and no others"
    limits = [
        f"It was trained on the images of the data above{others}. How it does "
        "on images of another kind has not been measured here.",
        "No licence of the model is stated here, nor what it may be used for.",
        "Its losses compare with those on the same images with "
        f"`--reconstruction_loss={config.reconstruction_loss}` alone.",
    ]
    if config.reconstruction_loss == "mse":
        limits.append(
            "The squared error takes the variance of each pixel to be 1/2, "
            "far more than pixels have: images come out blurred."
        )
    if row and has_collapsed(row, config.latent_dim):
        limits.insert(0, collapse_phrase(row, config.latent_dim))
    if row and row["step"] != trained.step:
        limits.append(
            f"The losses are of step {row['step']:,}, and the model of step "
            f"{trained.step:,}."
        )
    if not _part(evaluation, "log_likelihood"):
        limits.append("log p(x) has not been estimated for this step.")
    if checkpoint == "best" and row and row["split"] == "test":
        limits.append(
            "The step was chosen by its loss on these same test images, so "
            "that this loss is a little too low."
        )
    yield "## Limits"
    yield "\n".join(f"- {limit}" for limit in limits)


def _table(values, of_flags=False):
    """Returns a table of two columns in Markdown."""
    lines = ["| | |", "|---|---|"]
    for row in tables.table("", values)["rows"]:
        name = row["name"]
        name = f"`--{name}`" if of_flags else _plain(name)
        lines.append(f"| {name} | {_plain(row['text'])} |")
    return "\n".join(lines)


def _plain(value):
    """Returns Markdown that shows a value as it is, in one line."""
    text = html.escape(" ".join(str(value).splitlines()), quote=False)
    return _MARKUP.sub(r"\\\1", text)
