"""A search from its first trial to its last."""

import os

from trainer.errors import (
    InterruptedJobError,
    JobDirError,
    TrainerError,
    TrialStalledError,
)
from trainer.job_dir import lock
from trainer.job_dir.open import JobDir
from trainer.runtime import platform
from trainer.search import process, report, space, suggestions, trials
from trainer.search.study import Study

# When so many in a row have failed, it is not the values that they tried.
_FAILURES_IN_A_ROW = 3
# So often in a row may a trial stop without a new checkpoint.
_STALLS_IN_A_ROW = 3


def search(study_dir, definition, count, stop, console):
    """Runs a search, or goes on with one, until it has so many trials.

    Args:
        study_dir: `pathlib.Path`.
        definition: a `Definition`.
        count: int, trials in all.
        stop: a `StopSignal`.
        console: a `Console`.

    Raises:
        ConfigError: the folder holds another search, or something else.
        InterruptedJobError: the stop signal came; the trial that ran has
            saved its state.
        TrialStalledError: a trial asks again and again to be run again.
        JobDirError: something in the folder is damaged, or in use.
        TrainerError: too many trials have failed.
    """
    with lock.hold(study_dir, str(study_dir), "--study_dir") as is_lost:
        study = Study(study_dir, definition, is_lost)
        _Search(study, count, stop, console).run()


class _Search:
    """A search that is held: its trials, in their order.

    What it suggests and stops depends on the outcomes of the trials before.
    """

    def __init__(self, study, count, stop, console):
        self._study = study
        self._count = count
        self._stop = stop
        self._console = console
        self._trials = []
        self._outcomes = []

    def run(self):
        there = len(self._study.entries)
        if there:
            self._wait_for_left_behind(there)
        while trial := self._earlier(len(self._trials) + 1):
            self._add(trial)
        done = len(self._trials)
        if there:
            self._console.line(
                f"Going on with {self._study.root}: {done} of {self._count} "
                "trials are over."
            )
        with self._console.trial_bar("Search", self._count, done) as show:
            self._run_from(done + 1, max(self._count, there), show)
        for line in report.end(self._study, self._trials):
            self._console.line(line)
        if report.best(self._trials) is None:
            raise TrainerError(
                "No trial has finished, so there is no best one; "
                f"{self._study.root}/output has what they printed."
            )

    def _run_from(self, first, last, show):
        failures = 0
        for number in range(first, last + 1):
            self._stop.check()
            # Of several folders one may have been deleted, to be run anew.
            trial = self._earlier(number)
            if trial is None:
                if number > self._count or not self._has_values(number):
                    break
                trial = self._train(number, show)
                self._console.line(report.line(trial, self._count))
                failures = failures + 1 if trial.state == "failed" else 0
            self._add(trial)
            show(number, "")
            if failures == _FAILURES_IN_A_ROW:
                raise TrainerError(
                    f"{failures} trials in a row have failed, the last with "
                    f"{trial.failure.rstrip('.')}. Look at "
                    f"{self._study.output(number)}; the same command again "
                    "goes on with the next trial."
                )

    def _wait_for_left_behind(self, number):
        """Waits for the process of a search that was killed.

        Only the last trial can have one.
        """

        def tell():
            self._console.notice(
                f"Trial {number} still runs: the search that started it was "
                "killed. Waiting until it has ended; its result counts."
            )

        process.wait_for_left_behind(
            self._study.output(number), self._stop, tell
        )

    def _earlier(self, number):
        """Returns the `Trial` of a number if it is over, else None."""
        if number > len(self._study.entries):
            return None
        trial = trials.read(self._study, number)
        if not trial.is_over and self._is_to_stop(trial):
            trial = trials.read(self._study, number)
        return trial if trial.is_over else None

    def _has_values(self, number):
        """Whether a trial has values to try; chooses those of a new one."""
        if number <= len(self._study.entries):
            return True
        definition = self._study.definition
        values = suggestions.suggest(
            definition.parameters, self._outcomes, definition.seed
        )
        if values is None:
            self._console.line(
                f"All {number - 1} combinations have been tried."
            )
            return False
        self._study.add(values)
        return True

    def _add(self, trial):
        """Adds a trial that is over.

        Raises:
            JobDirError: its loss does not compare with the others'.
        """
        first = next((each for each in self._trials if each.data), trial)
        if trial.data and trial.data != first.data:
            raise JobDirError(
                f"{trial.folder} was trained on other data than {first.folder},"
                " so their losses do not compare; put the data back, remove "
                "that folder, and run the same command again."
            )
        outcome = trials.outcome(
            trial, self._outcomes, self._study.definition.pruning
        )
        self._trials.append(trial)
        self._outcomes.append(outcome)

    def _train(self, number, show):
        """Runs a trial until it is over; returns the `Trial`."""
        study, stalls = self._study, 0
        flags = [
            f"--job_dir={study.folder(number)}",
            *study.definition.flags,
            *space.flags_of(study.entries[number - 1].parameters),
        ]
        trial = trials.read(study, number)
        while True:
            before = trial.saved_step
            code, words = process.run(
                flags,
                study.output(number),
                self._stop,
                self._watch(number, show),
            )
            trial = trials.read(study, number)
            if trial.is_over:
                return trial
            self._stop.check()
            if not _is_to_run_again(code):
                study.fail(number, f"exit code {code}: {words}")
                return trials.read(study, number)
            stalls = stalls + 1 if trial.saved_step == before else 0
            if stalls == _STALLS_IN_A_ROW and code < 0:
                study.fail(
                    number,
                    f"signal {-code}, which killed it {stalls} times without "
                    f"a new checkpoint: {words}",
                )
                return trials.read(study, number)
            if stalls == _STALLS_IN_A_ROW:
                raise TrialStalledError(
                    f"Trial {number} ended {stalls} times with {code} and "
                    f"without a new checkpoint: {words.rstrip('.')}. Run the "
                    "same command again later."
                )
            self._console.notice(
                f"Trial {number} was interrupted ({words}) and goes on."
            )

    def _watch(self, number, show):
        """Returns a function that looks at a trial while it runs.

        It returns whether the trial is to stop.
        """
        path = JobDir(self._study.folder(number)).metrics_path
        seen = judged = None

        def watch():
            nonlocal seen, judged
            state = _state_of(path)
            if state == seen:
                return False
            seen = state
            trial = trials.read(self._study, number)
            show(number - 1 + trial.progress, report.note(trial))
            if trial.is_over or len(trial.open_losses) == judged:
                return False
            judged = len(trial.open_losses)
            return self._is_to_stop(trial)

        return watch

    def _is_to_stop(self, trial):
        """Whether a trial is one of the worse; records that it is stopped."""
        if not self._study.definition.pruning:
            return False
        count = trials.stop_of(trial, self._outcomes)
        if count is None:
            return False
        trials.record_pruned(trial, count)
        return True


def _is_to_run_again(code):
    """Whether a process has saved its state, or was killed."""
    return code < 0 or code == platform.exit_code(InterruptedJobError.exit_code)


def _state_of(path):
    """Returns what changes when a file does; None without one."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
