import contextlib
import dataclasses
import json
import shutil
import time
import weakref

import numpy as np
import pytest
import tensorflow as tf

import trainer
from tests.tools.small_jobs import (
    BINARY,
    GAUSSIAN,
    StopAfterRows,
    metrics_path,
    rows_of,
    small_job,
    train_only,
)
from tests.tools.soak import differences
from trainer import training as training_lib
from trainer.data import order, sources
from trainer.distributed import devices
from trainer.errors import ConfigError, InterruptedJobError, NonFiniteError
from trainer.job import train_and_evaluate
from trainer.job_dir import checkpoint
from trainer.job_dir.open import JobDir
from trainer.model.build import build_vae
from trainer.model.step import make_train_steps
from trainer.model.weights import variables_of
from trainer.pictures import picture_files
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal
from trainer.schedule import Schedule
from trainer.tracking import projector
from trainer.training import Parts

LOSSES = ("total_loss", "reconstruction_loss", "kl_loss")


def weights_of(config):
    return checkpoint.select(JobDir(config.job_dir), "last").variables


def assert_same_weights(one, other):
    one, other = weights_of(one), weights_of(other)
    assert list(one) == list(other)
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def relative_difference(one, other):
    """The largest relative difference of two jobs' training losses, by step."""
    return {
        a["step"]: max(abs(a[key] - b[key]) / abs(a[key]) for key in LOSSES)
        for a, b in zip(
            rows_of(one, "train"), rows_of(other, "train"), strict=True
        )
    }


SLOW = pytest.mark.slow
OTHER_LIKELIHOODS = [pytest.param(GAUSSIAN, marks=SLOW), BINARY]


@pytest.fixture
def finished(finished_job, tmp_path):
    """`small_config()` with a copy of the job of it, which has ended."""
    return small_job(
        job_dir=str(shutil.copytree(finished_job, tmp_path / "finished"))
    )


def test_replica_count_changes_nothing_in_float64(small_config, tmp_path):
    one, many = (
        small_config(
            job_dir=str(tmp_path / f"{replicas}-replicas"),
            virtual_devices=replicas,
            precision="float64",
            batch_size=16,
            max_steps=100,
            epochs=20,
            eval_epochs=0,
            image_epochs=0,
            summary_steps=1,
        )
        for replicas in (1, 4)
    )
    for config in (one, many):
        train_and_evaluate(config)
    difference = relative_difference(one, many)
    assert len(difference) == 100
    assert max(difference.values()) < 1e-10
    assert rows_of(one, "test")[-1]["total_loss"] == pytest.approx(
        rows_of(many, "test")[-1]["total_loss"], rel=1e-10
    )


def test_replica_count_changes_only_rounding_in_float32(small_config, tmp_path):
    settings = {"max_steps": 30, "epochs": 20, "eval_epochs": 0}
    settings |= {"image_epochs": 0, "summary_steps": 1, "latent_dim": 200}
    one = small_config(job_dir=str(tmp_path / "one"), **settings)
    four = small_config(
        job_dir=str(tmp_path / "four"), virtual_devices=4, **settings
    )
    train_and_evaluate(one)
    train_and_evaluate(four)
    difference = relative_difference(one, four)
    assert max(difference[step] for step in range(1, 11)) < 1e-5
    assert max(difference[step] for step in range(1, 31)) < 1e-3


def test_replica_count_changes_nothing_with_free_bits(small_config, tmp_path):
    settings = {"precision": "float64", "max_steps": 20, "free_bits": 0.2}
    settings |= {"summary_steps": 1, "kl_warmup_epochs": 0.0}
    one = small_config(job_dir=str(tmp_path / "one"), **settings)
    two = small_config(
        job_dir=str(tmp_path / "two"), virtual_devices=2, **settings
    )
    train_and_evaluate(one)
    train_and_evaluate(two)
    assert max(relative_difference(one, two).values()) < 1e-10
    # The objective is not below what the free bits allow.
    for row in rows_of(one, "train"):
        assert row["total_loss"] >= row["reconstruction_loss"] + 8 * 0.2 - 1e-9


@pytest.mark.parametrize("settings", OTHER_LIKELIHOODS)
def test_replica_count_changes_nothing_with_other_likelihoods(
    small_config, tmp_path, settings
):
    settings = {**settings, "precision": "float64", "max_steps": 20}
    settings |= {"summary_steps": 1, "epochs": 5, "eval_epochs": 0}
    settings |= {"image_epochs": 0}
    one, two = (
        small_config(
            job_dir=str(tmp_path / f"{replicas}-replicas"),
            virtual_devices=replicas,
            **settings,
        )
        for replicas in (1, 2)
    )
    train_and_evaluate(one)
    train_and_evaluate(two)
    difference = relative_difference(one, two)
    assert len(difference) == 20
    assert max(difference.values()) < 1e-10
    assert rows_of(one)[-1]["total_loss"] == pytest.approx(
        rows_of(two)[-1]["total_loss"], rel=1e-10
    )


def test_two_runs_are_equal_bit_for_bit(small_config, tmp_path):
    one, other = (
        small_config(
            job_dir=str(tmp_path / name), virtual_devices=3, batch_size=30
        )
        for name in ("one", "other")
    )
    train_and_evaluate(one)
    train_and_evaluate(other)
    assert rows_of(one) == rows_of(other)
    assert_same_weights(one, other)


@pytest.mark.parametrize("steps", [pytest.param(1, marks=SLOW), 7])
def test_steps_per_call_changes_nothing(small_config, finished, steps):
    config = small_config(steps_per_call=steps)
    train_and_evaluate(config)
    assert rows_of(config) == rows_of(finished)
    assert_same_weights(config, finished)


def test_the_step_is_traced_once(small_config):
    functions = []

    def remember(*arguments):
        functions.append(make_train_steps(*arguments))
        return functions[-1]

    train_and_evaluate(
        small_config(epochs=3), parts=Parts(make_train_steps=remember)
    )
    assert [function.traces() for function in functions] == [1]


class SlowTraining(Console):
    """Makes training take some seconds; remembers when each line came."""

    def __init__(self, seconds_per_call):
        super().__init__()
        self._seconds_per_call = seconds_per_call
        self.times = {}

    def line(self, text):
        self.times[text.split()[0]] = time.monotonic()

    @contextlib.contextmanager
    def image_bar(self, title, total, done=0):
        pause = self._seconds_per_call if title == "Training" else 0
        yield lambda images, note="": time.sleep(pause)


def test_the_pictures_follow_the_last_epoch_at_once(small_config):
    # What ended with the loop used to wait for a thread of tf.data that looks
    # up 5.1 s and 10.2 s after its start.
    console = SlowTraining(seconds_per_call=0.6)
    train_and_evaluate(
        small_config(
            virtual_devices=4, epochs=1, steps_per_call=1, image_epochs=0
        ),
        console=console,
    )
    training = console.times["Epoch"] - console.times["Training"]
    assert training > 6
    # It is longer by what TensorFlow works, as the machine does.
    assert console.times["Drawing"] - console.times["Epoch"] < training / 4


def test_iterators_live_until_the_caller_lets_go(small_config):
    kept = []
    train_and_evaluate(small_config(max_steps=1), kept=kept)
    alive = [weakref.ref(one) for one in kept]
    assert len(alive) == 2
    kept.clear()
    assert [reference() for reference in alive] == [None, None]


def test_rows_have_the_documented_keys_and_steps(finished):
    rows = [
        json.loads(line)
        for line in metrics_path(finished).read_text().splitlines()
    ]
    common = ["step", "epoch", "split", *LOSSES, "kl_weight"]
    train = [row for row in rows if row["split"] == "train"]
    test = [row for row in rows if row["split"] == "test"]
    assert [row["step"] for row in train] == [5, 10, 15, 20]
    assert [row["epoch"] for row in train] == [1, 1, 2, 2]
    assert [row["step"] for row in test] == [10, 20]
    for row in train:
        assert list(row) == [*common, "learning_rate", "images_per_second"]
        assert row["total_loss"] == pytest.approx(
            row["reconstruction_loss"] + row["kl_weight"] * row["kl_loss"],
            rel=1e-5,
        )
        # 20 steps of warm-up; the first step has weight 0.
        assert row["kl_weight"] == pytest.approx((row["step"] - 1) / 20)
        assert row["images_per_second"] > 0
    for row in test:
        assert list(row) == [
            *common,
            "active_units",
            "active_directions",
            "dead_units",
        ]
        assert row["total_loss"] == pytest.approx(
            row["reconstruction_loss"] + row["kl_loss"], rel=1e-12
        )


def test_first_loss_is_that_of_the_first_batch_by_hand(small_config):
    """The whole step against a few lines of NumPy-like code."""
    config = small_config(max_steps=1, summary_steps=1, precision="float64")
    train_and_evaluate(config)
    from trainer import randomness
    from trainer.model import build, objective
    from trainer.runtime.console import Console

    data = sources.load(config, Console(), StopSignal())
    vae = build.build_vae(config, data.image_shape)
    schedule = Schedule.of(config, 320)
    examples = order.examples_of_step(
        tf.constant(1, tf.int64), tf.constant(0, tf.int64), 32, config,
        schedule, 320,
    ).numpy()  # fmt: skip
    images = tf.constant(data.train_images[examples] / 255)
    noise = randomness.normal(0, randomness.Tag.TRAIN_NOISE, 1, 0, 32, 8)
    z_mean, z_log_var = vae.encoder(images)
    z = z_mean + tf.exp(z_log_var / 2) * tf.cast(noise, tf.float64)
    error = tf.reduce_sum((images - vae.decoder(z)) ** 2) / 32
    kl = tf.reduce_sum(objective.kl_per_unit(z_mean, z_log_var)) / 32
    (row,) = rows_of(config, "train")
    assert row["reconstruction_loss"] == pytest.approx(float(error), rel=1e-12)
    assert row["kl_loss"] == pytest.approx(float(kl), rel=1e-12)
    assert row["total_loss"] == pytest.approx(float(error), rel=1e-12)


def test_a_non_finite_loss_stops_the_job_and_keeps_the_last_checkpoint(
    small_config,
):
    # A learning rate that throws the weights to infinity before long.
    config = small_config(learning_rate=30.0, epochs=20, checkpoint_steps=1)
    with pytest.raises(NonFiniteError, match="in another --job_dir: a job"):
        train_and_evaluate(config)
    saved = checkpoint.list_steps(JobDir(config.job_dir))
    assert saved, "the steps before went well"
    for step in saved:
        state = checkpoint.select(JobDir(config.job_dir), str(step))
        assert all(np.isfinite(a).all() for a in state.variables.values())


def test_a_non_finite_loss_names_the_steps_of_the_call(small_config):
    config = small_config(learning_rate=1e18, epochs=20, steps_per_call=5)
    with pytest.raises(NonFiniteError, match="between steps 1 and 5;"):
        train_and_evaluate(config)
    assert checkpoint.list_steps(JobDir(config.job_dir)) == []


# Rows come after steps 5, 10, 10 (test), 15, 20, 20 (test): the second stop
# falls between an evaluation and the pictures of its step, the last between the
# evaluation of the last step and the end.
@pytest.mark.parametrize(
    "rows", [pytest.param(1, marks=SLOW), 3, pytest.param(4, marks=SLOW), 6]
)
def test_an_interrupted_run_equals_an_untouched_one(
    small_config, finished_job, rows
):
    config = small_config()
    with pytest.raises(InterruptedJobError, match="Interrupted by SIGTERM"):
        train_and_evaluate(config, stop=StopAfterRows(config, rows))
    train_and_evaluate(config)
    assert differences(finished_job, JobDir(config.job_dir).root) == []


@pytest.mark.parametrize(
    ("owner", "name"), [(picture_files, "save_plots"), (projector, "save")]
)
def test_what_a_signal_leaves_of_the_end_the_next_session_does(
    small_config, finished_job, monkeypatch, owner, name
):
    config = small_config()
    job = JobDir(shutil.copytree(finished_job, config.job_dir))
    for path in (job.finished_path, *job.plots.iterdir()):
        path.unlink()
    stop, function = StopSignal(), getattr(owner, name)

    def stopped(*args):
        stop.request("SIGHUP")
        function(*args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stopped)
        with pytest.raises(InterruptedJobError):
            train_and_evaluate(config, stop=stop)
    assert not job.finished_path.exists()
    train_and_evaluate(config)
    assert differences(finished_job, job.root) == []


@pytest.mark.parametrize("settings", OTHER_LIKELIHOODS)
def test_an_interrupted_run_of_another_likelihood_equals_an_untouched_one(
    small_config, tmp_path, settings
):
    untouched = small_config(job_dir=str(tmp_path / "untouched"), **settings)
    train_and_evaluate(untouched)
    config = small_config(**settings)
    with pytest.raises(InterruptedJobError):
        train_and_evaluate(config, stop=StopAfterRows(config, 3))
    train_and_evaluate(config)
    assert (
        differences(JobDir(untouched.job_dir).root, JobDir(config.job_dir).root)
        == []
    )


def test_a_gaussian_job_keeps_its_variance(small_config):
    config = small_config(**GAUSSIAN, learning_rate=0.01)
    train_and_evaluate(config)
    saved = weights_of(config)["vae/log_variance"]
    assert saved.shape == ()
    assert trainer.load(config.job_dir).log_variance.numpy() == saved
    fresh = build_vae(config, (28, 28, 1)).log_variance.numpy()
    assert abs(saved - fresh) > 0.05, "it was trained"
    with pytest.raises(ConfigError, match=r"=mse \(was gaussian\)"):
        train_and_evaluate(small_config())


def test_a_job_that_died_before_its_first_checkpoint_says_that_it_begins_anew(
    small_config, capsys, monkeypatch
):
    config = small_config(max_steps=1)
    with monkeypatch.context() as patch:
        patch.setattr(training_lib, "run", died)
        with pytest.raises(ZeroDivisionError):
            train_only(config)
    assert capsys.readouterr().out.startswith(f"New job in {config.job_dir}.\n")
    train_only(config)
    assert capsys.readouterr().out.startswith(
        f"Beginning {config.job_dir} anew: it ended before its first "
        "checkpoint.\n"
    )


def died(*arguments):
    raise ZeroDivisionError


@pytest.mark.parametrize(("loss", "said"), [("gaussian", 1), ("bce", 0)])
def test_losses_that_may_be_negative_are_announced(
    small_config, capsys, loss, said
):
    train_only(small_config(max_steps=1, reconstruction_loss=loss))
    out = capsys.readouterr().out
    assert out.count("minus log-densities, which may be below 0") == said


def test_a_binary_job_is_watched_on_its_validation_images(small_config, capsys):
    config = small_config(**BINARY, train_examples=384)
    result = train_and_evaluate(config)
    assert "Training on 320 images" in capsys.readouterr().out
    rows = rows_of(config)
    assert {row["split"] for row in rows} == {"train", "validation"}
    assert result.test_metrics == rows[-1]
    assert result.test_metrics["split"] == "validation"
    job = JobDir(config.job_dir)
    assert not (job.logs / "test").exists()
    assert (job.logs / "validation").is_dir()
    steps = checkpoint.list_steps(job)
    losses = [row["total_loss"] for row in rows if row["split"] != "train"]
    assert list(checkpoint.test_losses(job, steps).values()) == losses
    with pytest.raises(ConfigError, match=r"=none \(was dynamic\)"):
        train_and_evaluate(
            small_config(reconstruction_loss="bce", train_examples=384)
        )


def test_weights_hardly_move_with_a_large_epsilon(small_config):
    config = small_config(adam_epsilon=1e6, max_steps=3)
    train_and_evaluate(config)
    first = variables_of(build_vae(config, (28, 28, 1)), None)
    for name, weight in weights_of(config).items():
        if name in first:
            np.testing.assert_allclose(weight, first[name], atol=1e-6)


@pytest.mark.parametrize(
    ("before", "after"), [(2, 4), pytest.param(4, 1, marks=SLOW)]
)
def test_a_job_moves_to_other_replicas(small_config, tmp_path, before, after):
    settings = {"precision": "float64", "summary_steps": 1, "batch_size": 16}
    untouched = small_config(job_dir=str(tmp_path / "untouched"), **settings)
    train_and_evaluate(untouched)
    first = small_config(virtual_devices=before, **settings)
    with pytest.raises(InterruptedJobError):
        train_and_evaluate(first, stop=StopAfterRows(first, 5))
    moved = small_config(virtual_devices=after, **settings)
    stopped_at = checkpoint.list_steps(JobDir(moved.job_dir))[-1]
    assert stopped_at == 5
    train_and_evaluate(moved)
    difference = relative_difference(untouched, moved)
    assert len(difference) == 40
    assert max(difference.values()) < 1e-10


def test_other_settings_are_refused_and_named(finished):
    with pytest.raises(ConfigError) as error:
        train_and_evaluate(
            dataclasses.replace(finished, beta=2.0, seed=5, train_examples=300)
        )
    for difference in (
        "--beta=2.0 (was 1.0)",
        "--seed=5 (was 0)",
        "--train_examples=300 (was 320)",
    ):
        assert difference in str(error.value)
    assert "other data or settings that change the result" in str(error.value)


def test_more_epochs_go_on_where_the_finished_run_stopped(
    small_config, finished, capsys
):
    longer = small_config(epochs=3)
    train_and_evaluate(longer)
    said = json.loads(JobDir(finished.job_dir).finished_path.read_text())
    assert dataclasses.asdict(train_and_evaluate(finished)) == said
    assert "Finished: " in capsys.readouterr().out
    train_and_evaluate(dataclasses.replace(finished, epochs=3))
    assert "at step 20." in capsys.readouterr().out
    assert_same_weights(finished, longer)
    assert rows_of(finished) == rows_of(longer)


def test_a_cosine_learning_rate_is_recorded_and_fixes_the_last_step(
    small_config,
):
    settings = {"learning_rate_schedule": "cosine", "summary_steps": 1}
    train_and_evaluate(small_config(epochs=2, **settings))
    rows = rows_of(small_config(), "train")
    fraction = np.arange(len(rows)) / len(rows)
    np.testing.assert_allclose(
        [row["learning_rate"] for row in rows],
        small_config().learning_rate * (1 + np.cos(np.pi * fraction)) / 2,
        atol=1e-9,
    )
    with pytest.raises(ConfigError, match=r"--epochs=3 \(was 2\)"):
        train_and_evaluate(small_config(epochs=3, **settings))
    with pytest.raises(ConfigError, match="--learning_rate_schedule=constant"):
        train_and_evaluate(small_config(epochs=2))


def test_a_job_of_a_version_without_a_setting_goes_on_with_its_default(
    finished,
):
    job = JobDir(finished.job_dir)
    record = job.record()
    for name in ("learning_rate_schedule", "binarize", "adam_epsilon"):
        del record["config"][name]
    job.config_path.write_text(json.dumps(record))
    result = train_and_evaluate(dataclasses.replace(finished, epochs=3))
    assert result.step == 30
    with pytest.raises(ConfigError, match="was constant"):
        train_and_evaluate(
            dataclasses.replace(finished, learning_rate_schedule="cosine")
        )


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"batch_size": 6}, 2),
        ({"batch_size": 5}, 1),
        ({"batch_size": 8, "virtual_devices": 4}, 1),
    ],
)
def test_a_batch_is_cut_in_halves_where_that_helps(
    small_config, settings, parts
):
    assert devices.connect(small_config(**settings)).parts == parts


def test_a_finished_job_loads_as_a_model(finished):
    vae = trainer.load(finished.job_dir)
    best = trainer.load(finished.job_dir, "best")
    saved = weights_of(finished)
    for name, variable in variables_of(vae, None).items():
        np.testing.assert_array_equal(variable.numpy(), saved[name])
    assert best.encoder.count_params() == vae.encoder.count_params()
    said = json.loads(JobDir(finished.job_dir).finished_path.read_text())
    assert said["step"] == 20
    assert said["test_metrics"] == rows_of(finished, "test")[-1]


KINDS = {
    "bce": {"reconstruction_loss": "bce"},
    "bfloat16": {"mixed_precision": "bfloat16"},
    "none": {"strategy": "none"},
    "jit": {"jit_compile": "true"},
    "gaussian": {
        "reconstruction_loss": "gaussian",
        "jit_compile": "true",
        "mixed_precision": "bfloat16",
    },
    "binary": BINARY,
}


@pytest.mark.parametrize(
    "kind",
    [
        kind if kind in ("none", "bfloat16") else pytest.param(kind, marks=SLOW)
        for kind in KINDS
    ],
)
def test_every_likelihood_and_precision_trains_too(small_config, kind):
    config = small_config(**KINDS[kind])
    train_and_evaluate(config)
    rows = rows_of(config, "train")
    assert rows[-1]["total_loss"] < rows[0]["total_loss"]


def test_a_real_run_learns_and_does_not_collapse(
    small_config, fashion_mnist_dir
):
    config = small_config(
        dataset="fashion_mnist",
        data_dir=str(fashion_mnist_dir),
        train_examples=0,
        test_examples=2000,
        batch_size=128,
        latent_dim=200,
        epochs=1,
        max_steps=150,
        kl_warmup_epochs=0.25,
        summary_steps=50,
    )
    result = train_and_evaluate(config)
    # The mean image scores 68.6 (measured); a collapsed model stays there.
    assert result.test_metrics["total_loss"] < 55
    assert result.test_metrics["kl_loss"] > 3
    assert not result.collapsed


def test_a_batch_that_cannot_be_split_names_those_that_can(small_config):
    with pytest.raises(ConfigError) as error:
        devices.connect(small_config(batch_size=10, virtual_devices=4))
    assert "use --batch_size=8 or 12" in str(error.value)
    assert "1, 2, 5, 10 replicas" in str(error.value)
