"""Downloads a dataset's files from a web server, each verified."""

import hashlib
import queue
import re
import threading
import time

from trainer import files
from trainer.data import idx
from trainer.errors import DataError, DataUnavailableError

_CONNECT_TIMEOUT_SECONDS, _READ_TIMEOUT_SECONDS = 10, 20
# In a day a link of 310 bytes/s, slow but alive, brings the largest file.
_LONGEST_SECONDS = 24 * 3600
# Of that file, train-images-idx3-ubyte.gz.
_PUBLISHED_BYTES = 26_421_880
# A mirror may pack it less well; no more than this is ever read.
_MOST_BYTES = 4 * _PUBLISHED_BYTES
_PIECE_BYTES = 1 << 14
_STOP_CHECK_SECONDS = 0.1


def download(url, name, md5, folder, console, stop):
    """Downloads `url`/`name`.gz into `folder`, verified, whole or not at all.

    Args:
        url: str, the folder of the file on the server.
        name: str, that of the decompressed file.
        md5: str, of the decompressed file.
        folder: `pathlib.Path`, which is made if it is not there.
        console: a `Console`, for the progress.
        stop: a `StopSignal`, checked during the download.

    Raises:
        DataUnavailableError: the server cannot be reached or says no.
        DataError: what came is not the file that was published.
    """
    # Imported here: most runs download nothing.
    import requests

    address = f"{url.rstrip('/')}/{name}.gz"
    try:
        content = _fetch(requests, address, name, console, stop)
    except requests.RequestException as error:
        raise DataUnavailableError(
            f"Could not download {address} ({_reason(error)}); check the "
            "network, or give a folder that has the files with --data_dir."
        ) from error
    found = hashlib.md5(idx.decompress(content, address)).hexdigest()
    if found != md5:
        raise DataError(
            f"{address} has the wrong checksum (MD5 of the decompressed file: "
            f"found {found}, expected {md5}); nothing was "
            "kept. Try another --data_url."
        )
    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomically(folder / f"{name}.gz", content)


def _fetch(requests, address, name, console, stop):
    """Returns what a server sends.

    A thread of its own waits for the server: for its address, its answer and
    each byte that trickles in. This one waits for the stop signal too.
    """
    pieces, given_up = queue.SimpleQueue(), threading.Event()
    threading.Thread(
        target=_receive,
        args=(requests, address, pieces, given_up),
        name="download",
        daemon=True,
    ).start()
    try:
        return _collect(requests, address, name, pieces, console, stop)
    finally:
        given_up.set()


def _receive(requests, address, pieces, given_up):
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
            left = _MOST_BYTES
            for piece in response.iter_content(_PIECE_BYTES):
                pieces.put(piece)
                left -= len(piece)
                if left < 0 or given_up.is_set():
                    return
        pieces.put(None)
    except Exception as error:
        pieces.put(error)


def _collect(requests, address, name, pieces, console, stop):
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

    # The largest file is 26 MB: memory is a fine place for an unverified one.
    content = bytearray()
    total = next_piece()
    _refuse_length(address, total)
    with console.byte_bar(f"Downloading {name}", total) as advance:
        while (piece := next_piece()) is not None:
            content += piece
            _refuse_length(address, len(content))
            advance(len(piece))
    if total and len(content) != total:
        raise requests.ConnectionError(
            f"the connection was cut after {len(content)} of {total} bytes"
        )
    return bytes(content)


def _refuse_length(address, length):
    if length > _MOST_BYTES:
        raise DataError(
            f"{address} has more than {_MOST_BYTES:,} bytes, four times the "
            "largest file that was published; nothing was kept. Try another "
            "--data_url."
        )


def _reason(error):
    """The innermost reason: requests and urllib3 nest theirs deeply."""
    reason = error
    while reason.args and isinstance(reason.args[-1], BaseException):
        reason = reason.args[-1]
    inner = getattr(reason, "reason", None)
    return str(inner) if isinstance(inner, BaseException) else str(reason)
