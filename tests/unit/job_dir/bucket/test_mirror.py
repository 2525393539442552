"""What the bucket holds of a staging folder, and when."""

import json
import shutil

import pytest

from tests.tools import deadline
from trainer.config import TrainConfig
from trainer.errors import (
    JobDirError,
    StorageUnavailableError,
)
from trainer.files import write_atomically
from trainer.job_dir.bucket import claim as claim_lib, mirror as mirror_lib
from trainer.job_dir.bucket.answers import ObjectChangedError
from trainer.job_dir.bucket.claim import BucketClaim
from trainer.job_dir.bucket.download import download
from trainer.job_dir.bucket.mirror import Mirror
from trainer.job_dir.bucket.object_store import ObjectStore
from trainer.job_dir.open import JobDir, open_to_write
from trainer.runtime.stop_signal import StopSignal


def new_store(seconds=deadline.SECONDS):
    return ObjectStore("gs://bucket/job", seconds)


def new_staging(folder):
    folder.mkdir()
    return JobDir(folder)


class FreeClaim:
    """A claim that is always held."""

    def check(self):
        """Raises nothing."""

    def ensure(self):
        """Raises nothing."""


@pytest.fixture
def job(tmp_path):
    return new_staging(tmp_path / "staging")


def put(job, name, content):
    path = job.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# What an earlier version would have written, as far as the mirror looks.
PARTS = {
    "format": 1,
    "config": {},
    "data": {"name": "idx"},
    "jit_compile": False,
    "versions": {},
    "sessions": [],
}
RECORD = json.dumps(PARTS).encode()
NEWER_RECORD = json.dumps(PARTS | {"newer": 1}).encode()
TAIL = "metrics.jsonl.tail-12ab34cd"


def put_checkpoint(job, step, content=b"weights"):
    name = f"checkpoints/step-{step:07d}"
    put(job, f"{name}/state.npz", content)
    put(job, f"{name}/manifest.json", f"manifest of {step}".encode())


def publish(job, store, console, claim=None):
    """One whole life of a mirror."""
    mirror = Mirror(job.root, store, claim or FreeClaim())
    mirror.pull(job.id, console)
    mirror.start()
    mirror.finish(10, console)
    return mirror


def in_bucket(server):
    return {
        name.removeprefix("job/"): content
        for name, content in server.objects().items()
    }


def test_the_bucket_becomes_what_the_staging_folder_is(
    job, store, server, console
):
    put(job, "config.json", RECORD)
    put(job, "metrics.jsonl", b"row\n")
    put(job, "logs/train/events.1", b"events")
    put(job, "plots/generated.png", b"picture")
    put(job, "finished.json", b"{}")
    put(job, "unfinished/step-0000002/state.npz", b"half")
    put(job, "damaged/step-0000001/state.npz", b"bad")
    put_checkpoint(job, 1)
    put_checkpoint(job, 2)
    publish(job, store, console)
    assert in_bucket(server) == {
        "config.json": RECORD,
        "metrics.jsonl": b"row\n",
        "logs/train/events.1": b"events",
        "plots/generated.png": b"picture",
        "finished.json": b"{}",
        "checkpoints/step-0000001/state.npz": b"weights",
        "checkpoints/step-0000001/manifest.json": b"manifest of 1",
        "checkpoints/step-0000002/state.npz": b"weights",
        "checkpoints/step-0000002/manifest.json": b"manifest of 2",
    }


def test_a_checkpoint_becomes_visible_after_its_rows_and_its_data(
    job, store, server, console
):
    put(job, "config.json", RECORD)
    put(job, "metrics.jsonl", b"row\n")
    put(job, "finished.json", b"{}")
    put_checkpoint(job, 7)
    order = []
    write = store.write
    store.write = lambda name, *rest: (order.append(name), write(name, *rest))[
        1
    ]
    publish(job, store, console)
    assert order == [
        "config.json",
        "metrics.jsonl",
        "checkpoints/step-0000007/state.npz",
        "checkpoints/step-0000007/manifest.json",
        "finished.json",
    ]


def test_what_is_gone_from_the_staging_folder_goes_manifest_first(
    job, store, server, console
):
    put_checkpoint(job, 1)
    put(job, "finished.json", b"{}")
    publish(job, store, console)
    put_checkpoint(job, 2)
    (job.root / "finished.json").unlink()
    for name in ("state.npz", "manifest.json"):
        (job.checkpoint(1) / name).unlink()
    order = []
    delete = store.delete
    store.delete = lambda name, g: (order.append(name), delete(name, g))[1]
    publish(job, store, console)
    assert order == [
        "finished.json",
        "checkpoints/step-0000001/manifest.json",
        "checkpoints/step-0000001/state.npz",
    ]
    assert set(in_bucket(server)) == {
        "checkpoints/step-0000002/state.npz",
        "checkpoints/step-0000002/manifest.json",
    }


def test_who_goes_on_from_the_bucket_lacks_no_checkpoint_that_will_be_kept(
    job, store, server, console
):
    put(job, "config.json", RECORD)
    mirror = Mirror(job.root, store, FreeClaim())
    mirror.pull(job.id, console)
    write, kept = store.write, {}

    def write_and_train(name, *rest):
        # While a checkpoint is sent, the next one is saved, and the oldest but
        # one is rotated away: the first is the best, and stays.
        info = write(name, *rest)
        steps = set(kept)
        if name.endswith("state.npz") and len(steps) < 30:
            new = max(steps) + 1
            put_checkpoint(job, new, b"weights of %d" % new)
            kept[new] = {1, *sorted({*steps, new})[-3:]}
            for step in steps - kept[new]:
                if job.checkpoint(step).exists():
                    shutil.rmtree(job.checkpoint(step))
        # What a machine would find that goes on from here. It passes the
        # later ones again.
        visible = {
            int(found.split("/")[1].removeprefix("step-"))
            for found in in_bucket(server)
            if found.endswith("manifest.json")
        } or {0}
        needed = {step for step in kept[max(kept)] if step <= max(visible)}
        assert needed <= visible
        return info

    for step in (1, 2, 3, 4):
        put_checkpoint(job, step)
        kept[step] = {1, *range(max(step - 2, 1), step + 1)}
    store.write = write_and_train
    for _ in range(12):
        mirror._publish()
    assert len(kept) == 30
    mirror.start()
    mirror.finish(10, console)
    assert {n.split("/")[1] for n in in_bucket(server) if "state" in n} == {
        f"step-{step:07d}" for step in (1, 28, 29, 30)
    }


def test_checkpoints_go_out_in_the_order_of_their_steps(
    job, store, server, console
):
    put(job, "config.json", RECORD)
    for step in (9_999_999, 10_000_000, 5):
        put_checkpoint(job, step)
    publish(job, store, console)
    resources = server.resources()
    generations = [
        int(resources[f"job/checkpoints/step-{step:07d}/{name}"]["generation"])
        for step in (5, 9_999_999, 10_000_000)
        for name in ("state.npz", "manifest.json")
    ]
    assert generations == sorted(generations)


def test_logs_grow_without_being_sent_again(job, store, server, console):
    mirror = Mirror(job.root, store, FreeClaim())
    mirror.pull(job.id, console)
    content = b""
    for round_number in range(20):
        content += b"%d" % round_number * 1000
        put_in_place(job, "metrics.jsonl", content)
        mirror._publish()
        assert in_bucket(server)["metrics.jsonl"] == content
    assert store.bytes_sent == len(content)
    # A resumed job drops rows: then the file is another one.
    put(job, "metrics.jsonl", b"rewritten")
    publish(job, store, console)
    assert in_bucket(server)["metrics.jsonl"] == b"rewritten"


@pytest.mark.parametrize(
    "content", [b"same size", b"short", b"the first, longer"]
)
def test_a_file_that_replaces_another_among_the_logs_is_sent_whole(
    job, store, server, console, content
):
    name = "logs/test/projector/sprite.png"
    put(job, name, b"the first")
    mirror = Mirror(job.root, store, FreeClaim())
    mirror.pull(job.id, console)
    mirror._publish()
    write_atomically(job.root / name, content)
    mirror._publish()
    assert in_bucket(server)[name] == content
    write_atomically(job.root / name, b"the next session's")
    publish(job, store, console)
    assert in_bucket(server)[name] == b"the next session's"


def put_in_place(job, name, content):
    """Appends, as the job does: the file stays the same file."""
    with open(job.root / name, "ab") as file:
        file.write(content[file.tell() :])


def test_what_is_unfinished_stays_on_this_machine(job, store, server, console):
    put(job, "export/saved_model/1/variables/variables.index", b"whole")
    put(job, "export/saved_model/.unfinished-1/saved_model.pb", b"half")
    put(job, "export/.unfinished-encoder.keras", b"half")
    publish(job, store, console)
    assert in_bucket(server) == {
        "export/saved_model/1/variables/variables.index": b"whole"
    }


def test_an_unchanged_folder_is_not_sent_again(job, store, server, console):
    put(job, "config.json", RECORD)
    put(job, "metrics.jsonl", b"row\n")
    put_checkpoint(job, 1)
    publish(job, store, console)
    server.reset_counters()
    again = new_store()
    publish(job, again, console)
    assert again.bytes_sent == 0


def test_an_empty_machine_gets_what_the_bucket_has(
    job, store, server, console, tmp_path
):
    put(job, "config.json", RECORD)
    put(job, "logs/test/events.1", b"events")
    put_checkpoint(job, 1)
    publish(job, store, console)
    # What a killed job leaves: half a checkpoint, half an append.
    for name in ("checkpoints/step-0000009/state.npz", TAIL):
        server.write(f"job/{name}", b"half", store.owner)
    other = new_staging(tmp_path / "other")
    publish(other, new_store(), console)
    assert (other.root / "config.json").read_bytes() == RECORD
    assert (other.root / "logs/test/events.1").read_bytes() == b"events"
    assert (other.checkpoint(1) / "state.npz").read_bytes() == b"weights"
    assert not other.checkpoint(9).exists()
    assert not any("0000009" in n or "tail" in n for n in in_bucket(server))


def test_what_could_not_be_sent_is_sent_by_the_next_start(
    job, store, server, console
):
    put(job, "config.json", RECORD)
    publish(job, store, console)
    put_checkpoint(job, 5)
    mirror = Mirror(job.root, new_store(0.3), FreeClaim())
    mirror.pull(job.id, console)
    server.outage(True)
    mirror.start()
    with pytest.raises(StorageUnavailableError) as error:
        mirror.finish(5, console)
    assert "Not everything is in gs://bucket/job" in str(error.value)
    assert "checkpoints/step-0000005/manifest.json" in str(error.value)
    # Training asks between its steps, and may be told before it has ended.
    with pytest.raises(StorageUnavailableError) as in_training:
        mirror.check()
    assert str(in_training.value) == str(error.value)
    server.outage(False)
    publish(job, new_store(), console)
    assert "checkpoints/step-0000005/manifest.json" in in_bucket(server)


def test_a_staging_folder_that_others_have_overtaken_is_given_up(
    job, store, server, console
):
    put(job, "config.json", RECORD)
    publish(job, store, console)
    put_checkpoint(job, 5)
    info = store.info("config.json")
    store.write("config.json", NEWER_RECORD, info.generation)
    publish(job, new_store(), console)
    assert (job.root / "config.json").read_bytes() == NEWER_RECORD
    assert not job.checkpoint(5).exists()


def test_an_object_that_changes_under_the_job_stops_it(
    job, store, server, console
):
    put(job, "metrics.jsonl", b"row\n")
    mirror = Mirror(job.root, store, FreeClaim())
    mirror.pull(job.id, console)
    mirror._publish()
    server.write("job/metrics.jsonl", b"theirs")
    put_in_place(job, "metrics.jsonl", b"row\nrow\n")
    mirror.start()
    with pytest.raises(ObjectChangedError, match="by somebody else"):
        mirror.finish(5, console)
    assert in_bucket(server)["metrics.jsonl"] == b"theirs"
    with pytest.raises(ObjectChangedError):
        mirror.check()


def test_a_damaged_checkpoint_in_the_bucket_can_be_passed_again(
    job, store, server, console, tmp_path
):
    put(job, "config.json", RECORD)
    put_checkpoint(job, 1)
    put_checkpoint(job, 2)
    publish(job, store, console)
    server.corrupt("job/checkpoints/step-0000002/state.npz")
    other = new_staging(tmp_path / "other")
    mirror = Mirror(other.root, new_store(), FreeClaim())
    mirror.pull(other.id, console)
    assert not (other.checkpoint(2) / "state.npz").exists()
    # As set_aside does with a damaged one, and then the step again.
    (other.checkpoint(2)).rename(other.root / "damaged")
    put_checkpoint(other, 2, b"weights, once more")
    mirror.start()
    mirror.finish(5, console)
    assert (
        in_bucket(server)["checkpoints/step-0000002/state.npz"]
        == b"weights, once more"
    )


@pytest.mark.parametrize(
    "name", ["../../evil", "logs/train/../../../evil", "plots//../../evil.png"]
)
def test_no_object_lands_outside_of_the_folder(
    job, store, server, console, name
):
    server.write("job/config.json", RECORD, "id")
    server.write(f"job/{name}", b"x", "id")
    Mirror(job.root, store, FreeClaim()).pull(job.id, console)
    assert not list(job.root.parent.rglob("evil*"))
    if name.startswith(".."):
        with pytest.raises(JobDirError, match="would land outside"):
            download(store, {name: store.info(name)}, job.root, console)


def test_who_lost_the_claim_writes_nothing_more(
    job, store, server, quick_claims, console, stop
):
    claim = BucketClaim(store, "machine-a")
    claim.acquire(console, stop)
    info = store.info("claim.json")
    try:
        store.write("claim.json", b'{"machine": "b"}', info.generation)
    except ObjectChangedError:  # It was renewed in between.
        info = store.info("claim.json")
        store.write("claim.json", b'{"machine": "b"}', info.generation)
    put(job, "config.json", RECORD)
    for _ in range(100):
        if claim._error is not None:
            break
        stop_waiting = claim._released.wait(0.05)
        assert not stop_waiting
    with pytest.raises(JobDirError, match="was taken by another job"):
        publish(job, new_store(), console, claim)
    claim.release()
    assert in_bucket(server) == {"claim.json": b'{"machine": "b"}'}


def lost(job, store, server, console):
    """A job that has lost its claim; returns what it says in the end."""
    claim = BucketClaim(store, "machine-a")
    claim._take(0)
    put(job, "config.json", RECORD)
    publish(job, store, console, claim)
    put_checkpoint(job, 5)
    mirror = Mirror(job.root, store, claim)
    mirror.pull(job.id, console)
    server.write("job/claim.json", b'{"machine": "b"}')
    with pytest.raises(ObjectChangedError):
        claim._renew()
    with pytest.raises(ObjectChangedError, match="by another job") as error:
        mirror.finish(10, console)
    assert error.value.exit_code == 1
    return str(error.value)


@pytest.mark.parametrize("has_written", [True, False])
def test_what_is_said_after_a_lost_claim_is_what_the_next_start_does(
    job, store, server, console, has_written
):
    said = lost(job, store, server, console)
    assert "Missing: checkpoints/step-0000005/manifest.json" in said
    assert f"it is kept in {job.root}; copy it away if it is wanted" in said
    assert "takes what the bucket holds, if that has changed." in said
    if has_written:
        info = store.info("config.json")
        store.write("config.json", NEWER_RECORD, info.generation)
    publish(job, new_store(), console)
    assert job.checkpoint(5).exists() is not has_written
    name = "checkpoints/step-0000005/manifest.json"
    assert (name in in_bucket(server)) is not has_written


def test_a_claim_that_is_lost_with_nothing_unsent_names_no_file(
    job, store, server, console
):
    put(job, "config.json", RECORD)
    mirror = publish(job, store, console)
    mirror._error = ObjectChangedError("The claim was taken.")
    with pytest.raises(ObjectChangedError) as error:
        mirror.check()
    assert str(error.value) == (
        "Not sure whether all is in gs://bucket/job: The claim was taken."
    )


def test_a_checkpoint_that_cannot_be_opened_is_named(
    job, store, server, console, monkeypatch
):
    monkeypatch.setattr(mirror_lib, "_PAUSE_SECONDS", 0.001)
    name = "checkpoints/step-0000001/state.npz"
    put(job, "config.json", RECORD)
    (job.root / name).parent.mkdir(parents=True)
    (job.root / name).symlink_to("nothing")
    with pytest.raises(JobDirError, match=f"{name} is listed but cannot be"):
        publish(job, store, console)


@pytest.mark.parametrize("content", ["{", "[1]", '{"config.json": ["a"]}'])
def test_a_damaged_memory_of_what_was_sent_is_said(
    job, store, server, console, content
):
    (job.root / ".mirror.json").write_text(content)
    with pytest.raises(
        JobDirError, match=r"\.mirror\.json (is not JSON|does not say)"
    ):
        publish(job, store, console)


def test_a_doubtful_claim_is_renewed_before_anything_is_published(
    job, server, monkeypatch, console, stop
):
    store = new_store(0.3)
    claim = BucketClaim(store, "machine-a")
    claim.acquire(console, stop)
    monkeypatch.setattr(claim_lib, "DOUBTFUL_SECONDS", -1)
    before = store.info("claim.json").generation
    put(job, "config.json", RECORD)
    publish(job, store, console, claim)
    assert store.info("claim.json").generation > before
    put(job, "config.json", NEWER_RECORD)
    mirror = Mirror(job.root, store, claim)
    mirror.pull(job.id, console)
    server.fail(503, times=None, match="claim")
    with pytest.raises(StorageUnavailableError, match=r"claim\.json"):
        mirror.finish(5, console)
    assert in_bucket(server)["config.json"] == RECORD


def test_a_job_that_will_not_start_leaves_the_bucket_as_it_is(
    job, store, server, console
):
    put(job, "config.json", RECORD)
    put_checkpoint(job, 1)
    publish(job, store, console)
    server.corrupt("job/checkpoints/step-0000001/state.npz")
    before = server.objects()
    config = TrainConfig(job_dir="gs://bucket/job")
    with (
        pytest.raises(ZeroDivisionError),
        open_to_write(config, console, StopSignal()),
    ):
        raise ZeroDivisionError
    assert server.objects() == before
