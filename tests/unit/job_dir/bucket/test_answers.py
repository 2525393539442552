"""Each answer that a bucket can give to each call, and what comes of it."""

import pathlib
import re
import ssl

import pytest
import requests
import urllib3
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions

from tests.fakes import gcs
from tests.tools import deadline
from trainer.errors import JobDirError, StorageUnavailableError
from trainer.job_dir.bucket import answers, object_store
from trainer.job_dir.bucket.answers import Call, ObjectChangedError, Outcome
from trainer.job_dir.bucket.object_store import ObjectStore

DOCS = pathlib.Path(__file__).parents[4] / "docs" / "bucket.md"
# Which requests are those of a call.
REQUESTS = {
    Call.LIST: r"^GET /storage/.*/o\?",
    Call.READ: r"^GET /download/",
    Call.LOOK: r"^GET /storage/.*/o/",
    Call.WRITE: r"^POST /upload",
    Call.MARK: r"^PATCH",
    Call.APPEND: r"compose\?",
    Call.DELETE: r"^DELETE",
}
WHOLE = object_store.crc32c(b"content, more")
# What is expected of a status, whatever the call.
PASSING = (408, 429, 500, 502, 503, 504, 507, 520)
FINAL = (
    *(300, 302, 304, 308),
    *(400, 401, 403, 405, 406, 410, 411, 413, 416, 418, 451, 499),
    *(501, 204, 206),
)
# What the two others are.
CHANGED, ABSENT, OURS, REFUSED = (
    ObjectChangedError, None, "ours", JobDirError,
)  # fmt: skip
BY_CALL = {
    404: {
        Call.LIST: REFUSED,
        Call.READ: CHANGED,
        Call.LOOK: ABSENT,
        Call.WRITE: REFUSED,
        Call.MARK: CHANGED,
        Call.APPEND: CHANGED,
        Call.DELETE: ABSENT,
    },
    412: {
        Call.LIST: REFUSED,
        Call.READ: CHANGED,
        Call.LOOK: REFUSED,
        Call.WRITE: OURS,
        Call.MARK: CHANGED,
        Call.APPEND: OURS,
        Call.DELETE: CHANGED,
    },
}
BY_CALL[409] = BY_CALL[412]


@pytest.fixture(scope="module")
def shared():
    """One bucket for all rows: starting one takes longer than a row."""
    with (
        gcs.serve(bucket="bucket") as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("STORAGE_EMULATOR_HOST", server.address)
        patch.setattr(
            object_store,
            "DEFAULT_RETRY",
            object_store.DEFAULT_RETRY.with_delay(initial=0.02, maximum=0.1),
        )
        yield server


@pytest.fixture
def server(shared):
    """That bucket, without what the row before has left there."""
    shared.forget_faults()
    for name in list(shared.objects()):
        shared.delete(name)
    return shared


def prepared(call, seconds=deadline.SECONDS):
    """Returns a call of a store that would do well, to be made once."""
    store = ObjectStore("gs://bucket/job", seconds)
    store.owner = "id"
    info = store.write("name", b"content")
    return {
        Call.LIST: store.list,
        Call.READ: lambda: store.read("name", info),
        Call.LOOK: lambda: store.info("name"),
        Call.WRITE: lambda: store.write("name", b"new", info.generation),
        Call.MARK: lambda: store.mark("name", info.generation),
        Call.APPEND: lambda: store.append("name", b", more", info, WHOLE),
        Call.DELETE: lambda: store.delete("name", info.generation),
    }[call]


def asked(server, call):
    return sum(
        re.search(REQUESTS[call], f"{method} {path}") is not None
        for method, path in server.requests
    )


def check_sentence(error):
    assert "\n" not in str(error)
    assert "gs://bucket/job" in str(error)
    assert str(error).endswith(".")


@pytest.mark.parametrize("call", REQUESTS)
@pytest.mark.parametrize("status", PASSING)
def test_what_passes_is_tried_again_and_ends_with_75(server, call, status):
    once = prepared(call)
    server.fail(status, times=1, match=REQUESTS[call])
    once()
    server.forget_faults()
    for_ever = prepared_anew(server, call, 0.01)
    server.fail(status, times=None, match=REQUESTS[call])
    with pytest.raises(StorageUnavailableError, match=str(status)) as error:
        for_ever()
    assert error.value.exit_code == 75
    check_sentence(error.value)


def prepared_anew(server, call, seconds=deadline.SECONDS):
    for name in list(server.objects()):
        server.delete(name)
    return prepared(call, seconds)


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (call, status)
        for call in REQUESTS
        for status in FINAL
        # Unless that is how they are answered when all is well.
        if status not in (204, 206) or call not in (Call.READ, Call.DELETE)
    ],
)
def test_what_does_not_pass_is_asked_once_and_ends_with_1(server, call, status):
    make = prepared(call)
    server.reset_counters()
    server.fail(status, times=None, match=REQUESTS[call])
    with pytest.raises(JobDirError) as error:
        make()
    assert error.value.exit_code == 1
    assert not isinstance(error.value, ObjectChangedError)
    check_sentence(error.value)
    assert asked(server, call) == 1


@pytest.mark.parametrize("call", REQUESTS)
@pytest.mark.parametrize("status", BY_CALL)
def test_what_depends_on_the_call(server, call, status):
    expected = BY_CALL[status][call]
    make = prepared(call)
    server.reset_counters()
    server.fail(status, times=None, match=REQUESTS[call])
    if expected is ABSENT:
        assert make() is None
    else:
        kind = CHANGED if expected is OURS else expected
        with pytest.raises(JobDirError) as error:
            make()
        assert type(error.value) is kind
        check_sentence(error.value)
    assert asked(server, call) == 1
    if expected is OURS:
        server.forget_faults()
        make = prepared_anew(server, call)
        server.lose_answer(times=1, match=REQUESTS[call], status=status)
        info = make()
        assert (info.size, info.crc32c) in (
            (3, object_store.crc32c(b"new")), (13, WHOLE),
        )  # fmt: skip


@pytest.mark.parametrize("call", REQUESTS)
def test_a_missing_bucket_is_said_whatever_was_asked(server, call):
    make = prepared(call)
    server.fail(
        404,
        times=None,
        match=REQUESTS[call],
        message="The specified bucket does not exist.",
    )
    with pytest.raises(JobDirError, match="There is no bucket bucket; make"):
        make()


@pytest.mark.parametrize("status", [404, 410, 499])
def test_an_upload_that_the_bucket_has_forgotten_ends_with_75(server, status):
    store = ObjectStore("gs://bucket/job", deadline.SECONDS)
    server.fail(status, times=None, match="^PUT")
    with pytest.raises(StorageUnavailableError, match="gave up the upload"):
        # Above 8 MiB: in parts.
        store.write("large", bytes(9 * 1024 * 1024))


@pytest.mark.parametrize("call", REQUESTS)
def test_no_answer_is_tried_again_and_ends_with_75(server, call):
    once = prepared(call)
    server.drop(times=1, match=REQUESTS[call])
    once()
    for_ever = prepared_anew(server, call, 0.01)
    server.drop(times=None, match=REQUESTS[call])
    with pytest.raises(StorageUnavailableError, match="not be reached"):
        for_ever()


@pytest.mark.parametrize("call", REQUESTS)
@pytest.mark.parametrize(
    "body",
    [
        b"<html>Sign in</html>",
        b"{",
        b"[" * 100_000,
        b'"text"',
        b'{"items": [1], "generation": [], "updated": 5}',
    ],
)
def test_what_is_not_of_the_form_ends_with_1(server, call, body):
    make = prepared(call)
    server.fail(200, times=None, match=REQUESTS[call], body=body)
    if call is Call.DELETE and body.endswith((b'text"', b"}")):
        make()  # Nothing in it is asked for.
        return
    with pytest.raises(JobDirError) as error:
        make()
    check_sentence(error.value)


def test_redirections_that_do_not_end_are_said(server):
    make = prepared(Call.LIST)
    server.fail(
        302,
        times=None,
        match=REQUESTS[Call.LIST],
        body=b"",
        headers={"Location": f"{server.address}/storage/v1/b/bucket/o?on"},
    )
    with pytest.raises(JobDirError, match="find out whether a proxy"):
        make()


def test_a_name_that_is_not_found_is_no_answer(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://no-such-host.invalid")
    store = ObjectStore("gs://bucket/job", 0.01)
    with pytest.raises(StorageUnavailableError, match="not be reached"):
        store.list()


def test_an_address_that_is_none_is_said(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "ftp://localhost:1")
    store = ObjectStore("gs://bucket/job", 0.01)
    with pytest.raises(JobDirError, match="address in STORAGE_EMULATOR_HOST"):
        store.list()


def certificate_error():
    """As the client raises it, which has nothing else to tell it by."""
    cause = ssl.SSLCertVerificationError(1, "self-signed certificate")
    cause = urllib3.exceptions.SSLError(cause)
    cause = urllib3.exceptions.MaxRetryError(None, "/", cause)
    return requests.exceptions.SSLError(cause)


SIGNING_IN = {
    auth_exceptions.DefaultCredentialsError("none"): 1,
    auth_exceptions.RefreshError("revoked"): 1,
    auth_exceptions.RefreshError("later", retryable=True): 75,
    auth_exceptions.TransportError("no route"): 75,
    certificate_error(): 1,
    requests.exceptions.SSLError("the handshake was cut"): 75,
    **{
        api_exceptions.from_http_status(status, "said so"): code
        for code, statuses in ((75, PASSING), (1, (*FINAL, *BY_CALL)))
        for status in statuses
        if status >= 300
    },
}


@pytest.mark.parametrize("error", SIGNING_IN, ids=str)
def test_signing_in(error, monkeypatch):
    def client():
        raise error

    monkeypatch.setattr(object_store.gcs, "Client", client)
    with pytest.raises((JobDirError, StorageUnavailableError)) as raised:
        ObjectStore("gs://bucket/job", 1)
    assert raised.value.exit_code == SIGNING_IN[error]
    check_sentence(raised.value)


def test_credentials_that_end_later_are_said_too(server, monkeypatch):
    store = ObjectStore("gs://bucket/job", deadline.SECONDS)

    def request(*_, **__):
        raise auth_exceptions.RefreshError("revoked")

    monkeypatch.setattr(requests.Session, "request", request)
    with pytest.raises(JobDirError, match="Not signed in for"):
        store.list()


def test_a_defect_of_ours_is_no_answer(server, monkeypatch):
    store = ObjectStore("gs://bucket/job", deadline.SECONDS)

    def request(*_, **__):
        raise AssertionError("a defect")

    monkeypatch.setattr(requests.Session, "request", request)
    with pytest.raises(AssertionError):
        store.list()


NAMES = sorted({answer for row in answers.TABLE for answer in row.answers})


@pytest.mark.parametrize("answer", NAMES)
@pytest.mark.parametrize("call", Call)
def test_each_answer_to_each_call_is_in_one_row(answer, call):
    rows = [
        row
        for row in answers.TABLE
        if answer in row.answers and call in row.calls
    ]
    assert rows == [answers.row(call, answer)]
    assert bool(rows[0].sentence) == (rows[0].outcome is not Outcome.ABSENT)


def test_the_documentation_has_the_table():
    lines = [
        f"| {', '.join(row.answers)} | {_calls(row)} | {row.outcome.value} |"
        for row in answers.TABLE
    ]
    found = [
        re.sub(r" +", " ", line)
        for line in DOCS.read_text(encoding="utf-8").splitlines()
    ]
    start = found.index("| answer | when | what comes of it |") + 2
    assert found[start : start + len(lines)] == lines
    assert not found[start + len(lines)].startswith("|")


def _calls(row):
    if row.calls == tuple(Call):
        return "whatever was asked"
    return ", ".join(call.value for call in row.calls)
