"""Downloads a dataset's files from a web server, each verified."""

import queue
import re
import threading
import time

from trainer import files
from trainer.errors import DataError, DataUnavailableError

_CONNECT_TIMEOUT_SECONDS, _READ_TIMEOUT_SECONDS = 10, 20
# In a day a link of 2 KB/s, slow but alive, brings the largest file.
_LONGEST_SECONDS = 24 * 3600
_PIECE_BYTES = 1 << 14
_STOP_CHECK_SECONDS = 0.1


def download(url, name, most_bytes, fault_of, folder, console, stop):
    """Downloads `url`/`name` into `folder`, verified, whole or not at all.

    Args:
        url: str, the folder of the file on the server.
        name: str, that of the file.
        most_bytes: int, no more than this is ever read.
        fault_of: function of the bytes and of what to call them in errors,
            which returns what is wrong with them, or None; or raises
            `DataError`.
        folder: `pathlib.Path`, which is made if it is not there.
        console: a `Console`, for the progress.
        stop: a `StopSignal`, checked during the download.

    Raises:
        DataUnavailableError: the server cannot be reached or says no.
        DataError: what came is not the file that was published.
    """
    # Imported here: most runs download nothing.
    import requests

    address = f"{url.rstrip('/')}/{name}"
    try:
        content = _fetch(requests, address, most_bytes, console, stop)
    except requests.RequestException as error:
        raise DataUnavailableError(
            f"Could not download {address} ({_reason(error)}); check the "
            "network, or give a folder that has the files with --data_dir."
        ) from error
    if fault := fault_of(content, address):
        raise DataError(
            f"{address} {fault}; nothing was kept. Try another --data_url."
        )
    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomically(folder / name, content)


def _fetch(requests, address, most_bytes, console, stop):
    """Returns what a server sends.

    A thread of its own waits for the server: for its address, its answer and
    each byte that trickles in. This one waits for the stop signal too.
    """
    pieces, given_up = queue.SimpleQueue(), threading.Event()
    threading.Thread(
        target=_receive,
        args=(requests, address, most_bytes, pieces, given_up),
        name="download",
        daemon=True,
    ).start()
    try:
        return _collect(requests, address, most_bytes, pieces, console, stop)
    finally:
        given_up.set()


def _receive(requests, address, most_bytes, pieces, given_up):
    """Puts the length and the pieces, then None; or the error."""
    try:
        with requests.get(
            address,
            stream=True,
            timeout=(_CONNECT_TIMEOUT_SECONDS, _READ_TIMEOUT_SECONDS),
            headers={"Accept-Encoding": "identity"},
        ) as response:
            response.raise_for_status()
            length = response.headers.get("Content-Length", "")
            pieces.put(int(length) if re.fullmatch(r"\d{1,18}", length) else 0)
            left = most_bytes
            for piece in response.iter_content(_PIECE_BYTES):
                pieces.put(piece)
                left -= len(piece)
                if left < 0 or given_up.is_set():
                    return
        pieces.put(None)
    except Exception as error:
        pieces.put(error)


def _collect(requests, address, most_bytes, pieces, console, stop):
    end = time.monotonic() + _LONGEST_SECONDS

    def next_piece():
        while True:
            stop.check()
            if time.monotonic() > end:
                raise requests.Timeout(
                    f"it took longer than {_LONGEST_SECONDS / 3600:g} hours"
                )
            try:
                piece = pieces.get(timeout=_STOP_CHECK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(piece, Exception):
                raise piece
            return piece

    # The largest file is 170 MB: memory is a fine place for an unverified one.
    content = bytearray()
    total = next_piece()
    _refuse_length(address, total, most_bytes)
    name = address.rpartition("/")[2]
    with console.byte_bar(f"Downloading {name}", total) as advance:
        while (piece := next_piece()) is not None:
            content += piece
            _refuse_length(address, len(content), most_bytes)
            advance(len(piece))
    if total and len(content) != total:
        raise requests.ConnectionError(
            f"the connection was cut after {len(content)} of {total} bytes"
        )
    return bytes(content)


def _refuse_length(address, length, most_bytes):
    if length > most_bytes:
        raise DataError(
            f"{address} has more than {most_bytes:,} bytes, which is more than "
            "was published; nothing was kept. Try another --data_url."
        )


def _reason(error):
    """The innermost reason: requests and urllib3 nest theirs deeply."""
    reason = error
    while reason.args and isinstance(reason.args[-1], BaseException):
        reason = reason.args[-1]
    inner = getattr(reason, "reason", None)
    return str(inner) if isinstance(inner, BaseException) else str(reason)
