"""Downloads from servers that are slow, silent or without end."""

import contextlib
import socketserver
import threading
import time

import pytest

from tests.tools.deadline import wait_until
from trainer.data import download as download_lib
from trainer.errors import DataError, DataUnavailableError, InterruptedJobError

NAME, MOST_BYTES = "train-images-idx3-ubyte.gz", 1 << 20
OK = b"HTTP/1.1 200 OK\r\n"


@contextlib.contextmanager
def serve(*pieces, seconds=0.01, again=False, stays=True):
    """Serves pieces, and the last one again and again, if it is told.

    A server that does not stay closes the connection after the pieces.

    Yields the address, and an event that is set when a client has come.
    """
    came, ended = threading.Event(), threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(1 << 16)
            came.set()
            with contextlib.suppress(OSError):  # The client has gone.
                for piece in pieces:
                    self.request.sendall(piece)
                while stays and not ended.wait(seconds):
                    if again:
                        self.request.sendall(pieces[-1])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", came
        finally:
            ended.set()
            server.shutdown()


def download(url, folder, console, stop):
    download_lib.download(
        url, NAME, MOST_BYTES, lambda *_: "is wrong", folder, console, stop
    )


SLOW = {
    "silent": ([], False),
    "a head without end": ([OK, b"X-More: 1\r\n"], True),
    "a trickle": ([OK + b"Content-Length: 1000000\r\n\r\n", b"1234"], True),
}


@pytest.mark.parametrize("case", SLOW)
def test_a_stop_signal_ends_a_download_from_a_slow_server(
    case, tmp_path, console, stop
):
    pieces, again = SLOW[case]
    with serve(*pieces, again=again, seconds=0.05) as (url, came):

        def request_stop():
            wait_until(came.is_set)
            time.sleep(0.2)
            stop.request("SIGHUP")

        threading.Thread(target=request_stop, daemon=True).start()
        started = time.monotonic()
        with pytest.raises(InterruptedJobError, match="Interrupted by SIGHUP"):
            download(url, tmp_path, console, stop)
        # The server is waited for for 20 seconds, but not by this thread.
        assert time.monotonic() - started < 15
    assert list(tmp_path.iterdir()) == []


LONG = {
    "it says so": b"Content-Length: 1048577\r\n\r\n",
    "it does not say": b"\r\n",
}


@pytest.mark.parametrize("case", LONG)
def test_a_download_without_end_is_refused(case, tmp_path, console, stop):
    pieces = (OK + LONG[case], bytes(1 << 16))
    with (
        serve(*pieces, again=True, seconds=0) as (url, _),
        pytest.raises(DataError, match="has more than 1,048,576 bytes"),
    ):
        download(url, tmp_path, console, stop)
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_is_too_slow_is_given_up_in_the_end(
    tmp_path, console, stop, monkeypatch
):
    monkeypatch.setattr(download_lib, "_LONGEST_SECONDS", 0.36)
    pieces = (OK + b"Content-Length: 1000000\r\n\r\n", b"1234")
    with (
        serve(*pieces, again=True) as (url, _),
        pytest.raises(DataUnavailableError, match=r"longer than 0\.0001 hours"),
    ):
        download(url, tmp_path, console, stop)


@pytest.mark.parametrize("length", ["-1", "many", "9" * 5000])
def test_a_length_that_is_none_is_not_believed(length, tmp_path, console, stop):
    head = OK + f"Content-Length: {length}\r\n\r\n".encode()
    with (
        serve(head + b"<html>", stays=False) as (url, _),
        pytest.raises(DataError),
    ):
        download(url, tmp_path, console, stop)
