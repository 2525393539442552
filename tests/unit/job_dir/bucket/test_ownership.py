"""A job among the objects of others: what is whose, and what happens to it."""

import json
import shutil

import pytest

from tests.tools.job_places import STRANGERS
from trainer.config import TrainConfig
from trainer.errors import InterruptedJobError, JobDirError
from trainer.job_dir import lock, open as open_lib
from trainer.job_dir.bucket import ownership
from trainer.job_dir.bucket.object_info import OWNER
from trainer.job_dir.bucket.object_store import ObjectStore
from trainer.runtime.stop_signal import StopSignal

CONFIG = TrainConfig(job_dir="gs://bucket/job")
FILES = {
    "config.json": b'{"format": 1}',
    "metrics.jsonl": b"row\n",
    "logs/train/events.out.tfevents.1.host": b"events",
    "checkpoints/step-0000001/state.npz": b"weights",
    "checkpoints/step-0000001/manifest.json": b"manifest",
    "plots/generated.png": b"picture",
    "export/saved_model/1/variables/variables.index": b"index",
}


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Returns a function that goes to another machine."""

    def use(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    use("machine")
    return use


def put(job, name, content):
    path = job.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def session(console, location="gs://bucket/job", files=()):
    """One session of a job, which writes some files; returns its folder."""
    config = TrainConfig(job_dir=location)
    with open_lib.open_to_write(config, console, StopSignal()) as job:
        for name, content in dict(files).items():
            put(job, name, content)
        job.start_publishing()
        return job.root


def in_job(server, prefix="job/"):
    """Content by name of the objects below a prefix that say whose they are."""
    owned = server.resources()
    return {
        name.removeprefix(prefix): content
        for name, content in server.objects().items()
        if name.startswith(prefix) and owned[name]["metadata"]
    }


def test_all_that_a_job_writes_carries_its_id(bucket, console):
    session(console, files=FILES)
    assert in_job(bucket) == FILES
    owners = {
        resource["metadata"][OWNER] for resource in bucket.resources().values()
    }
    assert len(owners) == 1
    # The mark outlives an append, and the next session finds it.
    session(console, files={"metrics.jsonl": b"row\nrow\n"})
    resources = bucket.resources().values()
    assert {r["metadata"][OWNER] for r in resources} == owners


def test_two_jobs_at_one_place_in_turn_have_two_ids(bucket, console, machine):
    ids = set()
    for name in ("a", "b"):
        machine(name)
        session(console, files=FILES)
        ids |= {r["metadata"][OWNER] for r in bucket.resources().values()}
        for name in list(bucket.objects()):
            bucket.delete(name)
    assert len(ids) == 2


def test_the_objects_of_others_are_left_alone_and_named_once(
    bucket, console, capsys, machine
):
    for name, content in STRANGERS.items():
        bucket.write(f"job/{name}", content)
    session(console, files=FILES)
    before = {
        name: resource
        for name, resource in bucket.resources().items()
        if name.removeprefix("job/") in STRANGERS
    }
    assert len(before) == len(STRANGERS)
    said = capsys.readouterr().out
    assert said.count("not of this job") == 1
    assert ".keep" in said
    machine("another")
    root = session(console, files={"metrics.jsonl": b"row\nrow\n"})
    # On one machine after the other, and with a checkpoint that is rotated.
    shutil.rmtree(root / "checkpoints")
    session(console)
    after = bucket.resources()
    assert {name: after[name] for name in before} == before
    assert not any("checkpoints" in name for name in in_job(bucket))
    stray = {path.name for path in root.rglob("*")}
    assert not stray & {".keep", ".todo", "note.txt", "mine.txt", "sub"}


def test_a_job_below_another_one_is_not_its_business(bucket, console, machine):
    below = session(console, "gs://bucket/job/a", FILES)
    session(console, files=FILES)
    for there in ("", "logs/", "export/", "plots/"):
        session(console, f"gs://bucket/job/{there}b", FILES)
    before = bucket.resources()
    shutil.rmtree(session(console) / "plots")
    session(console)
    after = bucket.resources()
    assert before.keys() - after.keys() == {"job/plots/generated.png"}
    assert below.exists()
    machine("another")
    root = session(console)
    assert not (root / "a").exists()
    assert not (root / "plots").exists()
    assert sorted(path.name for path in (root / "export").iterdir()) == [
        "saved_model"
    ]


@pytest.mark.parametrize("owner", [None, "another job"])
@pytest.mark.parametrize(
    "name",
    [
        "metrics.jsonl",
        "finished.json",
        "checkpoints/step-0000009/state.npz",
        "plots/losses.png",
        "export/encoder.keras",
    ],
)
def test_what_is_in_the_way_is_named_before_anything_is_made(
    bucket, console, name, owner
):
    bucket.write(f"job/{name}", b"theirs", owner)
    before = bucket.resources()
    with pytest.raises(JobDirError, match=r"but no config\.json") as error:
        session(console, files=FILES)
    assert name in str(error.value)
    assert bucket.resources() == before
    bucket.delete(f"job/{name}")
    files = {n: c for n, c in FILES.items() if n != name}
    session(console, files=files)
    bucket.write(f"job/{name}", b"theirs", owner)
    with pytest.raises(JobDirError, match="has not written") as error:
        session(console)
    assert bucket.objects()[f"job/{name}"] == b"theirs"
    # What the message advises.
    resource = bucket.resources()["job/config.json"]
    assert f"{OWNER}={resource['metadata'][OWNER]}" in str(error.value)
    bucket.write(f"job/{name}", b"given", resource["metadata"][OWNER])
    if not name.endswith(".npz"):  # Half a checkpoint is removed.
        root = session(console)
        assert (root / name).read_bytes() == b"given"


def test_what_comes_in_the_way_later_stops_the_job(bucket, console):
    session(console, files=FILES)
    with (
        pytest.raises(JobDirError, match=r"losses\.png is not of this job"),
        open_lib.open_to_write(CONFIG, console, StopSignal()) as job,
    ):
        bucket.write("job/plots/losses.png", b"theirs")
        put(job, "plots/losses.png", b"ours")
        job.start_publishing()
    assert bucket.objects()["job/plots/losses.png"] == b"theirs"


def test_what_a_command_wrote_meanwhile_is_no_obstacle(bucket, console):
    session(console, files=FILES)
    with open_lib.open_to_write(CONFIG, console, StopSignal()) as job:
        with open_lib.open_to_read("gs://bucket/job", console) as reading:
            put(reading, "plots/generated.png", b"a command's")
            put(reading, "export/encoder.keras", b"a command's")
            open_lib.publish_folder(reading, reading.plots)
            open_lib.publish_folder(reading, reading.export)
        put(job, "plots/generated.png", b"the training's")
        put(job, "export/encoder.keras", b"the training's")
        job.start_publishing()
    for name in ("plots/generated.png", "export/encoder.keras"):
        assert bucket.objects()[f"job/{name}"] == b"the training's"


def test_a_command_replaces_only_what_is_the_jobs(bucket, console):
    session(console, files=FILES)
    bucket.write("job/gallery.html", b"theirs")
    with open_lib.open_to_read("gs://bucket/job", console) as job:
        assert not (job.root / "gallery.html").exists()
        put(job, "gallery.html", b"page")
        with pytest.raises(JobDirError, match=r"gallery\.html is not of this"):
            open_lib.publish_file(job, job.root / "gallery.html")
        put(job, "evaluation.json", b"{}")
        open_lib.publish_file(job, job.evaluation_path)
        put(job, "evaluation.json", b'{"newer": 1}')
        open_lib.publish_file(job, job.evaluation_path)
    assert bucket.objects()["job/gallery.html"] == b"theirs"
    assert in_job(bucket)["evaluation.json"] == b'{"newer": 1}'


def write_as_an_earlier_version(bucket):
    for name, content in FILES.items():
        bucket.write(f"job/{name}", content)
    bucket.write("job/metrics.jsonl.tail-12ab34cd", b"half an append")
    bucket.write("job/checkpoints/step-0000009/state.npz", b"half")
    bucket.write("job/notes/.todo", b"theirs")


def test_the_job_of_an_earlier_version_is_marked_and_goes_on(
    bucket, console, machine
):
    write_as_an_earlier_version(bucket)
    root = session(console, files={"metrics.jsonl": b"row\nrow\n"})
    assert (root / "plots/generated.png").read_bytes() == b"picture"
    now = FILES | {"metrics.jsonl": b"row\nrow\n"}
    assert in_job(bucket) == now
    assert set(bucket.objects()) == {f"job/{n}" for n in now} | {
        "job/notes/.todo"
    }
    machine("another")
    session(console)
    assert in_job(bucket) == now


def test_marking_that_was_cut_short_is_done_by_the_next_start(
    bucket, console, machine
):
    for number in range(len(FILES)):
        for name in list(bucket.objects()):
            bucket.delete(name)
        write_as_an_earlier_version(bucket)
        machine(f"cut-{number}")
        # Of several that are on their way, some arrive.
        bucket.fail(403, times=99, match=f"PATCH .*{list(FILES)[number]}")
        with pytest.raises(JobDirError, match="Permission denied"):
            session(console)
        bucket.forget_faults()
        machine(f"after-{number}")
        session(console)
        assert in_job(bucket) == FILES


def test_a_job_that_was_copied_there_by_hand_goes_on(bucket, console, machine):
    files = FILES | {"config.json": b'{"format": 2, "id": "abc"}'}
    for name, content in files.items():
        bucket.write(f"job/{name}", content)
    session(console)
    assert in_job(bucket) == files
    owners = {r["metadata"][OWNER] for r in bucket.resources().values()}
    assert owners == {"abc"}
    # An earlier version writes over some of it, without an id.
    bucket.write("job/config.json", FILES["config.json"])
    bucket.write("job/metrics.jsonl", b"row\nrow\n")
    machine("another")
    root = session(console)
    assert (root / "plots/generated.png").exists()
    assert (root / "metrics.jsonl").read_bytes() == b"row\nrow\n"
    assert len({r["metadata"][OWNER] for r in bucket.resources().values()}) == 1


@pytest.mark.parametrize("name", ["", "checkpoints/", "logs/train/", "x/"])
def test_placeholders_of_folders_are_no_objects(bucket, console, name):
    bucket.write(f"job/{name}", b"")
    # As some servers list what is empty.
    del bucket.resources()[f"job/{name}"]["size"]
    bucket.write("job/empty", b"")
    del bucket.resources()["job/empty"]["size"]
    session(console, files=FILES)
    with open_lib.open_to_read("gs://bucket/job", console) as job:
        assert (job.checkpoint(1) / "state.npz").read_bytes() == b"weights"
    assert ObjectStore("gs://bucket/job", 1).list().keys() == FILES.keys()


def test_an_empty_object_of_ours_may_have_no_size(bucket, console, machine):
    session(console, files=FILES | {"metrics.jsonl": b""})
    del bucket.resources()["job/metrics.jsonl"]["size"]
    machine("another")
    session(console, files={"metrics.jsonl": b"row\n"})
    assert in_job(bucket) == FILES


def test_only_the_clocks_of_this_place_are_cleared_away(bucket, console):
    bucket.write("job/claim-time-12345678", b"", "claim-time")
    bucket.write("job/a/claim-time-12345678", b"", "claim-time")
    session(console, files=FILES)
    left = [name for name in bucket.objects() if "claim-time" in name]
    assert left == ["job/a/claim-time-12345678"]


def test_a_claim_that_is_none_is_said(bucket, console):
    bucket.write("job/claim.json", b"theirs")
    with pytest.raises(JobDirError, match="is not the claim of a job"):
        session(console)
    assert bucket.objects() == {"job/claim.json": b"theirs"}


def stage_as_version_0_1_0(server, folder, location, files):
    """What that version left on a machine that could not send everything."""
    prefix = location.removeprefix("gs://bucket/")
    store = ObjectStore(location, 3)
    root = folder / "vae-trainer" / "jobs" / "bucket" / prefix
    published = {}
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        server.write(f"{prefix}/{name}", content)
        info = store.info(name)
        published[name] = [info.generation, info.size, info.crc32c]
    (root / ".mirror.json").write_text(json.dumps(published))
    (root / ".machine").write_text("5" * 32)
    (root / "plots" / "unsent.png").write_bytes(b"unsent")
    return root


def test_the_staging_of_the_earlier_layout_is_found_and_finished_once(
    bucket, console, tmp_path, machine
):
    machine("old")
    upper, below = (
        stage_as_version_0_1_0(bucket, tmp_path / "old", location, FILES)
        for location in ("gs://bucket/job", "gs://bucket/job/a")
    )
    before = sorted(below.rglob("*"))
    root = session(console)
    # Sent, not downloaded again: it was not in the bucket.
    assert in_job(bucket)["plots/unsent.png"] == b"unsent"
    assert (root / ".machine").read_text() == "5" * 32
    assert not (upper / ".machine").exists()
    assert sorted(below.rglob("*")) == before
    session(console, "gs://bucket/job/a")
    assert in_job(bucket, "job/a/")["plots/unsent.png"] == b"unsent"
    # Once: what lies there afterwards is nobody's.
    (upper / "metrics.jsonl").write_bytes(b"later")
    session(console)
    assert bucket.objects()["job/metrics.jsonl"] == b"row\n"


def test_an_earlier_version_that_still_works_there_is_not_disturbed(
    bucket, console, tmp_path, machine
):
    machine("old")
    root = stage_as_version_0_1_0(
        bucket, tmp_path / "old", "gs://bucket/job", FILES
    )
    before = sorted(root.rglob("*"))
    with (
        lock.hold(root, "gs://bucket/job"),
        pytest.raises(JobDirError, match="is in use by process"),
    ):
        session(console)
    assert set(before) <= set(root.rglob("*"))


def test_every_file_of_a_finished_job_is_known_as_its_own(tmp_path):
    from tests.tools.small_jobs import small_job
    from trainer.job import train_and_evaluate

    for name, settings in {
        "test": {},
        "validation": {
            "binarize": "dynamic",
            "reconstruction_loss": "bce",
            "profile_steps": "2,3",
        },
    }.items():
        root = tmp_path / name
        train_and_evaluate(small_job(job_dir=str(root), **settings))
        names = {
            str(path.relative_to(root))
            for path in root.rglob("*")
            if path.is_file()
        }
        unknown = {name for name in names if not ownership.is_file(name)}
        assert unknown == {"claim.lock"}
    for name in ("gallery.html", "evaluation.json", "model/saved_model.pb"):
        assert ownership.is_file(name)
    for name in ("plots/step-0000020/classes.npy", "model/variables/x"):
        assert ownership.is_file(name)
    for name in ("latent_map.png", "walk_label_3.gif", "generated_label_3.npy"):
        assert ownership.is_file(f"plots/step-0000020/{name}")
    assert not ownership.is_file("plots/step-0000020/notes.txt")


def test_a_stop_while_a_claim_is_waited_for_leaves_nothing(bucket, console):
    stop = StopSignal()
    stop.request("SIGTERM")
    with (
        pytest.raises(InterruptedJobError),
        open_lib.open_to_write(CONFIG, console, stop),
    ):
        pass
    assert bucket.objects() == {}
