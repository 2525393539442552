"""The laws that have to hold on a GPU: equal bits, kills, other devices."""

import functools
import logging
import re

from benchmarks.gpu_proof import jobs, proof as proof_lib
from benchmarks.gpu_proof.proof import OutOfTimeError
from trainer.runtime.command import quiet_tensorflow

# Law 2 in float32: relative, over the first steps. docs/restarts.md says it,
# and tests/unit/test_job.py holds replicas on a CPU to the same.
BOUNDS = ((10, 1e-5), (30, 1e-3))
_NAMED = 4
_XLA = {False: "without XLA", True: "with XLA"}
_FIRST = "first"


def start(proof):
    """One job alone: what the machine is, and how long a start takes."""
    life = _live(proof, _FIRST, _jit(False))
    record = jobs.record_of(_folder(proof, _FIRST))
    proof.machine = describe(record)
    yield proof_lib.measured("machine", told(proof.machine), **proof.machine)
    if proof.has_gpu and not proof.machine["gpu"]:
        yield proof_lib.failed(
            "GPU",
            "There is an NVIDIA driver, but the job computed on the CPU: "
            "TensorFlow found no GPU. Install its libraries: pip install "
            '"vae-trainer[gpu]".',
        )
        return
    proof.has_started = True
    yield proof_lib.measured(
        "first step",
        f"{life.first_row_seconds:.1f} s from the command to the row of step "
        "1, with the caches of this machine as they were",
        seconds=life.first_row_seconds,
    )


def bits(proof):
    """Pairs of cold processes: are they equal, bit for bit?"""
    proof.require_start()
    for xla in (False, True):
        name = f"two cold processes, {_XLA[xla]}"
        if xla not in proof.sizes.xla:
            yield proof_lib.left_out(name, f"--size={proof.size}")
            continue
        pair = (f"cold-1-{xla}", f"cold-2-{xla}") if xla else (_FIRST, "second")
        outcomes = jobs.together(
            {
                one: functools.partial(_live, proof, one, _jit(xla))
                for one in pair
                if one != _FIRST
            }
        )
        _raise_first(outcomes)
        if not xla:
            (life,) = outcomes.values()
            yield proof_lib.measured(
                "first step, again",
                f"{life.first_row_seconds:.1f} s in a process after it",
                seconds=life.first_row_seconds,
            )
        yield _equal(name, *(_folder(proof, one) for one in pair))


def kills(proof):
    """One job, killed again and again, against the one that was not."""
    proof.require_start()
    sizes, folder = proof.sizes, _folder(proof, "killed")
    landed, most = [], 0
    for number in range(1, sizes.kills + 1):
        # Not before it has gone further than the one before.
        kill_at = max(sizes.steps * number // (sizes.kills + 1), most + 2)
        life = _live(proof, "killed", _jit(False), kill_at)
        if life.killed_at is None:
            break
        most = max(most, life.killed_at)
        landed.append(life.killed_at)
    else:
        _live(proof, "killed", _jit(False))
    if missing := sizes.kills - len(landed):
        yield proof_lib.left_out(
            f"{missing} of {sizes.kills} kills", "the job had ended before"
        )
    yield _equal(
        f"{len(landed)} kill{'s' * (len(landed) != 1)} (SIGKILL at rows "
        f"{_listed(landed)})",
        _folder(proof, _FIRST),
        folder,
    )


def law_2(proof):
    """The same job on other devices: do the losses agree?"""
    proof.require_start()
    few = (f"--max_steps={proof.sizes.law_2_steps}", *_jit(False))
    few += ("--eval_epochs=0", "--image_epochs=0")
    environ = proof.environ
    cases, without = {}, {}
    name = "GPU against CPU"
    if proof.machine.get("gpu"):
        cases[name] = (few, proof_lib.without_card(environ))
    else:
        without[name] = "there is no GPU"
    limit = (f"--gpu_memory_limit_gib={proof.sizes.memory_gib:g}",)
    for count in (2, 4):
        # As `trainer.distributed.devices` has them add up.
        how = "GPU, by TensorFlow's RING" if proof.has_gpu else "CPU"
        name = f"{count} logical devices of one {how}"
        flags = (*few, f"--virtual_devices={count}")
        if count not in proof.sizes.replicas:
            without[name] = f"--size={proof.size}"
        else:
            cases[name] = (flags + limit * proof.has_gpu, environ)
    name = "several cards, by NCCL"
    # A batch of 128 is divided by them.
    count = 1 << (len(proof.cards).bit_length() - 1) if proof.has_gpu else 0
    if count > 1 and proof.machine.get("gpu"):
        shown = ",".join(proof.cards[:count])
        cases[name] = (few, {**environ, "CUDA_VISIBLE_DEVICES": shown})
    else:
        without[name] = (
            f"NCCL needs two cards, and this machine has {len(proof.cards)}"
        )
    outcomes = jobs.together(
        {
            name: functools.partial(_live, proof, name, *flags_and_environ)
            for name, flags_and_environ in _as_calls(proof, cases).items()
        }
    )
    for name, outcome in outcomes.items():
        if isinstance(outcome, OutOfTimeError):
            yield proof_lib.left_out(name, "its time was over")
        elif isinstance(outcome, Exception):
            yield proof_lib.failed(name, outcome)
        else:
            yield agreement(
                name,
                *(
                    jobs.losses_of(_folder(proof, one))
                    for one in (_FIRST, name)
                ),
            )
    for name, why in without.items():
        yield proof_lib.left_out(name, why)


def agreement(name, ours, theirs):
    """Returns the row that says how far two jobs' losses differ.

    Args:
        name: str.
        ours: dict of the losses by step.
        theirs: the same of the other job.
    """
    last = BOUNDS[-1][0]
    if missing := set(range(1, last + 1)) - (ours.keys() & theirs.keys()):
        return proof_lib.failed(
            name, f"Step {min(missing)} has no row in both of the jobs."
        )
    relative = {
        step: abs(ours[step] - theirs[step]) / abs(ours[step])
        for step in range(1, last + 1)
    }
    # NaN is within no bound.
    worst = {
        steps: max(list(relative.values())[:steps], key=lambda x: (x != x, x))
        for steps, _ in BOUNDS
    }
    text = ", ".join(
        f"{worst[steps]:.1e} over the first {steps} steps (at most {bound:g})"
        for steps, bound in BOUNDS
    )
    return proof_lib.judged(
        name,
        not all(worst[steps] < bound for steps, bound in BOUNDS),
        f"losses differ by {text}",
        relative={str(steps): value for steps, value in worst.items()},
    )


def describe(record):
    """Returns what a job's record says of the machine, a dict."""
    session = record["sessions"][-1]
    return {
        "devices": session["devices"],
        "host": session["host"],
        "versions": session["versions"],
        "gpu": session.get("gpu"),
    }


def told(machine):
    """Returns the line that says on what all of this was found."""
    tensorflow = f"TensorFlow {machine['versions']['tensorflow']}"
    gpu = machine["gpu"]
    if not gpu:
        return f"CPU, no GPU: {machine['devices']}, {tensorflow}"
    return (
        f"{gpu['model']} (compute capability {gpu['compute_capability']}), "
        f"driver {gpu['driver']}, {tensorflow}, CUDA {gpu['cuda']}, cuDNN "
        f"{gpu['cudnn']}, cuBLAS {gpu['cublas']}, NCCL {gpu['nccl']}"
    )


def _equal(name, one, other):
    """Returns the row that says whether two finished jobs are equal."""
    with quiet_tensorflow():
        # TensorBoard's reader loads TensorFlow.
        from tests.tools.soak import differences
    # It warns of each restart that it finds in the events.
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    found = differences(one, other)
    text = f"{len(found)} differences in weights, rows, curves and pictures"
    if found:
        text += f": {_listed(found[:_NAMED])}"
    return proof_lib.judged(name, bool(found), text, differences=found)


def _as_calls(proof, cases):
    """Returns the arguments of `_live` after the name, by name."""
    # What comes after the last of the steps is not looked at.
    last = proof.sizes.law_2_steps
    return {
        name: (flags, last, environ) for name, (flags, environ) in cases.items()
    }


def _live(proof, name, flags, kill_at=None, environ=None):
    proof.seconds_left()
    return jobs.live(
        _folder(proof, name),
        (*proof.sizes.job, *flags),
        environ or proof.environ,
        proof.deadline,
        kill_at,
    )


def _folder(proof, name):
    return proof.folder / re.sub(r"\W+", "-", name)


def _jit(xla):
    return (f"--jit_compile={str(xla).lower()}",)


def _raise_first(outcomes):
    for outcome in outcomes.values():
        if isinstance(outcome, Exception):
            raise outcome


def _listed(values):
    return ", ".join(map(str, values)) or "none"
