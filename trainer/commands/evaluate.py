"""Command: what any checkpoint of a job is worth, on the test images."""

import sys

from absl import flags

from trainer import config as config_lib, files
from trainer.errors import ConfigError
from trainer.runtime.command import quiet_tensorflow, report_errors
from trainer.runtime.stop_signal import StopSignal

_LARGEST_UNITS = 10


def main():
    """Evaluates a checkpoint; the console script `vae-evaluate`.

    Returns:
        The exit code, as `trainer.task.main`.
    """
    stop = StopSignal()
    stop.install()
    flag_values = config_lib.new_job_flags()
    flags.DEFINE_integer(
        "importance_samples",
        50,
        "K, samples of z an image for log p(x); 0 leaves it out",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "importance_repeats",
        3,
        "R, estimates of log p(x) with samples of their own",
        flag_values=flag_values,
    )
    with report_errors() as outcome:
        if config_lib.parse_command(flag_values, sys.argv[1:], "vae-evaluate"):
            _check_flags(flag_values)
            with quiet_tensorflow():
                from trainer.evaluation import held_out  # noqa: F401 - loaded quietly.
            _evaluate(flag_values, stop)
    stop.retire()
    return outcome.exit_code


def _check_flags(flag_values):
    for name, least in (("importance_samples", 0), ("importance_repeats", 1)):
        value = flag_values[name].value
        if value < least:
            raise ConfigError(
                f"--{name}={value} is too small; the least is {least}."
            )


def _evaluate(flag_values, stop):
    from trainer.job_dir.open import publish_file
    from trainer.model.trained import open_trained
    from trainer.runtime.console import Console

    console = Console()
    with open_trained(flag_values, console) as trained:
        job, data = trained.job, trained.data(console, stop)
        figures = {
            "step": trained.step,
            "checkpoint": flag_values["checkpoint"].value,
        } | _figures(
            trained.vae,
            trained.config,
            data,
            flag_values["importance_samples"].value,
            flag_values["importance_repeats"].value,
            console,
            stop,
        )
        console.line(
            f"Step {trained.step} of {job.location}, {len(data.test_images):,} "
            f"test images of {data.name}, in nats an image and with standard "
            "errors:"
        )
        for line in table(figures):
            console.line(line)
        # After the table: it is not lost where nothing can be written.
        files.write_json(job.evaluation_path, figures)
        publish_file(job, job.evaluation_path)
        console.line(
            f"The same in {job.location}/{job.evaluation_path.name}, with the "
            "KL of every unit."
        )


def _figures(vae, config, data, samples, repeats, console, stop):
    """Returns what `evaluation.json` says of a model."""
    import tensorflow as tf

    from trainer.distributed.agreement import Agreement
    from trainer.evaluation import log_likelihood as importance
    from trainer.evaluation.held_out import Evaluator
    from trainer.job_dir.record import versions
    from trainer.model.objective import log_normalizer

    images = data.test_images
    evaluator = Evaluator(vae, config, tf.distribute.get_strategy(), images)
    with console.image_bar("Evaluating", len(images)) as advance:
        evaluation = evaluator.run(Agreement(stop), advance)
    metrics = evaluation.metrics
    bound = metrics["reconstruction_loss"] + metrics["kl_loss"]
    log_likelihood = None
    if samples:
        with console.image_bar(
            "Decoding samples", len(images) * samples * repeats
        ) as advance:
            found = importance.estimate(
                vae, config, images, samples, repeats, stop, advance
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
        "likelihood": _likelihood(config, images),
        "elbo": -bound
        - log_normalizer(config.reconstruction_loss, images[0].size),
        "elbo_error": evaluation.elbo_error,
        "log_likelihood": log_likelihood,
        **_classifiers(vae, config, data, console, stop),
        "kl_of_units": evaluation.kl_of_units.tolist(),
        "versions": versions(),
    }


def _likelihood(config, images):
    """Returns what kind of number log p(x) is."""
    if config.reconstruction_loss != "bce":
        return "log-density of pixels from 0 to 1"
    if ((images == 0) | (images == 255)).all():
        return "log-probability"
    return "cross-entropy of grey pixels, so not normalised"


def _classifiers(vae, config, data, console, stop):
    """Returns the figures of what is read off the posterior means."""
    figures = {"linear_probe": None, "nearest_neighbors": None}
    labels = data.train_labels, data.test_labels
    if any(each is None for each in labels):
        console.line("The data has no labels: no accuracies.")
        return figures
    # scikit-learn takes a second to import.
    from trainer.data.order import binary_images
    from trainer.evaluation import probes
    from trainer.evaluation.log_likelihood import standard_error
    from trainer.pictures import latent_space

    if len(set(labels[0])) < 2:
        console.line("The training images are of one class: no accuracies.")
        return figures
    train_images = data.train_images
    if config.binarize == "dynamic":
        # As training sees them, at a step that it does not have.
        train_images = binary_images(train_images, config.seed, 0, 0).numpy()
    both = train_images, data.test_images
    with console.image_bar("Encoding", sum(map(len, both))) as advance:
        train_means, test_means = (
            latent_space.encode(vae, images, stop, advance) for images in both
        )
    # scikit-learn does not tell how far it is.
    console.line("Fitting the classifiers.")
    for name, classify in (
        ("linear_probe", probes.linear),
        ("nearest_neighbors", probes.nearest_neighbors),
    ):
        stop.check()
        correct = classify(train_means, labels[0], test_means, labels[1])
        figures[name] = {
            "accuracy": float(correct.mean()),
            "error": standard_error(correct),
        }
    stop.check()
    figures["nearest_neighbors"]["neighbors"] = probes.NEIGHBORS
    return figures


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
        "of the posterior from the prior",
    )
    yield (
        "ELBO",
        _with_error(figures["elbo"], figures["elbo_error"]),
        f"lower bound of log p(x): {figures['likelihood']}",
    )
    if found := figures["log_likelihood"]:
        explanation = (
            f"importance-weighted bound, mean of R = {found['repeats']}"
        )
        if found["error_of_repeats"] is not None:
            explanation += f", ± {found['error_of_repeats']:.4f} over them"
        yield (
            f"log p(x), K = {found['samples']}",
            _with_error(found["mean"], found["error_of_images"]),
            explanation,
        )
    kl = sorted(figures["kl_of_units"], reverse=True)
    yield (
        "active_units",
        f"{metrics['active_units']} of {len(kl)}",
        "whose posterior mean has a variance above 0.01",
    )
    largest, rest = kl[:_LARGEST_UNITS], kl[_LARGEST_UNITS:]
    yield (
        f"KL of {len(largest)} units",
        f"{sum(largest):.4f}",
        "the largest: " + " ".join(f"{value:.2f}" for value in largest),
    )
    if rest:
        yield f"KL of the other {len(rest)}", f"{sum(rest):.4f}", "together"
    if found := figures["linear_probe"]:
        yield (
            "linear probe",
            _with_error(found["accuracy"], found["error"]),
            "accuracy of a logistic regression on posterior means",
        )
    if found := figures["nearest_neighbors"]:
        yield (
            f"{found['neighbors']} nearest neighbors",
            _with_error(found["accuracy"], found["error"]),
            "accuracy of their vote, among the training images",
        )


def _with_error(value, error):
    return f"{value:.4f}" + ("" if error is None else f" ± {error:.4f}")


if __name__ == "__main__":
    sys.exit(main())
