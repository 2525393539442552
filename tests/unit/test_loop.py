"""The loop without a model: which calls it makes, and what it does when."""

import math

import pytest

from trainer import loop
from trainer.distributed.calls import Calls, Workers
from trainer.errors import InterruptedJobError, NonFiniteError
from trainer.job_dir.checkpoint import Checkpoint
from trainer.schedule import Period, Periods

LAST = 10


class Story:
    """A training that only notes what happens, in order."""

    def __init__(self, stop, start=0, due=(), **periods):
        self.events, self.saved = [], []
        self._stop = stop
        self._step = start
        self._start = Checkpoint(start, due, None, {})
        self._periods = Periods(
            LAST,
            {
                "row": Period(3),
                "evaluation": Period(5),
                "images": Period(5),
                "checkpoint": Period(4),
                **periods,
            },
        )
        self.works = {
            name: lambda moment, name=name: self.note(name, moment.step)
            for name in self._periods.by_name
            if name != "checkpoint"
        }

    def note(self, *event):
        self.events.append(event)

    def steps(self, count, proposal):
        self._step += int(count)
        self.note("call", self._step)
        loss = math.nan if self._step == LAST and self.ends_in_nan else 1.0
        return {"total_loss": loss, "finite": math.isfinite(loss)}, proposal

    ends_in_nan = False

    def save(self, moment):
        self.note("save", moment.step)
        self.saved.append((moment.step, moment.due, moment.held_out_loss))

    def run(self, steps_per_call=100):
        workers = Workers(self._stop)
        loop.train(
            start=self._start,
            periods=self._periods,
            calls=Calls(self.steps, workers, steps_per_call),
            workers=workers,
            works=self.works,
            batch_size=2,
            progress=lambda images, note: self.note("images", images, note),
            save=self.save,
        )

    def at(self, name):
        return [event[1] for event in self.events if event[0] == name]


def test_calls_end_where_work_is_due_and_work_has_an_order(stop):
    story = Story(stop)
    del story.works["images"]
    story.run()
    assert [event for event in story.events if event[0] != "images"] == [
        ("call", 3), ("row", 3),
        ("call", 4), ("save", 4),
        ("call", 5), ("evaluation", 5),
        ("call", 6), ("row", 6),
        ("call", 8), ("save", 8),
        ("call", 9), ("row", 9),
        ("call", 10), ("row", 10), ("evaluation", 10), ("save", 10),
    ]  # fmt: skip


def test_a_worker_with_fewer_works_makes_the_same_calls(stop):
    chief, worker = Story(stop), Story(stop)
    worker.works = {"evaluation": worker.works["evaluation"]}
    chief.run()
    worker.run()
    assert worker.at("call") == chief.at("call")
    assert worker.at("evaluation") == [5, 10]
    assert not worker.at("row")


def test_work_of_ones_own_has_its_own_period(stop):
    story = Story(stop, mine=Period(7))
    story.run()
    assert story.at("mine") == [7, 10]
    assert 7 in story.at("call")


def test_the_best_is_saved_wherever_it_comes(stop):
    story = Story(stop)

    def evaluate(moment):
        moment.held_out_loss = 1.0
        moment.is_best = moment.step == 5

    story.works["evaluation"] = evaluate
    story.run()
    assert story.saved == [
        (4, (), None), (5, (), 1.0), (8, (), None), (10, (), 1.0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("during", "due"),
    [
        ("row", ("evaluation", "images")),
        ("evaluation", ("evaluation", "images")),
        ("images", ()),
    ],
)
def test_a_signal_saves_what_is_still_due_and_the_next_session_does_it(
    stop, during, due
):
    story = Story(stop)
    work = story.works[during]

    def stopped(moment):
        work(moment)
        if moment.step == LAST:
            stop.request("SIGTERM")

    story.works[during] = stopped
    with pytest.raises(InterruptedJobError, match="saved at step 10"):
        story.run()
    assert story.saved[-1][:2] == (LAST, due)
    again = Story(type(stop)(), start=LAST, due=due)
    again.run()
    assert not again.at("call")
    assert tuple(event[0] for event in again.events) == (
        (*due, "save") if due else ()
    )


def test_a_signal_before_a_call_trains_no_further(stop):
    story = Story(stop)
    story.works["row"] = lambda moment: stop.request("SIGTERM")
    with pytest.raises(InterruptedJobError, match="saved at step 3"):
        story.run()
    assert story.at("call") == [3]
    assert story.saved == [(3, (), None)]


def test_a_loss_that_is_not_finite_ends_it_without_a_save(stop):
    story = Story(stop)
    story.ends_in_nan = True
    with pytest.raises(NonFiniteError, match="between steps 10 and 10"):
        story.run()
    assert story.at("save") == [4, 8]
