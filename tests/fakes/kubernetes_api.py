"""A Kubernetes API that kubectl can talk to: it keeps what it gets."""

import contextlib
import http.server
import json
import pathlib
import threading
from urllib import parse

from tests.tools.kubernetes_manifests import VERSIONS, check

# What it has: the kind of each resource, by API.
_RESOURCES = {
    "/api/v1": {"services": "Service", "pods": "Pod", "secrets": "Secret"},
    "/apis/apps/v1": {"deployments": "Deployment"},
    "/apis/batch/v1": {"jobs": "Job"},
    "/apis/networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
    "/apis/jobset.x-k8s.io/v1alpha2": {"jobsets": "JobSet"},
    "/apis/trainer.kubeflow.org/v1alpha1": {
        "trainjobs": "TrainJob",
        "trainingruntimes": "TrainingRuntime",
    },
}


class Api:
    """What a server holds, and how it was asked.

    Attributes:
        objects: dict of objects by path.
        requests: list of (method, path) of what was to change something.
        failure: None, or the (HTTP status, reason) of every answer.
        address: where it listens.
    """

    def __init__(self):
        self.objects = {}
        self.requests = []
        self.failure = None
        self.address = None

    def write_config(self, path):
        """Writes the configuration with which kubectl finds it."""
        cluster = {"name": "test", "cluster": {"server": self.address}}
        context = {"name": "test", "context": {"cluster": "test", "user": ""}}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "contexts": [context],
            "current-context": "test",
        }
        pathlib.Path(path).write_text(json.dumps(config))


@contextlib.contextmanager
def serve():
    """Yields the `Api` of a server on this machine."""
    api = Api()
    handler = type("Handler", (_Handler,), {"api": api})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    api.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        url = parse.urlsplit(self.path)
        path = url.path
        found = _discovery(path)
        if found is not None:
            self._answer(200, found)
        elif self.api.failure:
            self._fail(*self.api.failure)
        elif path in self.api.objects:
            self._answer(200, self.api.objects[path])
        elif path.rpartition("/")[2] in _kinds(path):
            kind = _kinds(path)[path.rpartition("/")[2]]
            base, _, _ = path.partition("/namespaces/")
            (selector,) = parse.parse_qs(url.query).get("labelSelector", [""])
            self._answer(
                200,
                {
                    "kind": f"{kind}List",
                    "apiVersion": base.removeprefix("/apis/").removeprefix(
                        "/api/"
                    ),
                    "items": self._matching(path, selector),
                },
            )
        else:
            self._fail(404, "NotFound")

    def _matching(self, path, selector):
        wanted = dict(pair.split("=") for pair in selector.split(",") if pair)
        return [
            item
            for name, item in self.api.objects.items()
            if name.startswith(f"{path}/")
            and wanted.items() <= item["metadata"]["labels"].items()
        ]

    def do_POST(self):
        url = parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.api.failure:
            self._fail(*self.api.failure)
            return
        self.api.requests.append(("POST", url.path))
        # Misspelt fields are refused, and not dropped in silence.
        assert parse.parse_qs(url.query)["fieldValidation"] == ["Strict"]
        item = json.loads(body)
        # kubectl's own, which tells it later what it applied.
        annotations = item["metadata"].pop("annotations")
        check(item, VERSIONS[-1])
        item["metadata"]["annotations"] = annotations
        self.api.objects[f"{url.path}/{item['metadata']['name']}"] = item
        self._answer(201, item)

    def do_PATCH(self):
        path = parse.urlsplit(self.path).path
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.api.requests.append(("PATCH", path))
        _merge(self.api.objects[path], json.loads(body))
        self._answer(200, self.api.objects[path])

    def do_DELETE(self):
        path = parse.urlsplit(self.path).path
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.api.requests.append(("DELETE", path))
        del self.api.objects[path]
        self._answer(200, {"kind": "Status", "status": "Success"})

    def _fail(self, code, reason):
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
        words = {"reason": reason, "message": "its own words", "code": code}
        self._answer(code, status | words)

    def _answer(self, code, content):
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _merge(item, patch):
    """Changes an object as a patch without lists says."""
    for name, value in patch.items():
        if isinstance(value, dict):
            _merge(item[name], value)
        else:
            item[name] = value


def _kinds(path):
    base = path.partition("/namespaces/")[0]
    return _RESOURCES.get(base, {})


def _discovery(path):
    """Returns the answer to a question about what the server has, or None."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [
            base.split("/")[2:] for base in _RESOURCES if "/apis/" in base
        ]
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {
                    "name": name,
                    "versions": [
                        {
                            "groupVersion": f"{name}/{version}",
                            "version": version,
                        }
                    ],
                }
                for name, version in groups
            ],
        }
    if path in _RESOURCES:
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": path.partition("/")[2].partition("/")[2],
            "resources": [
                {
                    "name": name,
                    "singularName": kind.lower(),
                    "namespaced": True,
                    "kind": kind,
                    "verbs": ["create", "delete", "get", "list", "patch"],
                }
                for name, kind in _RESOURCES[path].items()
            ],
        }
    if path == "/openapi/v3":
        return {
            "paths": {
                base[1:]: {"serverRelativeURL": f"/openapi/v3{base}"}
                for base in _RESOURCES
            }
        }
    base = path.removeprefix("/openapi/v3")
    if base != path and base in _RESOURCES:
        return _openapi(base)
    return None


def _openapi(base):
    """Says of each resource that the server can check its fields."""
    *_, group, version = base.split("/")
    return {
        "openapi": "3.0.0",
        "info": {"title": "test", "version": "1"},
        "paths": {
            f"{base}/namespaces/{{namespace}}/{name}/{{name}}": {
                "patch": {
                    "parameters": [{"name": "fieldValidation", "in": "query"}],
                    "responses": {},
                    "x-kubernetes-group-version-kind": {
                        "group": "" if group == "api" else group,
                        "version": version,
                        "kind": kind,
                    },
                }
            }
            for name, kind in _RESOURCES[base].items()
        },
    }
