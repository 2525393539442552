"""Cloud Storage for tests: one bucket in memory, and faults on demand.

The server is self-contained because what the tests need is what emulators
leave out. gcp-storage-emulator, for one, ignores every precondition, answers
one connection at a time, and lists without pages. With those rules in front
of it, it would be a second copy of the objects, to be kept in agreement with
the first.

One lock is held while a request is looked at and carried out, so that a
precondition and the change that depends on it are atomic, as in Cloud Storage.
A request that the server does not know is answered 501, which clients do not
retry.
"""

import contextlib
import dataclasses
import email
import http.server
import json
import re
import socket
import sys
import threading
import time
from urllib import parse

from tests.fakes.gcs_bucket import (
    Answer,
    Bucket,
    RefusedError,
    StoredObject,
    json_answer,
)

# Newer clients look up the bucket in the background as well, at some moment.
OBJECT_REQUESTS = "/b/[^/]+/o"
REASONS = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    412: "conditionNotMet",
    429: "rateLimitExceeded",
    501: "notImplemented",
    503: "backendError",
}


@dataclasses.dataclass
class Fault:
    """What happens to the next requests that match.

    `times` counts down; None is for ever. `status` None cuts the connection.
    `commits` tells whether the request takes effect all the same. `body` is
    what is answered in place of the JSON of an error with that `message`.
    """

    match: str
    times: int | None
    status: int | None
    commits: bool = False
    message: str = "A fault"
    body: bytes | None = None
    headers: dict = dataclasses.field(default_factory=dict)

    def answer(self):
        """Returns the `Answer`, None to close the connection."""
        if self.body is not None:
            return Answer(self.status, self.headers, self.body)
        return error_answer(self.status, self.message)


class Request:
    """A request with its whole body.

    `path` is unquoted and holds the name of the object, also that of an
    upload, which sends it in the body.
    """

    def __init__(self, method, url, headers, body):
        self.method, self.headers, self.body = method, headers, body
        self.path = parse.unquote(url)
        url = parse.urlsplit(url)
        self.params = dict(parse.parse_qsl(url.query, keep_blank_values=True))
        self.segments = [parse.unquote(s) for s in url.path.split("/")[1:]]
        self.is_upload = self.segments[0] == "upload"
        self.metadata, self.media = {}, b""
        if self.is_upload and method == "POST":
            self._split_upload()
            self.path += f"&name={self.metadata['name']}"

    def _split_upload(self):
        metadata = self.body
        content_type = self.headers["X-Upload-Content-Type"]
        if self.params["uploadType"] == "multipart":
            delimiter = b"\r\n--" + self.headers.get_boundary().encode()
            _, metadata, media, _ = (b"\r\n" + self.body).split(delimiter)
            metadata = metadata.partition(b"\r\n\r\n")[2]
            head, _, self.media = media.partition(b"\r\n\r\n")
            head = email.message_from_bytes(head.lstrip())
            content_type = head["Content-Type"]
        self.metadata = {"contentType": content_type, **json.loads(metadata)}


def paced(size, bytes_per_second):
    """Yields the sizes of pieces of `size` bytes, at that rate; 0: at once."""
    step = max(1, bytes_per_second // 20) if bytes_per_second else size
    while size > 0:
        piece = min(step, size)
        if bytes_per_second:
            time.sleep(piece / bytes_per_second)
        yield piece
        size -= piece


def error_answer(status, message):
    """Returns the JSON error of Cloud Storage; None, a cut, for no status."""
    if status is None:
        return None
    if status == http.HTTPStatus.NOT_MODIFIED:
        return Answer(status, {}, b"")
    detail = {"domain": "global", "message": message}
    detail["reason"] = REASONS.get(status, "error")
    error = {"code": status, "message": message, "errors": [detail]}
    return json_answer({"error": error}, status)


class Server(Bucket):
    """A bucket that answers requests, unless a fault is to come first.

    `match` is a regular expression on "METHOD path?query", unquoted, in which
    the name of the object always is: the query of an upload has `name=` last.
    The first fault that matches a request is the one that it meets.

    Attributes:
        address: For `STORAGE_EMULATOR_HOST`.
        name: The name of the bucket.
        page_size: The most that one page of a listing holds. Small, so that
            a client which stops after the first is found out.
        clock_offset_seconds: Added to the time in answers.
        held: How many requests wait for an answer that will not come.
        requests: (method, path) of each request that came whole.
        bytes_received: The bytes in the bodies of whole upload requests.
    """

    def __init__(self, name):
        super().__init__(name)
        self._lock = threading.RLock()
        self._outage = None
        self._released = threading.Condition(self._lock)
        self._held_match, self.held = None, 0
        self.forget_faults()
        self.reset_counters()

    def reset_counters(self):
        with self._lock:
            self.requests, self.bytes_received = [], 0

    def objects(self):
        """Returns the bytes of every object by name."""
        with self._lock:
            return {k: v.data for k, v in self._objects.items()}

    def write(self, name, data, owner=None):
        """Stores an object as another client would; returns its resource.

        `owner` is what its metadata say of the job that it is of.
        """
        metadata = {"vae-trainer-job": owner} if owner else {}
        with self._lock:
            return self.put(name, data, {"metadata": metadata})

    def resources(self):
        """Returns the resource of every object by name."""
        with self._lock:
            return {k: v.resource for k, v in self._objects.items()}

    def delete(self, name):
        with self._lock:
            del self._objects[name]

    def corrupt(self, name):
        """Flips a byte in the middle and leaves the checksums as they are."""
        with self._lock:
            resource, data = self._objects[name]
            data = bytearray(data)
            data[len(data) // 2] ^= 0xFF
            self._objects[name] = StoredObject(resource, bytes(data))

    def fail(self, status=503, times=1, match=OBJECT_REQUESTS, **answer):
        """Answers the next requests with an error; times=None: all.

        Of the answer a `message` can be given, or a whole `body` with its
        `headers`.
        """
        self._add(Fault(match, times, status, **answer))

    def drop(self, times=1, match=OBJECT_REQUESTS):
        """Takes no notice of the next requests: closes their connections."""
        self._add(Fault(match, times, None))

    def lose_answer(self, times=1, match=OBJECT_REQUESTS, status=503):
        """Does what is asked and then says `status`; None: says nothing."""
        self._add(Fault(match, times, status, commits=True))

    def slow(self, bytes_per_second, match=OBJECT_REQUESTS):
        """Reads bodies and sends answers at this rate.

        The name of an upload in one request is not known before it is read,
        so `match` sees only the URL here.
        """
        with self._lock:
            self._rates.append((match, bytes_per_second))

    def hold(self, match=OBJECT_REQUESTS):
        """Leaves requests without an answer until `release`, as `slow` sees it.

        They are then closed, and nothing of what they ask for is done.
        """
        with self._lock:
            self._held_match = match

    def release(self):
        """Lets go of all requests that are held."""
        with self._released:
            self._held_match = None
            self._released.notify_all()

    def wait_if_held(self, line):
        """Returns whether the request of a line was held, once it is not."""
        with self._released:
            if not (self._held_match and re.search(self._held_match, line)):
                return False
            self.held += 1
            self._released.wait_for(lambda: not self._held_match)
            self.held -= 1
            return True

    def outage(self, on, status=503):
        """Answers all requests with an error, or not at all with None."""
        with self._lock:
            self._outage = Fault("", None, status) if on else None

    def forget_faults(self):
        """Ends all faults but an outage."""
        with self._lock:
            self._faults, self._rates = [], []

    def _add(self, fault):
        with self._lock:
            self._faults.append(fault)

    def rate(self, line):
        """Returns the bytes per second for a request line; 0: no limit."""
        with self._lock:
            rates = [r for match, r in self._rates if re.search(match, line)]
            return min(rates, default=0)

    def answer(self, request):
        """Returns the `Answer` to a request, None to close the connection."""
        with self._lock:
            self.requests.append((request.method, request.path))
            self.bytes_received += request.is_upload * len(request.body)
            fault = self._outage or self._next_fault(request)
            if fault is None or fault.commits:
                try:
                    answer = self.carry_out(request)
                except RefusedError as refusal:
                    answer = error_answer(refusal.status, str(refusal))
            return fault.answer() if fault else answer

    def _next_fault(self, request):
        line = f"{request.method} {request.path}"
        for fault in self._faults:
            if fault.times != 0 and re.search(fault.match, line):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def handle_request(self):
        gcs = self.server.gcs
        line = f"{self.command} {parse.unquote(self.path)}"
        if gcs.wait_if_held(line):
            self.close_connection = True
            return
        rate = gcs.rate(line)
        size = int(self.headers.get("Content-Length", 0))
        body = b"".join(self.rfile.read(n) for n in paced(size, rate))
        answer = None
        # A client that dies while it sends has asked for nothing.
        if len(body) == size:
            request = (self.command, self.path, self.headers, body)
            try:
                answer = gcs.answer(Request(*request))
            except Exception as error:
                # A mistake here must not look like a fault to be retried.
                answer = error_answer(501, repr(error))
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for header in answer.headers.items():
            self.send_header(*header)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        start = 0
        for piece in paced(len(answer.body), rate):
            self.wfile.write(answer.body[start : start + piece])
            self.wfile.flush()
            start += piece

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_request  # noqa: N815

    def date_time_string(self, timestamp=None):
        return super().date_time_string(timestamp or self.server.gcs.now())

    def log_message(self, *_):
        """The tests look at `requests`."""


class _HTTPServer(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, gcs):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gcs, self._open = gcs, set()

    def process_request(self, connection, address):
        self._open.add(connection)
        super().process_request(connection, address)

    def shutdown_request(self, connection):
        self._open.discard(connection)
        super().shutdown_request(connection)

    def server_close(self):
        super().server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_):
        # Killed clients are what this server is for.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*_)


@contextlib.contextmanager
def serve(bucket="bucket"):
    """Yields a running `Server`."""
    server = Server(bucket)
    with _HTTPServer(server) as listener:
        server.address = f"http://127.0.0.1:{listener.server_port}"
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.release()
            listener.shutdown()
            thread.join()
