"""How fast jobs are beside Keras `fit` and PyTorch, in turns."""

import concurrent.futures
import contextlib
import importlib.util
import os
import threading

from benchmarks import contenders
from benchmarks.contenders import Contender, ContenderError
from benchmarks.gpu_proof import proof as proof_lib
from benchmarks.gpu_proof.proof import LeftOutError
from benchmarks.gpu_proof.speed import MODELS, PRECISIONS, data_of
from benchmarks.intervals import Estimate
from benchmarks.setup import Setup
from trainer.runtime import gpu_environment
from trainer.runtime.training_flags import parse_flags

_POLICIES = {"TF32": "float32", "bfloat16": "mixed_bfloat16"}
TRAINERS = {
    "trainer": (),
    "trainer, --nodeterministic": ("--nodeterministic",),
}
_FULL = "trainer, float32, as by default"
FIT_MODES = {"fit": False, "fit, XLA": True}
# The last one has CUDA graphs:
# https://docs.pytorch.org/docs/stable/generated/torch.compile.html
PYTORCH_MODES = {
    "PyTorch, eager": False,
    "PyTorch, compile": True,
    "PyTorch, CUDA graphs": "reduce-overhead",
}
_EXECUTIONS = 32
_WARM_UP_STEPS = 32
_LEAST_STEPS = 4


def beside(proof, name, precision, at_knee):
    """Yields the rows of jobs, `fit` and PyTorch that take turns."""
    proof.require_start()
    found, model = proof.known.get((name, precision), {}), MODELS[name]
    if "knee" not in found:
        raise LeftOutError("images/s by batch size was not measured")
    first = proof.sizes.first_batch or model.first_batch
    batch = found["knee"] if at_knee else first
    if not at_knee and found["knee"] == first:
        raise LeftOutError(f"the knee is batch {first}, measured above")
    yield from _missing(proof)
    with contextlib.ExitStack() as stack:
        everyone = []
        for one in _contenders(proof, name, precision, batch, found["facts"]):
            stack.callback(one.close)
            stack.callback(one.kill)  # Nothing of it is kept.
            everyone.append(one)
        # Who waits for a report of theirs would wait beyond the deadline.
        timer = threading.Timer(
            proof.seconds_left(), lambda: [one.kill() for one in everyone]
        )
        timer.daemon = True
        timer.start()
        stack.callback(timer.cancel)
        yield from _turns(proof, everyone, batch, found["speeds"][batch])


def _turns(proof, everyone, batch, speed):
    """Yields the rows of contenders, as soon as all have had their turns."""
    outcomes = _warm(everyone)
    ready = []
    for one in everyone:
        if isinstance(outcomes[one.name], Exception):
            proof.seconds_left()
            row = proof_lib.failed(
                f"{one.name}, batch {batch}", outcomes[one.name]
            )
            # That somebody else's program fails breaks no promise.
            if one.name not in (*TRAINERS, _FULL):
                row = proof_lib.left_out(row.name, f"it failed: {row.text}")
            yield row
        else:
            ready.append(one)
    if not ready:
        return
    count = max(_LEAST_STEPS, round(proof.sizes.turn_seconds * speed / batch))
    try:
        turns = contenders.rounds(
            ready, proof.sizes.rounds, {one.name: count for one in ready}
        )
    except ContenderError:
        proof.seconds_left()
        raise
    ours = turns.get("trainer")
    for one, of_one in turns.items():
        speeds = [turn.per_second * batch for turn in of_one]
        estimate = Estimate.of(speeds)
        figures = {"batch": batch, "images_per_second": speeds}
        text = f"{estimate.text('{:,.0f}')} images/s, whole jobs"
        if ours and one != "trainer":
            ratio = Estimate.of_ratios(
                [turn.per_second for turn in ours],
                [turn.per_second for turn in of_one],
            )
            text += f"; the trainer has {ratio.text()} times as many"
            figures["trainer_over_it"] = ratio.median
        yield proof_lib.measured(f"{one}, batch {batch}", text, **figures)


def _warm(everyone):
    """Lets contenders set up at a time, and compile one after the other.

    XLA and cuDNN measure which kernel is the fastest while they compile, and
    would be misled by others that compute.

    Returns:
        Dict by name of a `Measurement`, or of what went wrong.
    """
    with concurrent.futures.ThreadPoolExecutor(len(everyone) or 1) as pool:
        ready = {
            one.name: pool.submit(one.wait_until_ready) for one in everyone
        }
    outcomes = {}
    for one in everyone:
        try:
            ready[one.name].result()
            outcomes[one.name] = one.run(_WARM_UP_STEPS)
        except ContenderError as error:
            outcomes[one.name] = error
    return outcomes


def _contenders(proof, name, precision, batch, facts):
    """Yields the `Contender`s of a comparison, which begin to set up."""
    model = MODELS[name]
    data, count = data_of(proof, name)
    data = (*data, f"--batch_size={batch}")
    setup = Setup(
        console=proof.console, folder=proof.folder, threads=_threads()
    )
    trainers = {
        title: (*PRECISIONS[precision], *more)
        for title, more in TRAINERS.items()
    }
    if precision == "TF32" and proof.has_gpu:
        trainers[_FULL] = ()
    for title, more in trainers.items():
        if _wanted(proof, title):
            flags = ("--eval_epochs=0", "--image_epochs=0", *data, *more)
            yield setup.whole_job(
                title,
                *flags,
                environments=[_environment(proof, flags)],
                any_shape=True,
            )
    settings = {
        "flags": list(data),
        "conv": model.conv,
        "parameters": facts["parameters"],
    }
    # Else it takes all memory of the GPU:
    # https://www.tensorflow.org/guide/gpu#limiting_gpu_memory_growth
    grows = {**proof.environ, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    for title, jit_compile in FIT_MODES.items():
        if _wanted(proof, title):
            mode = {
                "policy": _POLICIES[precision],
                "jit_compile": jit_compile,
                "steps_per_execution": _EXECUTIONS,
            }
            yield Contender(
                title,
                "benchmarks.keras_fit",
                [{**settings, **mode}],
                setup.threads,
                [grows],
            )
    if _has_torch():
        for title, mode in PYTORCH_MODES.items():
            if _wanted(proof, title) and (
                proof.has_gpu or mode != "reduce-overhead"
            ):
                mode = {
                    "threads": setup.threads,
                    "channels_last": model.conv is not None,
                    "compile": mode,
                    "device": "cuda" if proof.has_gpu else "cpu",
                    "precision": precision,
                    "images": [count, *model.shape],
                }
                yield Contender(
                    title,
                    "benchmarks.pytorch",
                    [{**settings, **mode}],
                    setup.threads,
                    [proof.environ],
                )


def _missing(proof):
    """Yields the rows of contenders that are left out."""
    everyone = (*TRAINERS, *FIT_MODES)
    for name in everyone:
        if not _wanted(proof, name):
            yield proof_lib.left_out(name, f"--size={proof.size}")
    if not _has_torch():
        yield proof_lib.left_out(
            "PyTorch", "torch is not installed (pip install torch)"
        )
        return
    for name, mode in PYTORCH_MODES.items():
        if not _wanted(proof, name):
            yield proof_lib.left_out(name, f"--size={proof.size}")
        elif mode == "reduce-overhead" and not proof.has_gpu:
            yield proof_lib.left_out(name, "there is no GPU")


def _environment(proof, flags):
    """Returns the environment that the trainer makes for a job of its own."""
    environ = dict(proof.environ)
    gpu_environment.prepare(parse_flags(list(flags)), environ)
    return environ


def _wanted(proof, name):
    wanted = proof.sizes.contenders
    return wanted is None or name in wanted


def _has_torch():
    return importlib.util.find_spec("torch") is not None


def _threads():
    return len(os.sched_getaffinity(0))
