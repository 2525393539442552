"""A training that hangs: it says where each worker stands, and ends."""

import contextlib
import datetime
import os

from trainer import __version__
from trainer.distributed import messages
from trainer.errors import PeerLostError, TrainerError
from trainer.job_dir import hangs
from trainer.runtime import platform
from trainer.runtime.watchdog import UNMEASURED_SECONDS, Watchdog, stacks

# The third time at one step it is not the machine.
_MOST_TIMES = 3
_FAILED, _RUN_AGAIN = 1, PeerLostError.exit_code
_ANSWER_SECONDS = 5.0
# All of it has to be said before a scheduler loses its patience.
_PUBLISH_SECONDS = 20.0
# The others wait in their next call while the chief draws; and it is for the
# chief to notice first.
_GRACE_OF_OTHERS = UNMEASURED_SECONDS + 60.0


@contextlib.contextmanager
def watched(session, step, job=None):
    """Looks after the training of this process while the block runs.

    When work does not end, where each thread stands is written into the job
    directory, and the process ends: with 75, or with 1 at the third time.

    Args:
        session: a `Session`.
        step: int, the step that the training goes on from.
        job: the `JobDir` of the chief, or of one worker alone; None beside.

    Yields:
        A `Watchdog`.
    """

    def report(hang):
        code = _RUN_AGAIN
        # The main thread waits for what does not come, so this one ends the
        # process, also where nothing can be written down any more.
        try:
            if job is not None:
                code = _report(session, job, hang)
            else:
                session.console.error(f"{hang}.\n{stacks()}")
        except Exception as error:
            session.console.error(
                f"{hang}, and where its threads stand could not be kept "
                f"({error}).\n{stacks()}"
            )
        finally:
            os._exit(platform.exit_code(code))

    grace = 0.0 if job is not None else _GRACE_OF_OTHERS
    watchdog = Watchdog(session.config.hang_seconds, step, report, grace)
    if session.peers:
        session.peers.stands = lambda: _stands(watchdog)
    with contextlib.closing(watchdog):
        yield watchdog


def _report(session, job, hang):
    """Writes down and says where all stand; returns the exit code."""
    names, texts = _all_stand(session, hang)
    now = datetime.datetime.now(datetime.timezone.utc)
    head = f"vae-trainer {__version__}, {now.isoformat(timespec='seconds')}"
    path, times = hangs.record(
        job, hang.first_step, hang.last_step, "\n\n".join((head, *texts))
    )
    said = (
        f"{'; '.join(names)}. Where all threads stand is in "
        f"{job.location}/{path}. "
    )
    if times < _MOST_TIMES:
        code = _RUN_AGAIN
        said += (
            "Run the same command again to go on from the last checkpoint, or "
            "give such work more time with --hang_seconds."
        )
    else:
        code = _FAILED
        said += (
            f"It is the time number {times} at these steps, so another try "
            "would end like this; look at where the threads stand."
        )
    try:
        job.abandon(_PUBLISH_SECONDS, session.console)
    except TrainerError as error:
        said += f" {error}"
    session.console.error(said)
    if session.peers:
        session.peers.leave(messages.bye(code, said))
    return code


def _all_stand(session, hang):
    """Returns sentences and texts that say where each worker stands."""
    peers = session.peers
    if not peers:
        return [f"{str(hang)[0].upper()}{str(hang)[1:]}"], [_text(hang)]
    names, texts = [f"The chief: {hang}"], [f"chief: {_text(hang)}"]
    for index, text in peers.where_all_stand(_ANSWER_SECONDS).items():
        name = f"worker {index}"
        if text is None:
            text = f"it did not answer within {_ANSWER_SECONDS:g} s"
        names.append(f"{name}: {text.partition(chr(10))[0]}")
        texts.append(f"{name}: {text}")
    return names, texts


def _stands(watchdog):
    return _text(watchdog.now() or "between two works")


def _text(what):
    return f"{what}\n{stacks()}"
