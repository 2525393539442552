from trainer.config import TrainConfig
from trainer.schedule import Period, Periods, Schedule


def steps_of(period, last):
    return [s for s in range(1, last + 1) if period.is_due(s, last)]


def test_a_period_is_due_every_so_often_and_at_the_end():
    assert steps_of(Period(4), 10) == [4, 8, 10]
    assert steps_of(Period(), 10) == [10]
    assert steps_of(Period(at=(0, 3)), 10) == [3]


def test_a_call_of_steps_never_passes_a_step_at_which_work_is_due():
    config = TrainConfig(
        summary_steps=4, checkpoint_steps=7, eval_epochs=2, image_epochs=0,
        profile_steps="6,9",
    )  # fmt: skip
    periods = Periods.of(config, Schedule(steps_per_epoch=5, total_steps=23))
    ends, step = [], 0
    while step < 23:
        step = periods.next_step(step)
        ends.append(step)
    assert ends == [4, 5, 7, 8, 9, 10, 12, 14, 16, 20, 21, 23]
    assert set(ends) >= {s for s in range(1, 24) if periods.due(s)}
    assert periods.due(20) == ("row", "evaluation")
    assert periods.due(23) == ("row", "evaluation", "images", "checkpoint")


def test_an_epoch_begins_at_the_step_after_its_last_one():
    schedule = Schedule(steps_per_epoch=5, total_steps=10)
    assert [schedule.epoch_of(step) for step in (1, 5, 6, 10)] == [1, 1, 2, 2]
