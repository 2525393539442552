"""Interrupts of a process that is not ours: it goes on after the job.

So nothing ends the process here, and all signal handlers are put back.
"""

import contextlib
import signal
import threading
import time

from trainer.runtime.stop_signal import SAME_SECONDS, StopSignal

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts(StopSignal):
    """A `StopSignal` of a function that was called, not of a command."""

    @property
    def requested(self):
        """True once the job should stop.

        A thread gets no signals. But when the main thread has ended, by an
        interrupt or otherwise, Python waits for this one before it ends.
        """
        if not threading.main_thread().is_alive():
            self.request("the end of the main thread")
        return super().requested

    def message(self, what):
        """Returns the sentence that ends an interrupted job."""
        return (
            f"Interrupted by {self.name}: {what}; call trainer.train again "
            "with the same arguments to go on."
        )


@contextlib.contextmanager
def noticed():
    """Takes SIGINT, SIGTERM and SIGHUP while the block runs.

    The first one asks the job to stop. A later one does what it would have
    done without this block: Ctrl-C raises KeyboardInterrupt. One that is
    ignored stays so, and one that is handled outside of Python.

    Yields:
        An `Interrupts`.
    """
    stop = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = {
        number: handler
        for number, handler in handlers.items()
        if handler not in (signal.SIG_IGN, None)
    }
    first = None

    def handle(number, frame):
        nonlocal first
        now = time.monotonic()
        if first is None:
            first = now
            stop.request(signal.Signals(number).name)
        elif now - first > SAME_SECONDS:
            put_back()
            signal.raise_signal(number)

    def put_back():
        for number, handler in taken.items():
            signal.signal(number, handler)

    for number in taken:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        put_back()
