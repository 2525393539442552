"""Processes that make chunks, as many as there are cores.

They are started anew (`spawn`), load neither TensorFlow nor Keras, and end
with the process that started them, however that ends.
"""

import contextlib
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


def make_chunks(work, numbers, locators_of, processes, stop):
    """Makes chunks; yields (number, images) of each that is done.

    Args:
        work: a `chunks.Work`.
        numbers: list of int, which ones.
        locators_of: function of a number, which returns the locators.
        processes: int, how many; at most as many as there are chunks.
        stop: a `StopSignal`.

    Raises:
        InterruptedJobError: the stop signal came.
        DataError: a process has ended.
    """
    processes = min(processes, len(numbers))
    if processes <= 1:
        for number in numbers:
            locators = locators_of(number)
            chunks.make(work, number, locators, stop.check)
            yield number, len(locators)
        return
    with _crew(work, processes) as members:
        yield from _hand_out(members, iter(numbers), locators_of, stop)


def _hand_out(members, numbers, locators_of, stop):
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
def _crew(work, processes):
    """Starts the processes; yields the `Connection` to each."""
    context = multiprocessing.get_context("spawn")
    started, connections = [], []
    try:
        for _ in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_member, args=(theirs, work), daemon=True
            )
            with _signals_blocked():
                process.start()
            theirs.close()
            started.append(process)
            connections.append(ours)
        yield connections
    finally:
        for connection in connections:
            connection.close()
        for process in started:
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


def _member(connection, work):
    """Makes chunks until the other end is gone."""
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            number, locators = connection.recv()
            try:
                chunks.make(work, number, locators)
            except (OSError, TrainerError) as error:
                # Such as a full disk, or one that fails.
                connection.send(error)
            else:
                connection.send(number)
