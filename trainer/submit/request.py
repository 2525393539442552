"""A request to a service, which a stop signal does not have to wait for."""

import threading
import time
from concurrent import futures

from trainer.errors import ServiceUnavailableError

_POLL_SECONDS = 0.1


def ask(service, call, stop):
    """Returns the answer of a service.

    Neither its client nor a program that is waited for ends at a signal, so
    they run in a thread that this process need not wait for.

    Args:
        service: str, what a message calls it.
        call: function without arguments that asks it, and returns the answer.
        stop: a `StopSignal`.

    Raises:
        InterruptedJobError: the stop signal came before the question.
        ServiceUnavailableError: it came before the answer, so that nobody
            knows what became of the question.
        Exception: what `call` raises.
    """
    stop.check()
    answer = futures.Future()
    threading.Thread(target=_run, args=(call, answer), daemon=True).start()
    while not answer.done() and not stop.requested:
        futures.wait([answer], _POLL_SECONDS)
    if answer.done() and answer.exception():
        # A Ctrl-C goes to a program that is waited for as well, and it may
        # have failed before the signal was noticed here.
        time.sleep(_POLL_SECONDS)
    if stop.requested and (not answer.done() or answer.exception()):
        raise ServiceUnavailableError(
            f"Interrupted by {stop.name} before {service} answered; look "
            "whether the job is there, and try again."
        )
    return answer.result()


def _run(call, answer):
    try:
        answer.set_result(call())
    except BaseException as error:  # It is raised where the answer is.
        answer.set_exception(error)
