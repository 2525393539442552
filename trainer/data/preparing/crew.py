"""Processes that make chunks, as many as there are cores.

They are started anew (`spawn`), load neither TensorFlow nor Keras, and end
with the process that started them, however that ends.
"""

import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
from multiprocessing import resource_tracker

from trainer.data.preparing import chunks
from trainer.errors import DataError, TrainerError

_POLL_SECONDS = 0.2
# Of each process a chunk is in the making, and the next one waits for it.
_IN_FLIGHT = 2


def cores():
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def make_chunks(work, numbers, locators_of, members, stop):
    """Makes chunks; yields (number, images) of each that is done.

    Args:
        work: a `chunks.Work`.
        numbers: list of int, which ones.
        locators_of: function of a number, which returns the locators.
        members: as from `started`; without any, this process does it.
        stop: a `StopSignal`.

    Raises:
        InterruptedJobError: the stop signal came.
        DataError: a process has ended.
    """
    members = members[: len(numbers)]
    if len(members) > 1:
        yield from _hand_out(members, work, iter(numbers), locators_of, stop)
        return
    for number in numbers:
        locators = locators_of(number)
        chunks.make(work, number, locators, stop.check)
        yield number, len(locators)


def _hand_out(members, work, numbers, locators_of, stop):
    """Gives each member chunks until none is left."""
    sizes, busy = {}, dict.fromkeys(members, 0)

    def give(connection):
        number = next(numbers, None)
        if number is not None:
            locators = locators_of(number)
            sizes[number] = len(locators)
            connection.send((number, locators))
            busy[connection] += 1

    try:
        for connection in members:
            connection.send(work)
        for _ in range(_IN_FLIGHT):
            for connection in members:
                give(connection)
        while any(busy.values()):
            stop.check()
            for connection in multiprocessing.connection.wait(
                [each for each in members if busy[each]], _POLL_SECONDS
            ):
                done = connection.recv()
                if isinstance(done, Exception):
                    raise done
                busy[connection] -= 1
                give(connection)
                yield done, sizes.pop(done)
    except (EOFError, ConnectionError) as error:
        raise DataError(
            "A process that decodes images has ended, most often since the "
            "memory was full; run the same command again, with fewer "
            "--processes or a smaller --pixel_limit."
        ) from error


@contextlib.contextmanager
def started(processes):
    """Starts processes, which wait for their work.

    They need a moment, in which the caller can find out what there is to do.

    Args:
        processes: int, how many; below 2 none is started.

    Yields:
        A list of the `Connection` to each.
    """
    context = multiprocessing.get_context("spawn")
    running, connections = [], []
    try:
        for _ in range(processes if processes > 1 else 0):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_member, args=(theirs,), daemon=True
            )
            with _signals_blocked():
                process.start()
            theirs.close()
            running.append(process)
            connections.append(ours)
        yield connections
    finally:
        for connection in connections:
            connection.close()
        for process in running:
            process.kill()
            process.join()


@contextlib.contextmanager
def _signals_blocked():
    """What is started within never notices SIGINT and SIGTERM.

    A terminal and Slurm send them to all processes; what becomes of them the
    parent says.
    """
    # It starts a process of its own, and then lets both signals through.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _member(connection):
    """Makes chunks until the other end is gone."""
    # What is loaded stays: it is not looked through again and again.
    gc.freeze()
    with contextlib.suppress(EOFError, ConnectionError):
        work = connection.recv()
        while True:
            number, locators = connection.recv()
            try:
                chunks.make(work, number, locators)
            except (OSError, TrainerError) as error:
                # Such as a full disk, or one that fails.
                connection.send(error)
            else:
                connection.send(number)
