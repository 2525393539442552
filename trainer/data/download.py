"""Downloads a dataset's files from a web server, each verified."""

import hashlib

from trainer import files
from trainer.data import idx
from trainer.errors import DataError, DataUnavailableError

_CONNECT_TIMEOUT_SECONDS, _READ_TIMEOUT_SECONDS = 10, 20
_CHUNK_BYTES = 1 << 18


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
    files.remove_unfinished(folder)
    files.write_atomically(folder / f"{name}.gz", content)


def _fetch(requests, address, name, console, stop):
    # The largest file is 26 MB: memory is a fine place for an unverified one.
    content = bytearray()
    with requests.get(
        address,
        stream=True,
        timeout=(_CONNECT_TIMEOUT_SECONDS, _READ_TIMEOUT_SECONDS),
        headers={"Accept-Encoding": "identity"},
    ) as response:
        response.raise_for_status()
        total = int(response.headers.get("Content-Length", 0))
        with console.byte_bar(f"Downloading {name}", total) as advance:
            for chunk in response.iter_content(_CHUNK_BYTES):
                stop.check()
                content += chunk
                advance(len(chunk))
        if total and len(content) != total:
            raise requests.ConnectionError(
                f"the connection was cut after {len(content)} of {total} bytes"
            )
    return bytes(content)


def _reason(error):
    """The innermost reason: requests and urllib3 nest theirs deeply."""
    reason = error
    while reason.args and isinstance(reason.args[-1], BaseException):
        reason = reason.args[-1]
    inner = getattr(reason, "reason", None)
    return str(inner) if isinstance(inner, BaseException) else str(reason)
