"""Standard streams that may end before the command does.

A reader goes away (`| head -1`), a terminal is closed, the disk behind a file
is full, or a descriptor was closed from the start (`2>&-`): that ends the
lines, and not the work.
"""

import os
import sys

_STDOUT, _STDERR = 1, 2


def protect(say):
    """Makes this process outlive its standard streams.

    What cannot be written to stderr goes to stdout. Streams that something
    else has put in the place of the process's own are left as they are. Call
    it before anything is opened: a file would get the number of a standard
    stream that is closed, and with it what others write there.

    Args:
        say: called once with the reason, a str, when stdout has ended.
    """
    closed = _open_closed()
    if sys.stderr is sys.__stderr__:
        sys.stderr = _Stream(sys.stderr, _STDERR, instead=_to_stdout)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _Stream(sys.stdout, _STDOUT, on_end=say)
    for descriptor, stream in ((_STDERR, sys.stderr), (_STDOUT, sys.stdout)):
        if descriptor in closed and isinstance(stream, _Stream):
            stream.end("it is closed")


class _Stream:
    """A text stream that is still there when it cannot be written to.

    Args:
        stream: the text file; None for one that was closed from the start.
        descriptor: int, its number, which C++ code writes to as well.
        on_end: called once with the reason, a str.
        instead: called with the text that cannot be written.
    """

    def __init__(
        self,
        stream,
        descriptor,
        on_end=lambda reason: None,
        instead=lambda text: None,
    ):
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")
        self._descriptor = descriptor
        self._on_end = on_end
        self._instead = instead
        self._unsure = ""
        self._has_ended = False

    def write(self, text):
        if self._has_ended:
            self._instead(text)
            return len(text)
        self._unsure += text
        try:
            self._stream.write(text)
        except OSError as error:
            self.end(error.strerror)
        else:
            # Line by line, whatever is behind it: no more is unsure then.
            if "\n" in text:
                self.flush()
        return len(text)

    def flush(self):
        if self._has_ended:
            return
        try:
            self._stream.flush()
        except OSError as error:
            self.end(error.strerror)
        self._unsure = ""

    def end(self, reason):
        """Writes nothing more to the stream, and says so."""
        self._has_ended = True
        # Its own buffers are written once more when Python ends.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._descriptor)
        os.close(null)
        self._on_end(reason)
        self._instead(self._unsure)

    def __getattr__(self, name):
        return getattr(self._stream, name)


def _to_stdout(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def _open_closed():
    """Opens what takes all where a standard stream is closed.

    Returns:
        The set of their numbers.
    """
    closed = set()
    # The lowest number that is free is given first.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
        closed.add(descriptor)
    os.close(descriptor)
    return closed
