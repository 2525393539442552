"""The rules of Cloud Storage, for one bucket that is held in memory."""

import base64
import collections
import datetime
import hashlib
import itertools
import json
import re
import time
from urllib import parse

import google_crc32c

MD5 = "md5Hash"
JSON_KEYS = {"crc32c": "crc32c", "md5": MD5}  # of what headers call them
OCTETS = "application/octet-stream"
CHUNK_MULTIPLE = 256 * 1024
MAX_COMPOSE_SOURCES = 32
# What a request may ask for. Of these the server ignores the form of answers.
PARAMETERS = re.compile(
    r"alt|delimiter|fields|maxResults|name|pageToken|prefix|prettyPrint"
    r"|projection|uploadType|upload_id|generation|sourceGeneration"
    r"|if(Source)?(Metag|G)eneration(Not)?Match"
)
Answer = collections.namedtuple("Answer", "status headers body")
StoredObject = collections.namedtuple("StoredObject", "resource data")


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def crc32c(data):
    """Returns the checksum as Cloud Storage writes it."""
    digest = google_crc32c.value(data).to_bytes(4, "big")
    return base64.b64encode(digest).decode()


def md5(data):
    """Returns the MD5 as Cloud Storage writes it."""
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def check_sums(data, claimed):
    """Refuses data that are not what the client says that they are."""
    for key, value in (("crc32c", crc32c(data)), (MD5, md5(data))):
        if claimed.get(key, value) != value:
            raise RefusedError(400, f"{key} {claimed[key]} is not {value}.")


def json_answer(content, status=200):
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    return Answer(status, headers, json.dumps(content).encode())


def check_preconditions(params, found, prefix="if", unchanged=412):
    """Refuses unless the preconditions hold for the object, None if absent.

    `unchanged` is the status for a ...NotMatch that does not hold.
    """
    resource = found.resource if found else {"generation": 0}
    for key in ("generation", "metageneration"):
        match = f"{prefix}{key.title()}Match"
        not_match = f"{prefix}{key.title()}NotMatch"
        value = int(resource.get(key, -1))
        if match in params and int(params[match]) != value:
            raise RefusedError(412, f"{match} does not hold: it is {value}.")
        # Of an object that is not there this does not hold either.
        if not_match in params and (
            found is None or int(params[not_match]) == value
        ):
            raise RefusedError(unchanged, f"{not_match} does not hold.")


class Bucket:
    """The objects, and what one request can do to them."""

    def __init__(self, name):
        self.name = name
        self.address = None
        self._objects = {}
        self.page_size = 5
        self.clock_offset_seconds = 0
        self._uploads = {}
        # As large as real ones, which do not fit in 32 bits.
        self._generations = itertools.count(1_700_000_000_000_001)

    def now(self):
        return time.time() + self.clock_offset_seconds

    def find(self, name, generation=None, params=(), **options):
        """Returns the live object, if it is there and as asked for."""
        found = self._objects.get(name)
        if found is None or (
            generation is not None
            and str(generation) != found.resource["generation"]
        ):
            raise RefusedError(404, f"No such object: {self.name}/{name}")
        check_preconditions(params, found, **options)
        return found

    def put(self, name, data, metadata, params=(), components=0):
        """Stores an object; returns its resource."""
        check_preconditions(params, self._objects.get(name))
        if components:
            sums = {"crc32c": crc32c(data), "componentCount": components}
        else:
            sums = {"crc32c": crc32c(data), MD5: md5(data)}
        generation = str(next(self._generations))
        now = datetime.datetime.fromtimestamp(self.now(), datetime.timezone.utc)
        now = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        resource = {
            "kind": "storage#object",
            "id": f"{self.name}/{name}/{generation}",
            "name": name,
            "bucket": self.name,
            "generation": generation,
            "metageneration": "1",
            "contentType": metadata.get("contentType") or OCTETS,
            "metadata": metadata.get("metadata") or {},
            "size": str(len(data)),
            **sums,
            "storageClass": "STANDARD",
            "timeCreated": now,
            "updated": now,
            "etag": base64.b64encode(generation.encode()).decode(),
        }
        self._objects[name] = StoredObject(resource, data)
        return resource

    def carry_out(self, request):
        """Returns the `Answer` to a request, or raises `RefusedError`."""
        params = request.params
        if unknown := [p for p in params if not PARAMETERS.fullmatch(p)]:
            raise RefusedError(501, f"Parameters {unknown} are not known")
        area = request.segments[0]
        segments = request.segments[area in ("upload", "download") :]
        match segments:
            case ["storage", "v1", "b", name, *target]:
                self._check_bucket(name)
            case _:
                target = ["unknown"]
        match request.method, area, target:
            case "GET", "storage", []:
                kind = "storage#bucket"
                return json_answer({"kind": kind, "name": self.name})
            case "GET", "storage", ["o"]:
                return json_answer(self._list(params))
            case "GET", _, ["o", name]:
                return self._get(name, params, request.headers)
            case "DELETE", "storage", ["o", name]:
                self.find(name, params.get("generation"), params)
                del self._objects[name]
                return Answer(204, {}, b"")
            case "PATCH", "storage", ["o", name]:
                return self._patch(name, params, json.loads(request.body))
            case "POST", "upload", ["o"]:
                return self._upload(request)
            case "PUT", "upload", ["o"]:
                return self._continue_upload(request)
            case "POST", "storage", ["o", name, "compose"]:
                return self._compose(name, params, json.loads(request.body))
            case "POST", "storage", ["o", source, how, "b", bucket, "o", name]:
                self._check_bucket(bucket)
                resource = self._copy(source, name, request)
                if how == "copyTo":
                    return json_answer(resource)
                if how == "rewriteTo":
                    size = resource["size"]
                    rewritten = {"totalBytesRewritten": size, "done": True}
                    rewritten.update(objectSize=size, resource=resource)
                    return json_answer(rewritten)
        raise RefusedError(501, f"{request.method} {request.path} is not known")

    def _patch(self, name, params, changes):
        """Changes the metadata of an object, but not its generation."""
        resource, data = self.find(name, params.get("generation"), params)
        metadata = resource["metadata"] | changes.get("metadata", {})
        number = str(int(resource["metageneration"]) + 1)
        resource = resource | {"metadata": metadata, "metageneration": number}
        self._objects[name] = StoredObject(resource, data)
        return json_answer(resource)

    def _check_bucket(self, name):
        if name != self.name:
            raise RefusedError(404, "The specified bucket does not exist.")

    def _list(self, params):
        prefix, delimiter = params.get("prefix", ""), params.get("delimiter")
        entries = {}
        for name in sorted(self._objects):
            if not name.startswith(prefix):
                continue
            head, found, _ = name[len(prefix) :].partition(delimiter or "\0")
            if found:
                entries[prefix + head + found] = None
            else:
                entries[name] = self._objects[name].resource
        # The token is a place, not a number: objects come and go meanwhile.
        token = base64.b64decode(params.get("pageToken", "")).decode()
        names = [name for name in sorted(entries) if name > token]
        limit = int(params.get("maxResults") or self.page_size)
        page = names[: min(limit, self.page_size)]
        listing = {
            "kind": "storage#objects",
            "items": [entries[name] for name in page if entries[name]],
            "prefixes": [name for name in page if not entries[name]],
        }
        if len(page) < len(names):
            token = base64.b64encode(page[-1].encode()).decode()
            listing["nextPageToken"] = token
        return {key: value for key, value in listing.items() if value}

    def _get(self, name, params, headers):
        found = self.find(name, params.get("generation"), params, unchanged=304)
        resource, data = found
        if params.get("alt") != "media":
            return json_answer(resource)
        sums = ",".join(
            f"{header}={resource[key]}"
            for header, key in JSON_KEYS.items()
            if key in resource
        )
        encoding = resource.get("contentEncoding")
        answer_headers = {
            **({"Content-Encoding": encoding} if encoding else {}),
            "Content-Type": resource["contentType"],
            "ETag": resource["etag"],
            "x-goog-generation": resource["generation"],
            "x-goog-metageneration": resource["metageneration"],
            "x-goog-hash": sums,
            "x-goog-stored-content-encoding": encoding or "identity",
            "x-goog-stored-content-length": str(len(data)),
        }
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("Range", ""))
        if not span:
            return Answer(200, answer_headers, data)
        first, last = span.groups()
        if not first:
            first, last = max(0, len(data) - int(last)), ""
        first, last = int(first), min(int(last or len(data)), len(data) - 1)
        if first >= len(data):
            raise RefusedError(416, "The requested range is not there.")
        answer_headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return Answer(206, answer_headers, data[first : last + 1])

    def _upload(self, request):
        name, params = request.metadata["name"], request.params
        if params["uploadType"] == "multipart":
            check_sums(request.media, request.metadata)
            resource = self.put(name, request.media, request.metadata, params)
            return json_answer(resource)
        token = f"upload-{len(self._uploads)}"
        self._uploads[token] = {"start": request, "data": bytearray()}
        query = {"uploadType": "resumable", "upload_id": token, "name": name}
        path = f"/upload/storage/v1/b/{self.name}/o?{parse.urlencode(query)}"
        return Answer(200, {"Location": self.address + path}, b"")

    def _continue_upload(self, request):
        if request.params.get("upload_id") not in self._uploads:
            raise RefusedError(404, "No such upload.")
        upload = self._uploads[request.params["upload_id"]]
        if "resource" in upload:
            return json_answer(upload["resource"])
        start, data = upload["start"], upload["data"]
        first, _, total = re.fullmatch(
            r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)",
            request.headers["Content-Range"],
        ).groups()
        if first is not None:
            if int(first) > len(data):
                raise RefusedError(400, f"Byte {len(data)} comes next.")
            # What is sent twice is kept as it came first.
            data += request.body[len(data) - int(first) :]
        if total != "*" and len(data) > int(total):
            raise RefusedError(400, f"There are more than {total} bytes.")
        if total != "*" and len(data) == int(total):
            data = bytes(data)
            check_sums(data, start.metadata)
            sums = request.headers.get("x-goog-hash", "")
            sums = dict(re.findall(r"(crc32c|md5)=([^,]+)", sums))
            check_sums(data, {JSON_KEYS[k]: v for k, v in sums.items()})
            name = start.metadata["name"]
            upload["resource"] = self.put(
                name, data, start.metadata, start.params
            )
            return json_answer(upload["resource"])
        if len(request.body) % CHUNK_MULTIPLE:
            raise RefusedError(
                400, f"A chunk is a multiple of {CHUNK_MULTIPLE}."
            )
        headers = {"Range": f"bytes=0-{len(data) - 1}"} if data else {}
        return Answer(308, headers, b"")

    def _compose(self, name, params, body):
        if not 1 <= len(body["sourceObjects"]) <= MAX_COMPOSE_SOURCES:
            raise RefusedError(
                400, f"1 to {MAX_COMPOSE_SOURCES} can be composed."
            )
        sources = [
            self.find(
                source["name"],
                source.get("generation"),
                source.get("objectPreconditions", {}),
            )
            for source in body["sourceObjects"]
        ]
        data = b"".join(source.data for source in sources)
        count = sum(s.resource.get("componentCount", 1) for s in sources)
        metadata = body.get("destination", {})
        return json_answer(self.put(name, data, metadata, params, count))

    def _copy(self, source, name, request):
        params = request.params
        resource, data = self.find(
            source, params.get("sourceGeneration"), params, prefix="ifSource"
        )
        metadata = {**resource, **json.loads(request.body or b"{}")}
        components = resource.get("componentCount", 0)
        return self.put(name, data, metadata, params, components)
