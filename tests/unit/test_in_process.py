"""A training in the process of somebody else: a script, a notebook."""

import dataclasses
import inspect
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as tf_config

import trainer
from tests.tools.pages import ROOT, python_of
from tests.tools.small_jobs import small_job
from tests.tools.soak import differences
from trainer.config import TrainConfig
from trainer.data.preparing import decoding
from trainer.data.preparing.settings import Settings
from trainer.errors import ConfigError, InterruptedJobError, TrainerError
from trainer.model import VAE, Option, Sampler, build_decoder, build_encoder
from trainer.runtime import interrupts
from trainer.runtime.training_flags import config_of, parse_flags
from trainer.tracking.recorder import Recorder

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What `small_job` has otherwise than the defaults.
SMALL = {
    name: value
    for name, value in small_job().to_json().items()
    if value != getattr(TrainConfig(), name)
}


@pytest.fixture
def handlers():
    """The signal handlers at the start of the test; all are put back.

    A program in the background of a shell ignores Ctrl-C, and what it starts
    does so too. Nobody in front of a notebook has that.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield handlers_now()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def not_deterministic():
    """TensorFlow as it is before any job; those of other tests leave it so."""
    before = tf_config.is_op_determinism_enabled()
    tf_config.disable_op_determinism()
    yield
    if before:
        tf_config.enable_op_determinism()


def handlers_now():
    return {number: signal.getsignal(number) for number in SIGNALS}


def test_settings_are_those_of_the_command(tmp_path):
    config = config_of(
        {
            "job_dir": tmp_path,
            "epochs": np.int64(3),
            "beta": 2,
            "learning_rate": np.float64(0.01),
            "deterministic": False,
            "model": "conv",
        }
    )
    words = f"--job_dir={tmp_path} --epochs=3 --beta=2 --learning_rate=0.01"
    expected = parse_flags(
        [*words.split(), "--nodeterministic", "--model=conv"]
    )
    assert json.dumps(config.to_json()) == json.dumps(expected.to_json())


@pytest.mark.parametrize(
    "given",
    [
        {"epoch": 3},
        {"epochs": 0},
        {"learning_rate": 0},
        {"beta": float("nan")},
        {"dataset": "imagenet"},
        {"dataset": "idx"},
        {"batch_size": 64, "train_examples": 32},
    ],
)
def test_what_the_command_refuses_is_refused_with_its_sentence(given):
    with pytest.raises(ConfigError) as command:
        parse_flags([f"--{name}={value}" for name, value in given.items()])
    with pytest.raises(ConfigError) as error:
        trainer.train(**given)
    assert str(error.value) == str(command.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"epochs": "3"}, "--epochs='3' is a str; expected int"),
        ({"epochs": 3.0}, "--epochs=3.0 is a float; expected int"),
        ({"epochs": True}, "--epochs=True is a bool; expected int"),
        ({"deterministic": 1}, "--deterministic=1 is a int; expected bool"),
        ({"beta": None}, "--beta=None is a NoneType; expected float"),
        ({"beta": 10**400}, "is not a finite number"),
        ({"dataset": 3}, "--dataset=3 is a int; expected str"),
        ({"flagfile": "a.flags"}, "--flagfile is for the command line"),
        ({"nodeterministic": True}, "--nodeterministic is for the command"),
        ({"print_config": True}, "Unknown command line flag 'print_config'"),
    ],
)
def test_values_that_only_python_can_give_are_refused(given, sentence, capsys):
    with pytest.raises(ConfigError, match=sentence):
        trainer.train(**given)
    assert capsys.readouterr() == ("", "")


def test_one_of_several_machines_is_refused(monkeypatch):
    hosts = {"worker": ["a:1", "b:1"]}
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv(
        "TF_CONFIG", json.dumps({"cluster": hosts, "task": task})
    )
    with pytest.raises(ConfigError, match="one of 2 machines"):
        trainer.train(job_dir="never-made")
    assert not pathlib.Path("never-made").exists()


def test_a_job_that_was_interrupted_goes_on_and_gives_its_result(
    tmp_path, finished_job, handlers, not_deterministic, monkeypatch
):
    flags = {**SMALL, "job_dir": tmp_path / "job"}
    write_row = Recorder.write_row

    def interrupted(recorder, moment):
        write_row(recorder, moment)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(TrainerError, match="training a job already"):
            trainer.train(**flags)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "write_row", interrupted)
        with pytest.raises(InterruptedJobError) as error:
            trainer.train(**flags)
    assert str(error.value) == (
        "Interrupted by SIGINT: everything is saved at step 5; call "
        "trainer.train again with the same arguments to go on."
    )
    assert handlers_now() == handlers
    result = trainer.train(**flags)
    assert differences(finished_job, tmp_path / "job") == []
    said = json.loads((tmp_path / "job" / "finished.json").read_text())
    assert dataclasses.asdict(result) == said
    assert trainer.train(**flags) == result
    # Deterministic as it was, TensorFlow draws what has no seed.
    assert tf.random.normal([1]).shape == [1]


def test_a_tensorflow_that_ran_before_with_other_threads_is_named(
    tmp_path, monkeypatch, capsys
):
    def too_late(count):
        raise RuntimeError("TensorFlow runs already.")

    threading_options = tf.config.threading
    name = "set_intra_op_parallelism_threads"
    monkeypatch.setattr(threading_options, name, too_late)
    with mock.patch("trainer.job.train_and_evaluate"):
        trainer.train(**{**SMALL, "job_dir": tmp_path / "job"})
        assert "the result is not that of vae-train" in capsys.readouterr().err
        # Such a batch is not cut, and leaves the threads as they are.
        trainer.train(**{**SMALL, "job_dir": tmp_path / "job", "batch_size": 9})
        assert capsys.readouterr().err == ""


def test_an_interrupt_that_comes_too_late_is_not_lost(
    tmp_path, finished_job, handlers
):
    with (
        mock.patch("trainer.job.train_and_evaluate") as job,
        pytest.raises(InterruptedJobError, match="Interrupted by SIGTERM: no"),
    ):
        job.side_effect = lambda *_, **__: signal.raise_signal(signal.SIGTERM)
        trainer.train(job_dir=tmp_path)
    assert handlers_now() == handlers


def test_the_first_signal_asks_and_a_later_one_does_what_it_did(
    handlers, monkeypatch
):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = handlers_now()
    with pytest.raises(KeyboardInterrupt), interrupts.noticed() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert not stop.requested
        for _ in range(3):  # At once, they are one.
            signal.raise_signal(signal.SIGINT)
        assert (stop.requested, stop.name) == (True, "SIGINT")
        monkeypatch.setattr(interrupts, "SAME_SECONDS", 0.0)
        signal.raise_signal(signal.SIGINT)
    assert handlers_now() == before


def test_a_thread_ends_with_the_main_thread(handlers):
    found = []

    def look():
        with interrupts.noticed() as stop:
            found.append((handlers_now() == handlers, stop.requested))
            with mock.patch("threading.main_thread") as main:
                main().is_alive.return_value = False
                found.append((stop.requested, stop.name))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [(True, False), (True, "the end of the main thread")]


def test_importing_it_loads_no_tensorflow():
    program = (
        "import sys, trainer; trainer.train, trainer.load, trainer.Result;"
        "print({'tensorflow', 'keras', 'numpy'} & {*sys.modules})"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=pathlib.Path(trainer.__file__).parents[1],
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert found.stdout == "set()\n"


def test_help_knows_all_flags():
    parameters = inspect.signature(trainer.train).parameters
    assert {
        name: parameter.default for name, parameter in parameters.items()
    } == TrainConfig().to_json()


def public_functions():
    """Yields (name, function) of all that a user may call."""
    yield from ((f.__name__, f) for f in (trainer.load, trainer.train))
    yield from ((f.__name__, f) for f in (build_encoder, build_decoder))
    for cls in (VAE, Sampler, Option):
        for owner in cls.__mro__:
            for name, member in vars(owner).items():
                function = getattr(member, "fget", None) or getattr(
                    member, "__func__", member
                )
                if (
                    owner.__module__.startswith("trainer")
                    and inspect.isfunction(function)
                    and (not name.startswith("_") or name == "__init__")
                ):
                    yield f"{cls.__name__}.{name}", function


def test_all_that_is_public_has_type_hints():
    names = dict(public_functions())
    assert {"VAE.sample", "VAE.fit", "VAE.metrics", "load"} <= set(names)
    for name, function in names.items():
        code = function.__code__
        arguments = code.co_varnames[
            : code.co_argcount + code.co_kwonlyargcount
        ]
        hinted = set(function.__annotations__)
        assert set(arguments) - {"self", "cls"} <= hinted, name
        assert "return" in hinted or name.endswith("__init__"), name
    assert (pathlib.Path(trainer.__file__).parent / "py.typed").exists()


def test_the_page_runs_from_its_first_line_to_its_last(
    tmp_path, not_deterministic, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = list(python_of(ROOT / "docs" / "python.md"))
    assert len(blocks) > 5
    for program, printed in blocks:
        capsys.readouterr()
        exec(compile(program, "docs/python.md", "exec"), names)
        # A job says more, before that.
        assert capsys.readouterr().out.endswith(printed), program
    assert names["vae"].encoder.input_shape == (None, 28, 28, 1)
    # The picture comes out as `vae-data prepare` makes it.
    settings = Settings(
        size=(28, 28), channels=1, fit="crop", background=(255, 255, 255),
        test_share=0, validation_share=0, on_bad="refuse", pixel_limit=10**6,
    )  # fmt: skip
    with decoding.own_limits():
        prepared = decoding.decode(
            (tmp_path / "picture.png").read_bytes(), settings
        )
    np.testing.assert_array_equal(names["image"][0], prepared)
