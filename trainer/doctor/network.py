"""Checks of the other machines of a job: each has an address and answers."""

import concurrent.futures
import dataclasses
import socket
import time

from trainer.doctor import rows

_SECONDS = 5.0
_ATONCE = 64
_NAMED = 4


@dataclasses.dataclass(frozen=True)
class _Answer:
    """Of a machine: why it does not answer, or how long that took."""

    reason: str
    seconds: float


def machines(case):
    """Whether every machine of the job resolves and answers.

    A port at which nobody listens yet is one that answers.
    """
    topology = case.topology
    others = [n for n in range(len(topology.hosts)) if n != topology.index]
    with concurrent.futures.ThreadPoolExecutor(_ATONCE) as pool:
        answers = dict(
            zip(
                others,
                pool.map(lambda n: _knock(topology.hosts[n]), others),
                strict=True,
            )
        )
    lost = [n for n in others if answers[n].reason]
    if lost:
        named = "; ".join(
            f"{topology.describe(n)}: {answers[n].reason}"
            for n in lost[:_NAMED]
        )
        more = f"; and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        return rows.failure(
            f"{len(lost)} of {len(others)} other machines do not answer "
            f"({named}{more}).",
            "Start them, and let the firewall or the NetworkPolicy pass what "
            "they send each other.",
            for_now=True,
        )
    slowest = max(answer.seconds for answer in answers.values())
    return rows.ok(
        f"all {len(others)} others of the {topology.name} answer, the slowest "
        f"in {1000 * slowest:.0f} ms"
    )


def _knock(host_and_port):
    host, _, port = host_and_port.rpartition(":")
    started = time.monotonic()
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM
        )
    # A label of a name may be too long to be asked for.
    except (OSError, UnicodeError):
        return _Answer("its name is not known here", 0.0)
    reasons = []
    # A job tries all addresses: there may be no route to the first.
    for *_, address in found:
        try:
            with socket.create_connection(address[:2], _SECONDS):
                pass
        except ConnectionRefusedError:
            pass  # The machine is there; its worker has not started.
        except TimeoutError:
            reasons.append(f"no answer in {_SECONDS:g} seconds")
            continue
        except OSError as error:
            reasons.append(error.strerror or str(error))
            continue
        return _Answer("", time.monotonic() - started)
    return _Answer(" and ".join(dict.fromkeys(reasons)), 0.0)
