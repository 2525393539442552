import threading
import time

import pytest

from tests.tools import deadline
from trainer.runtime import watchdog as watchdog_lib
from trainer.runtime.watchdog import Watchdog, stacks


@pytest.fixture
def watch(monkeypatch):
    """Makes a `Watchdog` that looks often; its hangs are in `watch.hangs`."""
    monkeypatch.setattr(watchdog_lib, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(watchdog_lib, "_LEAST_SECONDS", 0.5)
    made = []

    def watch(seconds=0.0, step=0):
        made.append(Watchdog(seconds, step, watch.hangs.append))
        return made[-1]

    watch.hangs = []
    yield watch
    for watchdog in made:
        watchdog.close()


def rest(count, seconds=0.0):
    time.sleep(seconds)
    return count


def until_reported(watch):
    deadline.wait_until(lambda: watch.hangs, every=0.01)
    return str(watch.hangs[0])


def test_a_call_that_takes_longer_than_it_may_is_reported_once(watch):
    call = watch(seconds=0.3, step=10).calls(rest)
    assert [call(1), call(1)] == [1, 1]
    ended = threading.Event()

    def hanging(count):
        ended.wait(deadline.SECONDS)

    watchdog = watch(seconds=0.3, step=10)
    call = watchdog.calls(
        lambda count: rest(count) if count < 9 else hanging(9)
    )
    call(2), call(2)
    thread = threading.Thread(target=call, args=(9,))
    thread.start()
    assert until_reported(watch).startswith(
        "training at steps 15 to 23 has not"
    )
    time.sleep(0.5)
    ended.set()
    thread.join()
    assert len(watch.hangs) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_the_first_call_and_what_has_no_usual_time_may_take_longer(
    watch, monkeypatch, seconds
):
    # As long as it takes in this test.
    monkeypatch.setattr(watchdog_lib, "UNMEASURED_SECONDS", deadline.SECONDS)
    watchdog = watch(seconds)
    watchdog.calls(rest)(1, 1.0)
    with watchdog.over("drawing"):
        time.sleep(1.0)
    watchdog.around(rest, "saving")(0, 1.0)
    assert watch.hangs == []


def test_a_long_call_may_take_20_times_what_such_a_call_takes(
    watch, monkeypatch
):
    watchdog = watch()
    call = watchdog.calls(rest)
    for _ in range(4):
        call(1, 0.05)
    # A step takes 0.05 s: a call of 10 may take 10 s, and one that hangs 0.5 s.
    call(10, 1.5)
    assert watch.hangs == []
    what, seconds = watchdog._call(10)
    assert what == "training"
    assert 20 * 10 * 0.05 <= seconds < 20 * 10 * 0.05 * 20
    assert watchdog._call(1)[1] >= 0.5


def test_signs_of_life_are_what_an_evaluation_is_judged_by(watch):
    watchdog = watch(step=7)
    with watchdog.over("evaluation", 0.4) as go_on:
        for _ in range(5):
            time.sleep(0.2)
            go_on()
        assert watch.hangs == []
        assert until_reported(watch).startswith("evaluation at step 7 has not")


def test_a_process_that_was_stopped_for_long_does_not_count_that(
    watch, monkeypatch
):
    clock = time.monotonic
    jump = [0.0]
    monkeypatch.setattr(
        watchdog_lib.time, "monotonic", lambda: clock() + jump[0]
    )
    with watch().over("drawing", 5.0):
        jump[0] = 3600.0
        time.sleep(0.3)
        assert watch.hangs == []


def test_nothing_is_reported_at_rest_or_after_the_end(watch):
    watchdog = watch(seconds=0.05)
    assert watchdog.now() is None
    with watchdog.over("drawing", 0.2):
        assert "drawing" in str(watchdog.now())
        watchdog.close()
        time.sleep(0.5)
    assert watch.hangs == []


def test_the_stacks_are_those_of_all_threads():
    ended = threading.Event()
    thread = threading.Thread(target=lambda: ended.wait(deadline.SECONDS))
    thread.start()
    text = stacks()
    ended.set()
    thread.join()
    assert text.count("hread 0x") >= 2
    assert "in test_the_stacks_are_those_of_all_threads" in text
    assert "in wait" in text
