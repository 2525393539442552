"""Vertex AI for tests: the calls that `vae-submit` makes, on this machine.

It reads the body of a new job as the real service would: into the API's own
type, where a field that does not exist is an error.
"""

import contextlib
import http.server
import json
import re
import threading
from urllib import parse

from google.cloud import aiplatform_v1
from google.protobuf import json_format

COLLECTIONS = {
    "customJobs": aiplatform_v1.CustomJob,
    "hyperparameterTuningJobs": aiplatform_v1.HyperparameterTuningJob,
}
PATH = re.compile(
    r"/v1/(?P<parent>projects/[^/]+/locations/[^/]+)/(?P<collection>\w+)"
    r"(?:/(?P<number>\d+))?(?::(?P<action>\w+))?(?:\?(?P<query>.*))?"
)
# What a filter of the tests may say: that fields have values.
TERM = re.compile(r'(?P<name>[\w.]+)="?(?P<value>[^"]*?)"?')


class Server:
    """Jobs in memory.

    Attributes:
        address: for `--api_endpoint`.
        requests: (method, path) of each request.
        credentials: the `Authorization` header of each request, or None.
        jobs: {resource name: message of the API}.
        failure: (status, message) that answers all requests, or None.
    """

    def __init__(self):
        self.requests, self.credentials, self.jobs = [], [], {}
        self.failure = None

    def answer(self, method, path, body):
        """Returns the HTTP status and the JSON of an answer."""
        self.requests.append((method, path))
        if self.failure:
            return error(*self.failure)
        parts = PATH.fullmatch(path)
        collection = f"{parts['parent']}/{parts['collection']}"
        if method == "GET" and not parts["number"]:
            return 200, self._list(collection, parts["query"] or "")
        if method == "POST" and not parts["number"]:
            job = COLLECTIONS[parts["collection"]]()
            try:
                json_format.Parse(body, job._pb, ignore_unknown_fields=False)
            except json_format.ParseError as refusal:
                return error(400, str(refusal))
            job.name = f"{collection}/{len(self.jobs) + 1}"
            job.state = aiplatform_v1.JobState.JOB_STATE_PENDING
            self.jobs[job.name] = job
            return 200, json.loads(type(job).to_json(job))
        name = f"{collection}/{parts['number']}"
        if name not in self.jobs:
            return error(404, f"{name} does not exist.")
        job = self.jobs[name]
        if parts["action"] == "cancel":
            job.state = aiplatform_v1.JobState.JOB_STATE_CANCELLING
            return 200, {}
        return 200, json.loads(type(job).to_json(job))

    def _list(self, collection, query):
        """Returns a page of one job, which the next one follows."""
        query = dict(parse.parse_qsl(query))
        terms = [
            TERM.fullmatch(term) for term in query["filter"].split(" AND ")
        ]
        found = [
            job
            for name, job in self.jobs.items()
            if name.startswith(f"{collection}/")
            and all(_value(job, t["name"]) == t["value"] for t in terms)
        ]
        at = int(query.get("pageToken", 0))
        page = [json.loads(type(job).to_json(job)) for job in found[at:][:1]]
        field = collection.rpartition("/")[2]
        rest = {"nextPageToken": str(at + 1)} if found[at + 1 :] else {}
        return {field: page} | rest


def _value(job, name):
    if name.startswith("labels."):
        return job.labels.get(name.removeprefix("labels."))
    return getattr(job, name)


def error(status, message):
    return status, {"error": {"code": status, "message": message}}


class _Handler(http.server.BaseHTTPRequestHandler):
    def handle_request(self):
        api = self.server.api
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        api.credentials.append(self.headers.get("Authorization"))
        status, answer = api.answer(self.command, self.path, body)
        answer = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_DELETE = handle_request  # noqa: N815

    def log_message(self, *_):
        """The tests look at `requests`."""


@contextlib.contextmanager
def serve():
    """Yields a running `Server`."""
    api = Server()
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), _Handler
    ) as listener:
        listener.api = api
        api.address = f"http://127.0.0.1:{listener.server_port}"
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield api
        finally:
            listener.shutdown()
            thread.join()
