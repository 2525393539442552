"""The proof on a GPU: how it judges, ends in time, and that it runs."""

import json
import math
import os
import time

import pytest

from benchmarks import scaling
from benchmarks.contenders import ContenderError, Measurement
from benchmarks.gpu_proof import (
    __main__ as command,
    beside,
    jobs,
    laws,
    proof as proof_lib,
    speed,
    sweep,
)
from benchmarks.gpu_proof.sizes import SIZES
from trainer.runtime import gpu_environment

EQUAL = {step: 50.0 / step for step in range(1, 41)}
GPU = {
    "model": "NVIDIA H200",
    "compute_capability": "9.0",
    "driver": "570.86.10",
    "cuda": "12.9.79",
    "cudnn": "9.10.2.21",
    "cublas": "12.9.1.4",
    "nccl": "2.27.7",
}
MACHINE = {
    "devices": "1 GPU replica",
    "versions": {"tensorflow": "2.21.0"},
    "gpu": GPU,
}


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def new_proof(tmp_path, console):
    """Makes a `Proof` whose first job has ended as it should."""

    def make(cards=(), size="gpu", **settings):
        settings = {
            "sizes": SIZES[size],
            "size": size,
            "folder": tmp_path,
            "path": tmp_path / "proof.json",
            "budget_s": 100.0,
            "environ": {"CUDA_VISIBLE_DEVICES": cards[0]} if cards else {},
            "cards": cards,
            "console": console,
            "clock": Clock(),
            "has_started": True,
            **settings,
        }
        proof = proof_lib.Proof(**settings)
        proof.machine = MACHINE if cards else {**MACHINE, "gpu": None}
        return proof

    return make


def of(proof, part):
    """Returns what a part says: state by name, and text by name."""
    rows = list(part(proof))
    return (
        {row.name: row.state for row in rows},
        {row.name: row.text for row in rows},
    )


# The table.


def test_a_part_that_does_not_fit_is_left_out_and_said(new_proof, capsys):
    proof = new_proof()
    seen = []

    def takes(seconds):
        def part(proof):
            seen.append(proof.deadline - proof.clock.now)
            proof.clock.now += seconds
            yield proof_lib.measured("figure", "12", value=12)
            proof.seconds_left()
            yield proof_lib.measured("later", "13")

        return part

    proof.run([("a", 10, takes(10)), ("b", 30, takes(70)), ("c", 60, takes(9))])
    proof.run([("d", 1, takes(50))])
    # Twice its share of what is left, and never beyond the budget.
    assert seen == [20, 60, 20, 11]
    rows = [(row.part, row.name, row.state) for row in proof.rows]
    assert rows == [
        ("a", "figure", "measured"),
        ("a", "later", "measured"),
        ("b", "figure", "measured"),
        ("b", "the rest", "left out"),
        ("c", "figure", "measured"),
        ("c", "later", "measured"),
        ("d", "figure", "measured"),
        ("d", "the rest", "left out"),
    ]
    proof.run([("e", 1, takes(1))])
    out = capsys.readouterr().out
    assert "its time was over after 70 s" in out
    assert "left out  e" in out
    assert "the budget of 100 s was used up" in out
    assert proof.exit_code == 1  # No law was looked at.
    assert "3 left out" in proof.summary()
    kept = json.loads(proof.path.read_text())
    assert kept["rows"][0]["figures"] == {"value": 12}
    assert len(kept["rows"]) == 9


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (proof_lib.judged("law", False, ""), 0),
        (proof_lib.judged("law", True, ""), 1),
        (proof_lib.failed("part", "why"), 1),
        (proof_lib.left_out("part", "why"), 0),
        (proof_lib.measured("figure", "12"), 0),
    ],
)
def test_the_exit_code_is_that_of_a_broken_law(new_proof, row, code):
    proof = new_proof()
    proof.add(row)
    if row.state != "holds":
        assert proof.exit_code == 1  # Nothing is proven yet.
        proof.add(proof_lib.judged("another law", False, ""))
    assert proof.exit_code == code
    assert json.loads(proof.path.read_text())["exit_code"] == code


def test_what_was_measured_before_a_part_broke_off_is_kept(new_proof):
    proof = new_proof()

    def breaks(proof):
        yield proof_lib.measured("figure", "12")
        assert json.loads(proof.path.read_text())["rows"]
        raise RuntimeError("first line\nmiddle\nlast line")

    proof.run([("a", 1, breaks), ("b", 1, lambda proof: [])])
    assert [row.state for row in proof.rows] == ["measured", "failed"]
    assert "first line" in proof.rows[1].text
    assert "last line" in proof.rows[1].text
    assert proof.exit_code == 1


def test_nothing_is_looked_at_without_the_first_job(new_proof):
    proof = new_proof(has_started=False)
    parts = [
        *command.PARTS[1:],
        *command._speed(proof.sizes),
    ]
    proof.run(parts)
    assert {row.state for row in proof.rows} == {"left out"}
    assert len(proof.rows) == len(parts) == 15
    assert "the first job did not end" in proof.rows[0].text


def test_the_machine_is_named_as_the_job_recorded_it():
    told = laws.told(MACHINE)
    for value in ("NVIDIA H200", "570.86.10", "12.9.79", "9.10.2.21", "2.21.0"):
        assert value in told
    assert laws.told({**MACHINE, "gpu": None}).startswith("CPU, no GPU: ")


def test_of_several_cards_the_first_is_used():
    assert proof_lib.cards_of(4, {}) == ("0", "1", "2", "3")
    assert proof_lib.cards_of(0, {}) == ("0",)
    assert proof_lib.cards_of(4, {"CUDA_VISIBLE_DEVICES": "2, 3"}) == ("2", "3")


# The laws.


def test_law_2_is_held_to_its_bounds():
    def row(step, factor):
        return laws.agreement("x", EQUAL, {**EQUAL, step: EQUAL[step] * factor})

    assert row(1, 1.0).state == "holds"
    assert row(10, 1 + 0.9e-5).state == "holds"
    assert row(10, 1 + 1.1e-5).state == "BROKEN"
    assert row(11, 1 - 0.9e-3).state == "holds"
    assert row(30, 1 - 1.1e-3).state == "BROKEN"
    assert row(31, 2.0).state == "holds"
    assert row(5, math.nan).state == "BROKEN"
    found = row(20, 1 + 5e-4)
    assert found.figures["relative"]["30"] == pytest.approx(5e-4)
    assert "5.0e-04 over the first 30 steps (at most 0.001)" in found.text
    short = {step: loss for step, loss in EQUAL.items() if step < 30}
    assert laws.agreement("x", EQUAL, short).state == "failed"


def pretend(monkeypatch, outcome=None):
    """Puts a function in the place of jobs; returns what was started."""
    started = {}

    def live(job_dir, flags, environ, deadline, kill_at=None):
        started[job_dir.name] = flags, environ
        if outcome:
            return outcome(job_dir, kill_at)
        return jobs.Life(None, 1.0)

    monkeypatch.setattr(jobs, "live", live)
    monkeypatch.setattr(jobs, "losses_of", lambda folder: EQUAL)
    return started


def test_law_2_on_one_card(new_proof, monkeypatch):
    started = pretend(monkeypatch)
    states, texts = of(new_proof(("3",)), laws.law_2)
    assert states == {
        "GPU against CPU": "holds",
        "2 logical devices of one GPU, by TensorFlow's RING": "holds",
        "4 logical devices of one GPU, by TensorFlow's RING": "holds",
        "several cards, by NCCL": "left out",
    }
    assert "NCCL needs two cards" in texts["several cards, by NCCL"]
    flags, environ = started["GPU-against-CPU"]
    assert environ["CUDA_VISIBLE_DEVICES"] == "-1"
    assert {"--jit_compile=false", "--max_steps=40"} < {*flags}
    flags, environ = started[
        "4-logical-devices-of-one-GPU-by-TensorFlow-s-RING"
    ]
    assert environ["CUDA_VISIBLE_DEVICES"] == "3"
    # One GPU is split only with a limit of its memory.
    assert {"--virtual_devices=4", "--gpu_memory_limit_gib=8"} < {*flags}


def test_law_2_on_several_cards_and_on_none(new_proof, monkeypatch):
    started = pretend(monkeypatch)
    states, _ = of(new_proof(("0", "1", "2")), laws.law_2)
    assert states["several cards, by NCCL"] == "holds"
    _, environ = started["several-cards-by-NCCL"]
    assert environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    states, texts = of(new_proof(), laws.law_2)
    assert states["GPU against CPU"] == "left out"
    assert texts["GPU against CPU"] == "there is no GPU"
    assert states["2 logical devices of one CPU"] == "holds"


def test_one_job_that_fails_does_not_hide_the_others(new_proof, monkeypatch):
    def outcome(job_dir, kill_at):
        if job_dir.name.startswith("2"):
            raise jobs.JobFailedError("exit code 1")
        if job_dir.name.startswith("4"):
            raise proof_lib.OutOfTimeError
        return jobs.Life(None, 1.0)

    pretend(monkeypatch, outcome)
    states, _ = of(new_proof(("0",)), laws.law_2)
    assert sorted(states.values()) == [
        "failed",
        "holds",
        "left out",
        "left out",
    ]


def test_each_kill_comes_later_than_the_one_before(new_proof, monkeypatch):
    asked = []

    def outcome(job_dir, kill_at):
        asked.append(kill_at)
        # The second one comes late.
        return jobs.Life(kill_at and kill_at + 60 * (len(asked) == 2), 1.0)

    pretend(monkeypatch, outcome)
    monkeypatch.setattr(
        laws, "_equal", lambda name, *_: proof_lib.judged(name, False, "")
    )
    states, _ = of(new_proof(), laws.kills)
    assert asked == [33, 66, 128, 133, 166, None]
    assert states == {
        "5 kills (SIGKILL at rows 33, 126, 128, 133, 166)": "holds"
    }


def test_kills_that_came_too_late_are_said(new_proof, monkeypatch):
    pretend(
        monkeypatch,
        lambda job_dir, kill_at: jobs.Life(
            kill_at if kill_at < 99 else None, 1
        ),
    )
    monkeypatch.setattr(
        laws, "_equal", lambda name, *_: proof_lib.judged(name, True, "")
    )
    states, _ = of(new_proof(), laws.kills)
    assert states == {
        "3 of 5 kills": "left out",
        "2 kills (SIGKILL at rows 33, 66)": "BROKEN",
    }


def test_a_driver_whose_gpu_tensorflow_does_not_find_is_a_failure(
    new_proof, monkeypatch
):
    pretend(monkeypatch)
    session = {"host": "vm", **MACHINE, "devices": "1 CPU replica", "gpu": None}
    monkeypatch.setattr(
        jobs, "record_of", lambda folder: {"sessions": [session]}
    )
    proof = new_proof(("0",), has_started=False)
    states, texts = of(proof, laws.start)
    assert states == {"machine": "measured", "GPU": "failed"}
    assert 'pip install "vae-trainer[gpu]"' in texts["GPU"]
    assert not proof.has_started


# Jobs.


@pytest.fixture
def live(tmp_path, monkeypatch):
    """Runs a shell script in the place of a job, in a folder of its own."""

    def live(script, seconds=60, kill_at=None):
        job = tmp_path / "job"
        job.mkdir(exist_ok=True)
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\ncd {job}\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(jobs.sys, "executable", str(program))
        end = time.monotonic() + seconds
        return jobs.live(job, ("--epochs=1",), dict(os.environ), end, kill_at)

    return live


ROWS = "for row in 1 2 3; do echo {} >> metrics.jsonl; done"


def test_a_job_is_killed_at_a_row_or_ends(live):
    killed = live(f"{ROWS}; exec sleep 600", kill_at=3)
    assert killed.killed_at == 3
    assert killed.first_row_seconds > 0
    # Three rows are there already, and a kill at six comes too late.
    assert live(f"{ROWS}; sleep 0.2; exit 0").killed_at is None
    assert live("exit 0", kill_at=7) == jobs.Life(None, None)


def test_a_job_that_fails_or_takes_too_long_is_an_error(live):
    with pytest.raises(jobs.JobFailedError, match=r"code 3.\nno GPU"):
        live("echo no GPU >&2; exit 3")
    with pytest.raises(proof_lib.OutOfTimeError):
        live("exec sleep 600", seconds=0.05)


def test_what_runs_side_by_side_tells_each_outcome():
    error = ValueError("x")

    def breaks():
        raise error

    assert jobs.together({"a": lambda: 1, "b": breaks}) == {"a": 1, "b": error}
    assert jobs.together({}) == {}


# Speed.


@pytest.mark.parametrize(
    ("speeds", "most", "batches", "last", "knee"),
    [
        ({8: 100, 16: 180, 32: 185}, 999, [8, 16, 32], "less than 5%", 16),
        ({8: 100, 16: 180, 32: None}, 999, [8, 16, 32], "not fit", 16),
        ({8: 100, 16: 180}, 31, [8, 16], "no larger batch", 16),
        ({8: 100, 16: 90}, 999, [8, 16], "less than 5%", 8),
        ({8: None}, 999, [8], "not fit", None),
    ],
)
def test_the_batch_is_doubled_up_to_the_knee(speeds, most, batches, last, knee):
    found = list(sweep.climb(speeds.get, 8, most))
    assert [batch for batch, _, _ in found] == batches
    assert [why for _, _, why in found[:-1]] == [""] * (len(found) - 1)
    assert last in found[-1][2]
    measured = {batch: s for batch, s, _ in found if s is not None}
    assert sweep.knee(measured) == knee


def reports(speeds):
    yield {"parameters": 9, "step_flops": 1e6, "product_flops": 1e12}
    for batch, (value, last) in speeds.items():
        yield {
            "batch": batch,
            "images_per_second": value,
            "last": last,
            **({"first_seconds": 3.0, "peak_bytes": 5 << 20} if value else {}),
        }


def test_each_batch_says_its_share_of_the_card(new_proof, monkeypatch):
    monkeypatch.setattr(
        speed,
        "_reports",
        lambda proof, settings: reports({8: (1e5, ""), 16: (None, "too much")}),
    )
    proof = new_proof(("0",))
    _, texts = of(
        proof, lambda proof: speed.by_batch(proof, "notebook", "TF32")
    )
    assert texts["batch 8"] == (
        "100,000 images/s, steps alone, 10.0% of the matrix product, peak of 5 "
        "MiB on the GPU, first call 3.0 s"
    )
    assert texts["batch 16"] == "too much"
    assert texts["knee"] == "batch 8: 100,000 images/s"
    assert texts["matrix product"].startswith("1.00 TFLOP/s")
    assert proof.known["notebook", "TF32"]["knee"] == 8


class Rival:
    """A contender that takes no process."""

    def __init__(self, name, per_second, error=None):
        self.name, self._rate, self._error = name, per_second, error
        self.did = []

    def wait_until_ready(self):
        if self._error:
            raise self._error

    def run(self, steps):
        self.did.append("run")
        return Measurement(steps, steps / self._rate, 0.0, {})

    def kill(self):
        self.did.append("kill")

    def close(self):
        self.did.append("close")


def compared(proof, monkeypatch, *rivals, torch=False):
    monkeypatch.setattr(beside, "_contenders", lambda *args: iter(rivals))
    monkeypatch.setattr(beside, "_has_torch", lambda: torch)
    proof.known["notebook", "TF32"] = {
        "facts": {},
        "knee": 256,
        "speeds": {128: 1e3, 256: 2e3},
    }
    return of(proof, lambda p: beside.beside(p, "notebook", "TF32", True))


def test_contenders_take_turns_at_the_knee(new_proof, monkeypatch):
    ours, fit = Rival("trainer", 30.0), Rival("fit", 20.0)
    broken = Rival("fit, XLA", 1.0, ContenderError("it ended:\nno kernel"))
    states, texts = compared(new_proof(), monkeypatch, ours, fit, broken)
    assert states == {
        "PyTorch": "left out",
        "fit, XLA, batch 256": "left out",
        "trainer, batch 256": "measured",
        "fit, batch 256": "measured",
    }
    assert texts["PyTorch"] == "torch is not installed (pip install torch)"
    assert texts["fit, XLA, batch 256"] == "it failed: it ended: / no kernel"
    assert texts["fit, batch 256"].startswith("5,120 (5,120 to 5,120) images/s")
    assert (
        "the trainer has 1.50 (1.50 to 1.50) times as many"
        in (texts["fit, batch 256"])
    )
    for one in (ours, fit, broken):
        assert one.did[-2:] == ["kill", "close"]
    # CUDA graphs need a GPU.
    _, texts = compared(new_proof(), monkeypatch, torch=True)
    assert texts == {"PyTorch, CUDA graphs": "there is no GPU"}


def test_contenders_are_ended_at_the_deadline(new_proof, monkeypatch):
    proof = new_proof(clock=time.monotonic, budget_s=0.2)

    class Stuck(Rival):
        def run(self, steps):
            while "kill" not in self.did:
                time.sleep(0.01)
            raise ContenderError("it was killed")

    monkeypatch.setattr(
        beside, "_contenders", lambda *args: iter([Stuck("trainer", 1.0)])
    )
    proof.known["notebook", "TF32"] = {
        "facts": {},
        "knee": 8,
        "speeds": {8: 1e3},
    }
    parts = command._speed(proof.sizes)
    (part,) = [one for one in parts if one[0] == "knee: notebook, TF32"][:1]
    proof.run([part])
    assert proof.rows[-1].state == "left out"
    assert "its time was over" in proof.rows[-1].text


def test_a_trainer_that_fails_is_a_failure(new_proof, monkeypatch):
    broken = Rival("trainer", 1.0, ContenderError("no memory"))
    states, _ = compared(new_proof(), monkeypatch, broken)
    assert states["trainer, batch 256"] == "failed"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("exit 0", None),
        ("echo no GPU >&2; exit 3", "code 3:\nno GPU"),
        ("exec sleep 600", "time"),
    ],
)
def test_what_a_sweep_said_before_its_end_is_kept(
    new_proof, monkeypatch, tmp_path, script, error
):
    program = tmp_path / "program"
    line = '{"batch": 8}'
    program.write_text(f"#!/bin/sh\necho '{line}'\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(speed.sys, "executable", str(program))
    seconds = 0.2 if error == "time" else 60
    proof = new_proof(
        clock=time.monotonic, budget_s=seconds, environ=dict(os.environ)
    )
    said = speed._reports(proof, {})
    assert next(said) == {"batch": 8}
    if error == "time":
        with pytest.raises(proof_lib.OutOfTimeError):
            next(said)
    elif error:
        with pytest.raises(ContenderError, match=error):
            next(said)
    else:
        assert list(said) == []


def test_the_first_batch_is_not_measured_twice(new_proof):
    proof = new_proof()
    proof.known["conv", "TF32"] = {"knee": 32, "facts": {}, "speeds": {}}
    with pytest.raises(proof_lib.LeftOutError, match="measured above"):
        list(beside.beside(proof, "conv", "TF32", at_knee=False))
    with pytest.raises(proof_lib.LeftOutError, match="was not measured"):
        list(beside.beside(proof, "conv", "bfloat16", at_knee=False))


def test_a_contender_on_a_gpu_leaves_memory_to_the_others(
    new_proof, monkeypatch
):
    made = []

    class Made:
        def __init__(self, name, module, settings, threads, environments):
            made.append((name, module, settings, environments))

    monkeypatch.setattr(beside, "Contender", Made)
    monkeypatch.setattr("benchmarks.setup.Contender", Made)
    monkeypatch.setattr(beside, "_has_torch", lambda: True)
    monkeypatch.setattr(gpu_environment, "has_gpu", lambda *args: True)
    proof = new_proof(("1",))
    list(
        beside._contenders(
            proof, "notebook", "bfloat16", 512, {"parameters": 9}
        )
    )
    assert [name for name, *_ in made] == [
        *beside.TRAINERS,
        *beside.FIT_MODES,
        *beside.PYTORCH_MODES,
    ]
    for name, module, settings, (environ,) in made:
        assert environ["CUDA_VISIBLE_DEVICES"] == "1"
        assert "--batch_size=512" in settings[0]["flags"]
        if module == "benchmarks.keras_fit":
            assert environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
            assert settings[0]["policy"] == "mixed_bfloat16"
        # As the command sets them before TensorFlow loads.
        if name == "trainer":
            assert "--xla_gpu_autotune_level=0" in environ["XLA_FLAGS"]
            assert "--mixed_precision=bfloat16" in settings[0]["flags"]
        if "nodeterministic" in name:
            assert "XLA_FLAGS" not in environ
    assert made[-1][2][0]["device"] == "cuda"
    assert made[-1][2][0]["images"] == [60_000, 28, 28, 1]


def test_wrong_flags_are_refused(tmp_path, capsys):
    for flag, message in (
        ("--budget_s=0", "--budget_s=0 is not above 0"),
        (f"--json={tmp_path}", "is a folder; give a file"),
        ("--size=huge", "invalid choice"),
    ):
        with pytest.raises(SystemExit) as end:
            command.main([flag])
        assert end.value.code == 2
        assert message in capsys.readouterr().err


# What others read in the file.


def proof_file(path, machine, batches):
    rows = [
        {
            "part": "speed: notebook, TF32",
            "name": f"batch {batch}",
            "figures": {
                "batch": batch,
                "images_per_second": value,
                "step_flops": 4e7,
                "product_flops": 4e14,
            },
        }
        for batch, value in batches.items()
    ]
    path.write_text(json.dumps({"machine": machine, "rows": rows}))
    return path


def test_scaling_takes_its_constants_from_a_proof(tmp_path, capsys):
    # 1 ms, and 1 ms more for each 1,000 images: a tenth of 4e14.
    speeds = {b: b / (1e-3 + b * 1e-6) for b in (128, 1024, 4096)}
    path = proof_file(tmp_path / "p", MACHINE, {**speeds, 8192: None})
    constants = scaling.Constants.of_file(path)
    assert constants.overhead_seconds == pytest.approx(1e-3)
    assert constants.utilisation == pytest.approx(0.1)
    scaling.main([f"--constants={path}"])
    out = capsys.readouterr().out
    assert out.startswith("Measured on NVIDIA H200 (")
    assert "links are assumed" in out
    assert "| 1 | 4,096 | " in out


@pytest.mark.parametrize(
    ("machine", "batches", "message"),
    [
        ({**MACHINE, "gpu": None}, {8: 1.0, 16: 2.0}, "measured on a CPU"),
        (MACHINE, {8: 1.0}, "has 1 batch sizes"),
        (MACHINE, {8: 1.0, 16: 2.0}, "took no longer"),
        ([], {}, "is not what make gpu-proof writes"),
    ],
)
def test_scaling_refuses_a_file_that_does_not_tell(
    tmp_path, capsys, machine, batches, message
):
    path = proof_file(tmp_path / "p", machine, batches)
    with pytest.raises(SystemExit):
        scaling.main([f"--constants={path}"])
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_runs_on_a_cpu(tmp_path):
    path = tmp_path / "proof.json"
    assert command.main(["--budget_s=36000", f"--json={path}"]) == 0
    found = json.loads(path.read_text())
    assert found["machine"]["gpu"] is None
    states = {
        (row["part"], row["name"].split(" (")[0]): row["state"]
        for row in found["rows"]
    }
    assert states["equal bits", "two cold processes, without XLA"] == "holds"
    assert states["kills", "1 kill"] == "holds"
    assert states["law 2", "2 logical devices of one CPU"] == "holds"
    assert states["law 2", "GPU against CPU"] == "left out"
    assert states["speed: notebook, TF32", "batch 8"] == "measured"
    assert states["knee: notebook, TF32", "trainer, batch 8"] == "measured"
    assert states["knee: notebook, TF32", "fit"] == "left out"
    assert not {"failed", "BROKEN"} & {*states.values()}
