"""What the workers of a job send each other: a JSON value, and bytes.

Anybody can connect to a port, so whatever arrives is checked here before
anyone acts on it, and shortened before anyone prints it.
"""

import dataclasses
import json
import reprlib
import struct

from trainer.errors import (
    InterruptedJobError,
    PeerInterruptedError,
    PeerLostError,
)

MISFIT = "it does not speak as a worker of this job does"
# A message: magic, length of its JSON, length of the bytes that follow.
_PREFIX = struct.Struct(">8sIQ")
_MAGIC = b"vae-peer"
_MAX_HEADER = 1 << 20
_MAX_NOTE = 1 << 16
_MAX_SENTENCE = 8000
# Of a header in ASCII, in which a character may have 12 bytes.
MOST_TEXT = _MAX_HEADER // 16
_MAX_VALUE = 200
# No deeper than that, however deep the JSON is.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring = 2, 100


class Note:
    """A message without bytes, read as far as it has come.

    Args:
        link: a connected socket that does not block.
    """

    def __init__(self, link):
        self._link = link
        self._received = bytearray()
        self._length = _PREFIX.size

    def read(self):
        """Returns the header, a dict with a `kind`; None until it is whole.

        Raises:
            OSError, EOFError: the link is gone.
            ValueError: something else is at its end.
        """
        while len(self._received) < self._length:
            try:
                # No byte more: what follows is for others to read.
                piece = self._link.recv(self._length - len(self._received))
            except BlockingIOError:
                return None
            if not piece:
                raise EOFError("its connection was closed")
            self._received += piece
            if len(self._received) == _PREFIX.size:
                header_length, payload_length = _lengths(self._received)
                if header_length > _MAX_NOTE or payload_length:
                    raise ValueError(MISFIT)
                self._length += header_length
        return _header(self._received[_PREFIX.size :])


def send(link, header, payload=b""):
    """Sends a message: a JSON value and bytes.

    Raises:
        OSError: the link is gone.
    """
    text = json.dumps(header).encode()
    link.sendall(_PREFIX.pack(_MAGIC, len(text), len(payload)) + text)
    if len(payload):
        link.sendall(payload)


def receive(link, most_bytes):
    """Returns the next message: a dict with a `kind`, and bytes.

    Args:
        link: a connected socket that blocks.
        most_bytes: int, how many bytes may follow the JSON.

    Raises:
        OSError, EOFError: the link is gone.
        ValueError: something else is at its end, or more bytes.
    """
    header_length, payload_length = _lengths(
        _receive_exactly(link, _PREFIX.size)
    )
    if payload_length > most_bytes:
        raise ValueError(MISFIT)
    header = _header(_receive_exactly(link, header_length))
    return header, _receive_exactly(link, payload_length)


@dataclasses.dataclass(frozen=True)
class Farewell:
    """What a worker says at its end.

    Attributes:
        exit_code: int, 0 to 255.
        reason: str, one line.
        interrupted: bool, whether it was told to stop.
    """

    exit_code: int
    reason: str
    interrupted: bool

    def error(self, who):
        """Returns the error of a worker that stops with another one.

        Args:
            who: str, what to call the other.
        """
        kind = PeerInterruptedError if self.interrupted else PeerLostError
        error = kind(f"{who} stopped: {self.reason}")
        error.exit_code = self.exit_code
        return error


def bye(exit_code, reason, interrupted=False):
    """Returns the header by which a worker says why it ends."""
    return {"kind": "bye", "content": [exit_code, reason, interrupted]}


def bye_for(error):
    """Returns the header of a worker that ends by a `TrainerError`."""
    interrupted = isinstance(error, (InterruptedJobError, PeerInterruptedError))
    return bye(error.exit_code, str(error), interrupted)


def farewell(header):
    """Returns the `Farewell` in the header of a message.

    Raises:
        ValueError: there is none in it.
    """
    match header.get("content"):
        # JSON has true and false as well, which Python takes for numbers.
        case [code, reason, interrupted] if (
            type(code) is int and 0 <= code <= 255 and type(interrupted) is bool
        ):
            return Farewell(code, sentence(reason), interrupted)
    raise ValueError(MISFIT)


def sentence(text):
    """Returns text that came over a link as one line, no longer than need be.

    Raises:
        ValueError: it is no text.
    """
    if not isinstance(text, str):
        raise ValueError(MISFIT)
    line = " ".join(text[:_MAX_SENTENCE].split())
    return "".join(
        letter if letter.isprintable() else ascii(letter)[1:-1]
        for letter in line
    )


def text(value):
    """Returns text of several lines that came over a link, no longer than may.

    Raises:
        ValueError: it is no text.
    """
    if not isinstance(value, str):
        raise ValueError(MISFIT)
    return "\n".join(map(sentence, value[:MOST_TEXT].split("\n")))


def shown(value):
    """Returns a JSON value that came over a link as a short text in ASCII."""
    text = _SHORT.repr(value).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}..."


def _lengths(prefix):
    """Returns the lengths of the JSON and of the bytes of a message."""
    magic, header_length, payload_length = _PREFIX.unpack(prefix)
    if magic != _MAGIC or header_length > _MAX_HEADER:
        raise ValueError(MISFIT)
    return header_length, payload_length


def _header(text):
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(MISFIT) from error
    if not isinstance(header, dict) or not isinstance(header.get("kind"), str):
        raise ValueError(MISFIT)
    return header


def _receive_exactly(link, count):
    received = bytearray()
    while len(received) < count:
        piece = link.recv(min(count - len(received), 1 << 20))
        if not piece:
            raise EOFError("its connection was closed")
        received += piece
    return bytes(received)
