"""What each answer of Cloud Storage means for each call of `ObjectStore`.

One table, `TABLE`: whether the client tries again, what the job does in the
end, and what it says. What it does not know is refused.

The statuses are those of
https://cloud.google.com/storage/docs/json_api/v1/status-codes; which of them
pass by themselves is said in
https://cloud.google.com/storage/docs/retry-strategy.
"""

import contextlib
import dataclasses
import enum
import http.client
import ssl

import requests
import urllib3
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from trainer.errors import JobDirError, StorageUnavailableError

_SHOWN_CHARACTERS = 200


class ObjectChangedError(JobDirError):
    """An object is not the one that this job wrote or read last."""


class Call(enum.Enum):
    """A call of `ObjectStore`; the value is what a message calls it."""

    SIGN_IN = "signing in to"
    LIST = "listing"
    READ = "reading"
    LOOK = "looking at"
    WRITE = "writing"
    MARK = "marking"
    APPEND = "appending to"
    DELETE = "deleting"


class Outcome(enum.Enum):
    """What becomes of an answer; the value is what `docs/bucket.md` says."""

    RETRIED = "tried again until `--storage_timeout_seconds`, then exit code 75"
    LATER = "exit code 75"
    REFUSED = "exit code 1"
    CHANGED = "exit code 1, the object was changed, deleted or damaged"
    OURS = "fine if the object is what was written, else exit code 1"
    ABSENT = "fine, the object is not there"


_ERRORS = {
    Outcome.RETRIED: StorageUnavailableError,
    Outcome.LATER: StorageUnavailableError,
    Outcome.REFUSED: JobDirError,
    Outcome.CHANGED: ObjectChangedError,
    Outcome.OURS: ObjectChangedError,
}


@dataclasses.dataclass(frozen=True)
class Row:
    """What some answers to some calls mean.

    Attributes:
        answers: tuple of str, statuses or the names below.
        calls: tuple of `Call`.
        outcome: an `Outcome`.
        sentence: str, for the user, with `doing`, `place`, `bucket` and
            `said` to be filled in; empty where nothing is said.
    """

    answers: tuple
    calls: tuple
    outcome: Outcome
    sentence: str = ""

    def error(self, **fields):
        """Returns the `TrainerError` that ends the call."""
        return _ERRORS[self.outcome](self.sentence.format(**fields))


# Answers that are no status, or more than one.
BUCKET_MISSING = "404 for the bucket"
UPLOAD_LOST = "404, 410 or 499 for an upload in parts"
REDIRECTED = "another 3xx"
SERVER_FAILED = "another 5xx"
UNKNOWN = "any other status"
NO_ANSWER = "no answer"
NO_CREDENTIALS = "no valid credentials"
BAD_CERTIFICATE = "a certificate that cannot be verified"
BAD_ADDRESS = "an address that cannot be asked"
BAD_FORM = "an answer of another form"
BAD_CHECKSUM = "other bytes than the checksum says"

_EVERY = tuple(Call)
_WRITES = (Call.WRITE, Call.APPEND)
_CHANGED = (
    "{place} was changed or deleted by somebody else while this job was using "
    "it; make sure that only one job writes there, and run the same command "
    "again."
)
_UNREACHABLE = (
    "The bucket could not be reached when {doing} {place} ({said}); run the "
    "same command again when it can be."
)
_UNEXPECTED = (
    "The bucket gave an answer that is not expected when {doing} {place} "
    "({said}); find out whether a proxy answers in its place, and whether the "
    "address in STORAGE_EMULATOR_HOST, if there is one, is that of a Cloud "
    "Storage server."
)

# Each answer to each call is in one row.
TABLE = (
    Row(
        ("400", "405", "411", "413", "416", "501"),
        _EVERY,
        Outcome.REFUSED,
        "The bucket does not accept the request of {doing} {place} ({said}), "
        "and would not do so later; correct what it names.",
    ),
    Row(
        ("401", NO_CREDENTIALS),
        _EVERY,
        Outcome.REFUSED,
        "Not signed in for {place} ({said}); sign in with `gcloud auth "
        "application-default login`, or give the machine a service account, "
        "and run the same command again.",
    ),
    Row(
        ("403",),
        _EVERY,
        Outcome.REFUSED,
        "Permission denied when {doing} {place} ({said}); give this account "
        "the role roles/storage.objectUser on the bucket, and run the same "
        "command again.",
    ),
    Row(
        (BUCKET_MISSING,),
        _EVERY,
        Outcome.REFUSED,
        "There is no bucket {bucket}; make it, or give another one.",
    ),
    Row(
        ("404",),
        (Call.SIGN_IN, Call.LIST, Call.WRITE),
        Outcome.REFUSED,
        "Nothing was found when {doing} {place} ({said}), which needs no more "
        "than the bucket {bucket}; make it, or give another one.",
    ),
    Row(("404",), (Call.LOOK, Call.DELETE), Outcome.ABSENT),
    Row(
        ("404",),
        (Call.READ, Call.MARK, Call.APPEND),
        Outcome.CHANGED,
        _CHANGED,
    ),
    Row(
        (UPLOAD_LOST,),
        _EVERY,
        Outcome.LATER,
        "The bucket gave up the upload of {place} before it was whole "
        "({said}); run the same command again.",
    ),
    Row(("409", "412"), _WRITES, Outcome.OURS, _CHANGED),
    Row(
        ("409", "412"),
        (Call.READ, Call.MARK, Call.DELETE),
        Outcome.CHANGED,
        _CHANGED,
    ),
    Row(
        ("408", "429", "500", "502", "503", "504", SERVER_FAILED, NO_ANSWER),
        _EVERY,
        Outcome.RETRIED,
        _UNREACHABLE,
    ),
    Row(
        (BAD_CERTIFICATE,),
        _EVERY,
        Outcome.REFUSED,
        "The certificate of the server cannot be verified when {doing} "
        "{place} ({said}); set the clock of this machine, and give it the "
        "certificates of the proxy in between, if there is one.",
    ),
    Row(
        (BAD_CHECKSUM,),
        _EVERY,
        Outcome.CHANGED,
        "{place} does not have the checksum that the bucket gives for it "
        "({said}); it is damaged. Restore it, or remove it.",
    ),
    Row(
        ("409", "412"),
        (Call.SIGN_IN, Call.LIST, Call.LOOK),
        Outcome.REFUSED,
        _UNEXPECTED,
    ),
    Row(
        (REDIRECTED, UNKNOWN, BAD_ADDRESS, BAD_FORM),
        _EVERY,
        Outcome.REFUSED,
        _UNEXPECTED,
    ),
)
_STATUSES = {
    answer for row in TABLE for answer in row.answers if answer.isdigit()
}
_OF_AN_UPLOAD = (404, 410, 499)
_TRANSPORT_ERRORS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    ConnectionError,
    TimeoutError,
    http.client.HTTPException,
    urllib3.exceptions.PoolError,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.SSLError,
    urllib3.exceptions.TimeoutError,
    auth_exceptions.TransportError,
)
# What the client raises when it reads JSON that is not what it expects.
_FORM_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def row(call, answer):
    """Returns the `Row` of an answer to a `Call`."""
    return next(
        row for row in TABLE if answer in row.answers and call in row.calls
    )


def of(error):
    """Returns the name of the answer that made the client raise an error.

    Args:
        error: an exception.

    Returns:
        str as in `Row.answers`; None for what has nothing to do with answers.
    """
    if isinstance(error, api_exceptions.RetryError):
        return of(error.cause)
    if isinstance(error, DataCorruption):
        return BAD_CHECKSUM
    if isinstance(error, InvalidResponse):
        return _of_status(error.response.status_code, error, error.response)
    if isinstance(error, api_exceptions.GoogleAPICallError):
        return _of_status(error.code, error, error.response)
    if _chain_has(error, ssl.SSLCertVerificationError):
        return BAD_CERTIFICATE
    if isinstance(error, _TRANSPORT_ERRORS):
        return NO_ANSWER
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return NO_ANSWER if error.retryable else NO_CREDENTIALS
    if isinstance(
        error,
        (
            requests.exceptions.InvalidJSONError,
            requests.exceptions.ContentDecodingError,
        ),
    ):
        return BAD_FORM
    if isinstance(error, requests.TooManyRedirects):
        return REDIRECTED
    if isinstance(error, requests.RequestException):
        return BAD_ADDRESS
    if isinstance(error, _FORM_ERRORS):
        return BAD_FORM
    return None


def said(error):
    """Returns what an error says, in one line, fit for a message."""
    if isinstance(error, api_exceptions.RetryError):
        return said(error.cause)
    text = str(error).strip().split("\n")[0] or type(error).__name__
    if isinstance(error, api_exceptions.GoogleAPICallError):
        # Without the JSON around it, unless it has none.
        with contextlib.suppress(*_FORM_ERRORS):
            message = error.response.json()["error"]["message"]
            text = f"{int(error.code)} {message}"
    return printable(text)


def printable(text, characters=_SHOWN_CHARACTERS):
    """Returns text of others for a message: short, and safe on a terminal."""
    if len(text) > characters:
        text = f"{text[:characters]}..."
    return text if text.isprintable() else ascii(text)


def _of_status(status, error, response):
    url = response.request.url if response is not None else ""
    if status in _OF_AN_UPLOAD and "upload_id=" in url:
        return UPLOAD_LOST
    # A missing object and a missing bucket are both 404; only the message
    # tells them apart.
    is_missing = status == http.client.NOT_FOUND
    if is_missing and "bucket does not exist" in str(error).lower():
        return BUCKET_MISSING
    if str(int(status)) in _STATUSES:
        return str(int(status))
    of_hundred = {2: BAD_FORM, 3: REDIRECTED, 5: SERVER_FAILED}
    return of_hundred.get(status // 100, UNKNOWN)


def _chain_has(error, kind):
    """Whether an error, or one that it was made from, is of a kind."""
    todo, seen = [error], set()
    while todo:
        found = todo.pop()
        if isinstance(found, kind):
            return True
        if isinstance(found, BaseException) and id(found) not in seen:
            seen.add(id(found))
            reason = getattr(found, "reason", None)
            todo += [*found.args, found.__cause__, reason]
    return False
