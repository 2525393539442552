"""The stop signal: SIGTERM, SIGINT and SIGHUP, noticed inside TensorFlow."""

import os
import signal
import threading
import time

from trainer.errors import InterruptedJobError
from trainer.runtime import platform

# Who stops a job may say so twice: Slurm does, within some milliseconds, when
# it preempts one that has no time of grace.
# https://slurm.schedmd.com/slurm.conf.html#OPT_GraceTime
SAME_SECONDS = 1.0


class StopSignal:
    """Remembers the first signal to stop; exits at once on a later one.

    That is SIGTERM, SIGINT (Ctrl-C) or SIGHUP (the terminal was closed).

    Python runs a signal handler only between two bytecodes of the main
    thread, so never while that thread waits in a collective for a peer that
    died. The wake-up descriptor is written by the C handler at once, and a
    thread of its own reads it.
    """

    def __init__(self):
        self._requested = threading.Event()
        self._taken = []
        self.name = ""

    def install(self):
        """Takes over the signals. Call it from the main thread.

        A SIGHUP that is ignored stays so: `nohup` has asked for that.
        """
        self._taken = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            self._taken.append(signal.SIGHUP)
        read_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        for number in self._taken:
            # Without a Python handler nothing is written to the descriptor.
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        threading.Thread(
            target=self._watch, args=(read_fd,), name="stop-signal", daemon=True
        ).start()

    def retire(self):
        """Ignores signals from now on: the exit code is decided.

        Python restores the default handlers before it has ended, and a signal
        that came then would replace the exit code; one that is ignored it
        leaves alone.
        """
        for number in self._taken:
            signal.signal(number, signal.SIG_IGN)

    def request(self, name):
        """Asks the job to stop; `name` is what the message will call it."""
        self.name = name
        self._requested.set()

    @property
    def requested(self):
        """True once the job should stop."""
        return self._requested.is_set()

    def check(self):
        """Raises `InterruptedJobError` once the job should stop."""
        if self.requested:
            raise InterruptedJobError(self.message("nothing was lost"))

    def message(self, what):
        """Returns the sentence that ends an interrupted job."""
        return (
            f"Interrupted by {self.name}: {what}; run the same command again "
            "to go on."
        )

    def _watch(self, read_fd):
        first = None
        while True:
            number = os.read(read_fd, 1)[0]
            if number not in self._taken:
                continue
            now = time.monotonic()
            # What another worker asked for does not count: the signal often
            # comes to all of them, and this one's is not to cut its saving.
            first = first or now
            if now - first > SAME_SECONDS:
                os._exit(platform.exit_code(InterruptedJobError.exit_code))
            if not self.requested:
                self.request(signal.Signals(number).name)
