"""A search: what it runs, what it says, and that no kill changes either."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

from tests.tools import pretend_search
from tests.tools.commands import run_command
from tests.tools.deadline import wait_until
from tests.tools.project import ROOT
from trainer.job_dir import lock
from trainer.search import process
from trainer.search.study import FILE

SEARCHED = (
    "--search=learning_rate=1e-4..1e-2:log",
    "--search=latent_dim=2,20,200",
)
# Trials are judged from the first epoch on.
FIXED = ("--dataset=synthetic", "--epochs=3", "--kl_warmup_epochs=0")
PATH = {
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
}


@pytest.fixture
def tune(monkeypatch, tmp_path):
    """Runs `vae-tune` here, with trials that pretend to train."""
    monkeypatch.setattr(process, "TRAINING", pretend_search.TRAINING)
    monkeypatch.setattr(process, "_POLL_SECONDS", 0.02)

    def tune(*words, trials=2, searched=SEARCHED, fixed=FIXED, **variables):
        return run_command(
            "vae-tune",
            f"--study_dir={tmp_path / 'search'}",
            f"--trials={trials}",
            *searched,
            *words,
            "--",
            *fixed,
            **PATH,
            **variables,
        )

    return tune


@pytest.fixture
def study_dir(tmp_path):
    return tmp_path / "search"


def trial_dir(study_dir, number):
    return study_dir / "trials" / f"{number:04d}"


def recorded(study_dir):
    return json.loads((study_dir / FILE).read_text())["trials"]


def sessions(study_dir, number):
    record = trial_dir(study_dir, number) / "config.json"
    return len(json.loads(record.read_text())["sessions"])


def without_progress(out):
    """Returns the lines but those that a slow machine has time for."""
    return [line for line in out.splitlines() if line[:8] != "Search: "]


def test_a_search_says_each_trial_and_ends_with_the_best(tune, study_dir):
    code, out, err = tune(trials=3)
    assert (code, err) == (0, "")
    lines = without_progress(out)
    *trials, gap, head, first, second, third = lines[:8]
    assert [line.partition(":")[0] for line in trials] == [
        "Trial 1 of 3",
        "Trial 2 of 3",
        "Trial 3 of 3",
    ]
    assert gap == ""
    assert head.split() == [
        *("trial", "latent_dim", "learning_rate", "best", "test", "loss"),
        *("epoch", "time", "state"),
    ]
    rows = [line.split() for line in (first, second, third)]
    losses = [float(row[3]) for row in rows]
    assert losses == sorted(losses)
    assert {row[-1] for row in rows} == {"finished"}
    assert "The choice was made on the test set" in out
    (command,) = (line for line in lines if line.startswith("vae-train "))
    # That command is a training with just the values of the best trial.
    best = recorded(study_dir)[int(rows[0][0]) - 1]["parameters"]
    words = shlex.split(command)
    config = run_command(*words, "--print_config").out.splitlines()
    assert f"--latent_dim={best['latent_dim']}" in config
    assert f"--learning_rate={best['learning_rate']}" in config
    assert "--kl_warmup_epochs=0.0" in config
    # The same command again runs nothing, and more trials may be asked for.
    assert without_progress(tune(trials=3).out)[1:] == lines[3:]
    assert tune(trials=4).exit_code == 0
    assert [sessions(study_dir, n) for n in (1, 2, 3, 4)] == [1, 1, 1, 1]


def test_a_validation_set_is_what_the_choice_is_made_on(tune):
    code, out, _ = tune(fixed=(*FIXED, "--validation_share=0.1"))
    assert code == 0
    assert "best validation loss" in out
    assert "test loss" not in out
    assert "test set" not in out


def test_all_combinations_end_a_search(tune, study_dir):
    code, out, _ = tune(searched=["--search=latent_dim=2,20"], trials=9)
    assert code == 0
    assert "All 2 combinations have been tried." in out
    assert len(recorded(study_dir)) == 2


def start(study_dir, trials, hold=""):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.tools.pretend_search"),
            *(f"--study_dir={study_dir}", f"--trials={trials}"),
            *(*SEARCHED, "--", *FIXED),
        ],
        cwd=ROOT,
        env=os.environ | PATH | {"HOLD": hold},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_in(trial, study_dir, number, hold):
    """Starts a search, and ends it while a trial of it runs."""
    running = start(study_dir, 6, f"{trial}:{hold}")
    rows = trial_dir(study_dir, trial) / "metrics.jsonl"
    wait_until(lambda: rows.exists() or running.poll() is not None)
    running.send_signal(number)
    _, err = running.communicate(timeout=100)
    return running.returncode, err


def test_a_killed_search_is_the_one_that_nobody_touched(tune, tmp_path):
    killed, hold = tmp_path / "killed", tmp_path / "hold"
    hold.touch()
    code, err = kill_in(2, killed, signal.SIGTERM, hold)
    assert code == 75
    assert err.startswith("Interrupted by SIGTERM: ")
    # The trial has saved its state, and is not over.
    assert not (trial_dir(killed, 2) / "finished.json").exists()
    code, _ = kill_in(3, killed, signal.SIGKILL, hold)
    assert code == -signal.SIGKILL
    last = start(killed, 6)
    assert "Trial 3 still runs" in last.stderr.readline()
    hold.unlink()
    last.communicate(timeout=100)
    assert last.returncode == 0
    # The one that was left behind was not started once more.
    assert [sessions(killed, n) for n in (1, 2, 3, 4, 5)] == [1, 2, 1, 1, 1]

    assert tune(trials=6).exit_code == 0
    untouched = tmp_path / "search"
    assert recorded(killed) == recorded(untouched)
    for number in range(1, 6):
        rows = [
            (trial_dir(each, number) / "metrics.jsonl").read_text()
            for each in (killed, untouched)
        ]
        assert rows[0] == rows[1]


def test_a_worse_trial_is_stopped_and_stays_so(tune, study_dir):
    code, out, _ = tune(trials=7, EPOCH_SECONDS="6:0.4 7:0.4")
    assert code == 0
    pruned = [
        number
        for number in range(1, 8)
        if (trial_dir(study_dir, number) / "pruned.json").exists()
    ]
    # Five are complete before any is judged.
    assert pruned
    assert min(pruned) > 5
    for number in pruned:
        folder = trial_dir(study_dir, number)
        assert not (folder / "finished.json").exists()
        assert f"Trial {number} of 7" in out
    assert out.count("; pruned") == len(pruned)
    _, compared, _ = run_command("vae-compare", f"{study_dir}/trials/*")
    lines = compared.split("\n\n")[0].splitlines()[1:]
    states = {line.split()[0][-4:]: line.split()[1] for line in lines}
    assert {n for n, state in states.items() if state == "pruned"} == {
        f"{number:04d}" for number in pruned
    }
    assert len(states) == 7
    again = tune(trials=7)
    assert again.exit_code == 0
    assert all(sessions(study_dir, n) == 1 for n in range(1, 8))


def test_without_pruning_each_trial_ends(tune, study_dir):
    code, out, _ = tune("--no_pruning", trials=7, EPOCH_SECONDS="7:0.4")
    assert code == 0
    assert out.count("; finished\n") == 7
    assert not list(study_dir.glob("trials/*/pruned.json"))
    code, _, err = tune(trials=7)
    assert code == 2
    assert "it began with --no_pruning" in err


@pytest.mark.parametrize("exit_code", [1, 2])
def test_a_failed_trial_is_said_and_the_search_goes_on(
    tune, study_dir, exit_code
):
    code, out, _ = tune(trials=3, EXIT_CODES=f"2:{exit_code}")
    assert code == 0
    assert (
        f"; failed; exit code {exit_code}: it was told to end with {exit_code}."
        in out
    )
    # It is not tried again.
    assert tune(trials=3).exit_code == 0
    assert not trial_dir(study_dir, 2).exists()
    assert recorded(study_dir)[1]["failure"]


def test_three_failures_in_a_row_end_a_search(tune, study_dir):
    code, out, err = tune(trials=9, EXIT_CODES="2:1 3:1 4:1")
    assert code == 1
    assert out.count("; failed;") == 3
    assert "3 trials in a row have failed, the last with exit code 1" in err
    assert len(recorded(study_dir)) == 4
    # The cause is removed, and it goes on.
    assert tune(trials=5).exit_code == 0
    assert len(recorded(study_dir)) == 5


def test_no_trial_at_all_is_a_failure(tune):
    code, _, err = tune(trials=1, EXIT_CODES="1:1")
    assert code == 1
    assert "No trial has finished" in err


@pytest.mark.parametrize(
    ("ending", "code", "message"),
    [
        (75, 75, "Trial 1 ended 3 times with 75 and without a new checkpoint"),
        (-9, 1, "No trial has finished"),
    ],
)
def test_a_trial_that_asks_for_it_is_run_again_but_not_for_ever(
    tune, study_dir, ending, code, message
):
    outcome = tune(trials=1, EXIT_CODES=f"1:{ending}")
    assert outcome.exit_code == code
    assert message in outcome.err
    output = (study_dir / "output" / "0001.txt").read_text()
    assert output.count("it was told to end") == 3
    # What was asked for three times is asked for again later.
    assert tune(trials=1).exit_code == (0 if ending == 75 else 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"searched": []}, "--search is missing"),
        ({"searched": ["--search=beta=1,2"]}, "beta cannot be tuned, since"),
        ({"searched": ["--search=lerning_rate=1,2"]}, "it is no flag"),
        ({"searched": ["--search=latent_dim=9..2"]}, "is empty; write the"),
        ({"searched": ["--search=latent_dim=0..9"]}, "--latent_dim=0 is too"),
        ({"searched": ["--search=epochs=1..9"]}, "is tuned, and given after"),
        ({"fixed": ["--epoch=3"]}, "After --: Unknown command line flag"),
        ({"fixed": ["--job_dir=a"]}, "is not for a trial"),
        ({"fixed": ["--resume=must"]}, "could not be both started and"),
        ({"trials": 0}, "--trials=0 is too small"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}, "task": '
          '{"type": "worker", "index": 0}}'}, "runs on one machine"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_starts(
    tune, study_dir, settings, message
):
    code, out, err = tune(**settings)
    assert (code, out) == (2, "")
    assert message in err
    assert not study_dir.exists()


def test_a_flag_of_the_training_before_the_dashes_is_told_its_place(tune):
    code, _, err = tune("--epochs=3")
    assert code == 2
    assert "flags of the training go after --" in err


def test_the_folder_of_another_search_is_refused(tune, study_dir):
    assert tune(trials=1).exit_code == 0
    before = (study_dir / FILE).read_bytes()
    for settings, message in (
        ({"searched": SEARCHED[:1]}, "it varies latent_dim=2,20,200, learning"),
        (
            {"fixed": (*FIXED, "--batch_size=32")},
            "has --batch_size=128, not 32",
        ),
        ({"fixed": (*FIXED, "--data_dir=a")}, "--data_dir="),
    ):
        code, out, err = tune(**settings)
        assert (code, out) == (2, "")
        assert message in err
    code, _, err = tune("--seed=1")
    assert code == 2
    assert "it has --seed=0 before --, not 1" in err
    assert (study_dir / FILE).read_bytes() == before
    # No loss depends on this, and the order of the flags says nothing.
    again = tune(
        trials=1, searched=SEARCHED[::-1], fixed=(*FIXED, "--log_format=text")
    )
    assert again.exit_code == 0


def test_a_folder_of_something_else_is_left_as_it_is(tune, study_dir):
    study_dir.mkdir()
    (study_dir / "thesis.txt").write_text("mine")
    code, _, err = tune()
    assert code == 2
    assert "holds thesis.txt but no study.json" in err
    assert [path.name for path in study_dir.iterdir()] == ["thesis.txt"]


def test_one_process_at_a_time_runs_a_search(tune, study_dir):
    with lock.hold(study_dir, "search"):
        code, _, err = tune()
    assert code == 1
    assert f"{study_dir} is in use by process {os.getpid()}" in err
    assert "give another --study_dir." in err


def damage(value):
    return lambda study_dir: (study_dir / FILE).write_text(value)


def change_trials(function):
    def change(study_dir):
        record = json.loads((study_dir / FILE).read_text())
        function(record)
        (study_dir / FILE).write_text(json.dumps(record))

    return change


def swap(study_dir):
    first, second = (trial_dir(study_dir, n) for n in (1, 2))
    shutil.move(first, first.with_name("aside"))
    shutil.move(second, first)
    shutil.move(first.with_name("aside"), second)


def other_data(study_dir):
    path = trial_dir(study_dir, 2) / "config.json"
    path.write_text(path.read_text().replace('"synthetic", "tr', '"mine", "tr'))


@pytest.mark.parametrize(
    ("do", "code", "message"),
    [
        (damage("{"), 1, "study.json is not JSON"),
        (damage("[]"), 1, 'study.json has no "format"'),
        (change_trials(lambda r: r.update(format=2)), 2, "has format 2"),
        (
            change_trials(lambda r: r.pop("settings")),
            1,
            'has no "search" or no "settings"',
        ),
        (
            change_trials(
                lambda r: r["trials"][0]["parameters"].update(latent_dim=3)
            ),
            1,
            'has "trials" that are none of this search',
        ),
        (
            change_trials(lambda r: r["trials"][0].pop("failure")),
            1,
            'has "trials" that are none of this search',
        ),
        (swap, 1, "it is not trial 1"),
        (other_data, 1, "was trained on other data than"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_named(
    tune, finished_search, study_dir, do, code, message
):
    shutil.copytree(finished_search, study_dir)
    do(study_dir)
    outcome = tune(trials=2)
    assert outcome.exit_code == code
    assert message in outcome.err


@pytest.fixture(scope="module")
def finished_search(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "search"
    running = start(folder, 2)
    running.communicate(timeout=100)
    assert running.returncode == 0
    return folder


def test_a_trial_whose_folder_is_gone_is_run_anew(
    tune, finished_search, study_dir
):
    shutil.copytree(finished_search, study_dir)
    rows = (trial_dir(study_dir, 1) / "metrics.jsonl").read_text()
    shutil.rmtree(trial_dir(study_dir, 1))
    assert tune(trials=2).exit_code == 0
    assert (trial_dir(study_dir, 1) / "metrics.jsonl").read_text() == rows
    assert recorded(study_dir) == recorded(finished_search)
