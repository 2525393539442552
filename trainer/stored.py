"""Files that anyone may have changed: read with a limit, and with doubt."""

import datetime
import errno
import json
import os
import stat

_MOST_BYTES = 16 * 2**20
# Nothing that this package writes is half as deep.
_MOST_LEVELS = 32
# What a count, a step or a size may be: an int64.
_MOST = 2**63 - 1


class UnreadableError(Exception):
    """What lies there is no such file; the message says what it is."""


def is_there(path):
    """Whether anything has that name, also a link that leads nowhere.

    Raises:
        OSError: it could not be looked at. That is never the same as nothing.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def open_file(path):
    """Opens a file to read bytes from; it waits for nobody.

    Raises:
        FileNotFoundError: nothing has that name.
        UnreadableError: what has that name is no file.
        OSError: it could not be looked at.
    """
    try:
        # A FIFO, which a file may have been replaced by, would wait for a
        # writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError as error:
        if is_there(path):
            raise UnreadableError("is a link that leads nowhere") from error
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnreadableError("is a link in a loop") from error
        if error.errno in (errno.ENXIO, errno.ENODEV):
            raise UnreadableError("is no file") from error
        raise
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableError("is a folder")
        if not stat.S_ISREG(mode):
            raise UnreadableError("is no file")
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path, most):
    """Returns the content of a file of at most `most` bytes.

    Raises:
        FileNotFoundError, UnreadableError, OSError: as `open_file`; also
            `UnreadableError` for a file with more bytes.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(most + 1) if size <= most else b""
    if size > most or len(content) > most:
        raise UnreadableError(f"has more than {most:,} bytes")
    return content


def read_json(path, most=_MOST_BYTES):
    """Returns the JSON value of a file of at most `most` bytes.

    NaN and Infinity are numbers here: a loss may have become that.

    Raises:
        FileNotFoundError, UnreadableError, OSError: as `read_bytes`; also
            `UnreadableError` for what is no JSON.
    """
    return parse_json(read_bytes(path, most))


def parse_json(content):
    """Returns the JSON value of bytes.

    Raises:
        UnreadableError: they are none.
    """
    try:
        value = json.loads(content.decode())
    except UnicodeDecodeError as error:
        raise UnreadableError(f"is not UTF-8 ({error})") from error
    except RecursionError as error:
        raise UnreadableError("is JSON too deep to be read") from error
    except ValueError as error:
        raise UnreadableError(f"is not JSON ({error})") from error
    if _is_deep(value):
        raise UnreadableError("is JSON too deep to be read")
    return value


def _is_deep(value):
    """Whether a value is too deep for what would go through it."""
    level = [value]
    for _ in range(_MOST_LEVELS):
        level = [
            each
            for around in level
            for each in (
                around.values()
                if isinstance(around, dict)
                else around
                if isinstance(around, list)
                else ()
            )
        ]
        if not level:
            return False
    return True


def is_count(value, least=0):
    """Whether a JSON value is a whole number that counts something."""
    return type(value) is int and least <= value <= _MOST


def is_number(value):
    """Whether a JSON value is a number that a float can hold."""
    return type(value) is float or (type(value) is int and abs(value) <= _MOST)


def is_time(value):
    """Whether a JSON value is a moment in the format of ISO 8601."""
    try:
        datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True
