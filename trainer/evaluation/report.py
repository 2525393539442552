"""What a model is worth on the test images: the figures, and their table."""

import math

import numpy as np
import tensorflow as tf

from trainer import stored
from trainer.data import classes
from trainer.data.images import faults_of
from trainer.data.order import binary_images
from trainer.distributed.calls import Workers
from trainer.evaluation import log_likelihood as log_likelihood_lib
from trainer.evaluation.held_out import Evaluator
from trainer.job_dir.record import versions
from trainer.model import inference, likelihoods, priors

# Images looked at together.
_PIECE = 1000
# What the bounds are of.
_LOG_P, _LOG_P_OF_LABEL = "log p(x)", "log p(x | label)"
# Whose KL the table has one by one.
_LARGEST_UNITS = 10


def figures(vae, config, data, samples, repeats, console, stop):
    """Returns what a model is worth, as JSON values.

    Args:
        vae: a `VAE`.
        config: the `TrainConfig` that it was trained with.
        data: the `Dataset` that it was trained on.
        samples: int, of z an image for log p(x); 0 leaves that out.
        repeats: int, estimates of log p(x).
        console: a `Console`.
        stop: a `StopSignal`.

    Returns:
        dict, the figures of `evaluation.json`; losses in nats an image.

    Raises:
        InterruptedJobError: the stop signal came.
    """
    images = data.test_images
    labels = classes.given(config, data.test_labels)
    evaluator = Evaluator(
        vae,
        config,
        tf.distribute.get_strategy(),
        images,
        Workers(stop),
        labels=labels,
    )
    with (
        faults_of(images),
        console.image_bar("Evaluating", len(images)) as advance,
    ):
        evaluation = evaluator.run(advance)
    metrics = evaluation.metrics
    values = math.prod(data.image_shape)
    elbo = -(
        metrics["reconstruction_loss"]
        + metrics["kl_loss"]
        + vae.likelihood.log_normalizer(values)
    )
    log_likelihood = None
    if samples:
        with console.image_bar(
            "Decoding samples", len(images) * samples * repeats
        ) as advance:
            found = log_likelihood_lib.estimate(
                vae,
                config,
                images,
                samples,
                repeats,
                stop,
                advance,
                labels=labels,
            )
        log_likelihood = {
            "samples": samples,
            "repeats": repeats,
            "mean": found.mean,
            "error_of_images": found.error_of_images,
            "error_of_repeats": found.error_of_repeats,
        }
    return {
        "data": {
            "name": data.name,
            "train_examples": len(data.train_images),
            "test_examples": len(images),
        },
        "metrics": metrics,
        "density": _LOG_P if labels is None else _LOG_P_OF_LABEL,
        "likelihood": _kind(vae.likelihood, images),
        "elbo": elbo,
        "elbo_error": evaluation.elbo_error,
        "log_likelihood": log_likelihood,
        "bits_per_dimension": _bits_per_dimension(
            vae.likelihood, elbo, log_likelihood, values
        ),
        **_classifiers(vae, config, data, console, stop),
        "latent_units": config.latent_dim,
        "latent_groups": list(vae.latents.groups),
        "kl": priors.description(vae.prior),
        "kl_of_units": (
            evaluation.kl_of_units.tolist()
            if evaluation.kl_of_units is not None
            else None
        ),
        "dead_units": {
            name: {"dead": evaluation.dead_units[name], "units": units}
            for name, units in evaluation.hidden_units.items()
        },
        "versions": versions(),
    }


def read(job, console):
    """Returns what `evaluation.json` says, a dict; empty if there is none.

    Args:
        job: a `JobDir`.
        console: a `Console`, which warns of a file that cannot be read.
    """
    path = job.evaluation_path
    try:
        evaluation = stored.read_json(path)
    except FileNotFoundError:
        return {}
    except stored.UnreadableError as error:
        console.warning(f"{path} {error}, and is left out.")
        return {}
    if not isinstance(evaluation, dict):
        console.warning(f"{path} is not a JSON object, and is left out.")
        return {}
    return evaluation


def _kind(likelihood, images):
    """Returns what kind of number log p(x) is."""
    if likelihood.name != "bce":
        return likelihood.kind
    pieces = (
        images[start : start + _PIECE]
        for start in range(0, len(images), _PIECE)
    )
    if all(((piece == 0) | (piece == 255)).all() for piece in pieces):
        return likelihood.kind
    return likelihoods.GREY_CROSS_ENTROPY


def _bits_per_dimension(likelihood, elbo, log_likelihood, values):
    """Returns the best bound of log p(x) in bits for each value of an image.

    None unless it is the probability of 8-bit images.
    """
    if likelihood.name != "logistic":
        return None
    nats = log_likelihood["mean"] if log_likelihood else elbo
    return -nats / (values * math.log(2))


class _DrawnImages:
    """Binary images as training sees them, at a step that it does not have.

    They are drawn when they are asked for: the grey ones may lie on a disk.

    Args:
        images: uint8 array, or `StoredImages`, of shape (N, height, width,
            channels).
        seed: int, the job's seed.
    """

    def __init__(self, images, seed):
        self._images, self._seed = images, seed

    def __len__(self):
        return len(self._images)

    def __getitem__(self, wanted):
        """Returns uint8 images of a slice, 0 or 255."""
        grey = self._images[wanted]
        return binary_images(grey, self._seed, 0, wanted.start).numpy()


def _classifiers(vae, config, data, console, stop):
    """Returns how well classes can be read off the posterior means."""
    accuracies = {"linear_probe": None, "nearest_neighbors": None}
    labels = data.train_labels, data.test_labels
    if any(each is None for each in labels):
        console.line("The data has no labels: no accuracies.")
        return accuracies
    # scikit-learn takes a second to import.
    try:
        from trainer.evaluation import probes
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] not in ("sklearn", "threadpoolctl"):
            raise
        console.line(
            "No accuracies: scikit-learn is not installed; install it with "
            '`pip install "vae-trainer[probes]"`.'
        )
        return accuracies
    if len(set(labels[0])) < 2:
        console.line("The training images are of one class: no accuracies.")
        return accuracies
    train_images = data.train_images
    if config.binarize == "dynamic":
        train_images = _DrawnImages(train_images, config.seed)
    both = train_images, data.test_images
    with console.image_bar("Encoding", sum(map(len, both))) as advance:
        means = [
            inference.encode_many(
                vae, images, stop, advance, classes.given(config, of_images)
            )
            for images, of_images in zip(both, labels, strict=True)
        ]
    # scikit-learn takes no bfloat16.
    train_means, test_means = (
        each.astype(np.result_type(each, np.float32)) for each in means
    )
    # scikit-learn does not tell how far it is.
    console.line("Fitting the classifiers.")
    for name, classify in (
        ("linear_probe", probes.linear),
        ("nearest_neighbors", probes.nearest_neighbors),
    ):
        stop.check()
        correct = classify(train_means, labels[0], test_means, labels[1])
        accuracies[name] = {
            "accuracy": float(correct.mean()),
            "error": log_likelihood_lib.standard_error(correct),
        }
    stop.check()
    accuracies["nearest_neighbors"]["neighbors"] = probes.NEIGHBORS
    return accuracies


def table(figures):
    """Returns the lines that `vae-evaluate` prints.

    Args:
        figures: dict, what `evaluation.json` holds.
    """
    rows = list(_rows(figures))
    first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
    return [
        f"  {name:{first}}  {value:{second}}  {explanation}"
        for name, value, explanation in rows
    ]


def _rows(figures):
    """Yields (name, value, explanation) of each figure."""
    metrics = figures["metrics"]
    yield (
        "total_loss",
        f"{metrics['total_loss']:.4f}",
        f"reconstruction_loss + {metrics['kl_weight']:g} x kl_loss",
    )
    yield (
        "reconstruction_loss",
        f"{metrics['reconstruction_loss']:.4f}",
        "one sample of z an image",
    )
    yield (
        "kl_loss",
        f"{metrics['kl_loss']:.4f}",
        "of the posterior from the prior"
        + ("" if figures["kl"] == priors.EXACT else f", {figures['kl']}"),
    )
    groups = figures["latent_groups"]
    for number, units in enumerate(groups, 1) if len(groups) > 1 else ():
        where = "given those above" if number > 1 else "the top ones"
        yield (
            f"kl_group_{number}",
            f"{metrics[f'kl_group_{number}']:.4f}",
            f"of {units} latent units, {where}",
        )
    yield (
        "ELBO",
        _with_error(figures["elbo"], figures["elbo_error"]),
        f"lower bound of {figures['density']}: {figures['likelihood']}",
    )
    if found := figures["log_likelihood"]:
        explanation = (
            f"importance-weighted bound, mean of R = {found['repeats']}"
        )
        if found["error_of_repeats"] is not None:
            explanation += f", ± {found['error_of_repeats']:.4f} over them"
        yield (
            f"{figures['density']}, K = {found['samples']}",
            _with_error(found["mean"], found["error_of_images"]),
            explanation,
        )
    if (bits := figures["bits_per_dimension"]) is not None:
        yield (
            "bits per dimension",
            f"{bits:.4f}",
            "the same for each channel of a pixel",
        )
    units = figures["latent_units"]
    yield (
        "active_units",
        f"{metrics['active_units']} of {units}",
        "whose posterior mean has a variance above 0.01",
    )
    if (directions := metrics.get("active_directions")) is not None:
        yield (
            "active_directions",
            f"{directions} of {units}",
            "principal components of the means with such a variance",
        )
    for layer, dead in figures["dead_units"].items():
        yield (
            f"dead in {layer}",
            f"{dead['dead']} of {dead['units']}",
            "hidden units that no test image makes fire",
        )
    if figures["kl_of_units"] is not None:
        yield from _rows_of_units(figures["kl_of_units"])
    told = (
        ", which are made knowing the label"
        if figures["density"] == _LOG_P_OF_LABEL
        else ""
    )
    if found := figures["linear_probe"]:
        yield (
            "linear probe",
            _with_error(found["accuracy"], found["error"]),
            f"accuracy of a logistic regression on posterior means{told}",
        )
    if found := figures["nearest_neighbors"]:
        yield (
            f"{found['neighbors']} nearest neighbors",
            _with_error(found["accuracy"], found["error"]),
            f"accuracy of their vote, among the training images{told}",
        )


def _rows_of_units(kl_of_units):
    kl = sorted(kl_of_units, reverse=True)
    largest, rest = kl[:_LARGEST_UNITS], kl[_LARGEST_UNITS:]
    yield (
        f"KL of {len(largest)} units",
        f"{sum(largest):.4f}",
        "the largest: " + " ".join(f"{value:.2f}" for value in largest),
    )
    if rest:
        yield f"KL of the other {len(rest)}", f"{sum(rest):.4f}", "together"


def _with_error(value, error):
    return f"{value:.4f}" + ("" if error is None else f" ± {error:.4f}")
