"""Waiting for what must come, however slow the machine is."""

import time

# What takes seconds on a quiet machine takes minutes on one that is ten times
# slower; whoever waits for longer waits for nothing.
SECONDS = 600


def wait_until(condition, what="what was waited for", every=0.05):
    """Waits until a function returns something true, and returns that.

    Args:
        condition: called without arguments, over and over.
        what: str or a function that returns one: what was missed in the end.
        every: seconds between two calls.
    """
    end = time.monotonic() + SECONDS
    while not (found := condition()):
        if time.monotonic() > end:
            missed = what() if callable(what) else what
            raise AssertionError(f"not in {SECONDS} seconds: {missed}")
        time.sleep(every)
    return found
