import hashlib
import io
import json
import os
import shutil
import threading
import zipfile

import numpy as np
import pytest

import trainer
from trainer.config import TrainConfig
from trainer.errors import JobDirError, NonFiniteError
from trainer.job_dir import checkpoint
from trainer.job_dir.checkpoint import Checkpoint
from trainer.job_dir.checkpoint_writer import CheckpointWriter
from trainer.job_dir.open import open_to_write
from trainer.model.build import build_vae
from trainer.model.weights import variables_of


@pytest.fixture
def job(small_config, console, stop):
    with open_to_write(small_config(), console, stop) as job:
        yield job


def state(step, test_loss=None, due=()):
    return Checkpoint(
        step=step,
        due=due,
        test_loss=test_loss,
        variables={
            "encoder/kernel": np.full((50, 3), step, np.float32),
            "optimizer/iteration": np.int64(step),
        },
    )


def save(job, *states, keep=3):
    writer = CheckpointWriter(job, keep)
    for one in states:
        writer.save(one, before=lambda: None)
    writer.wait()
    writer.close()


def test_a_checkpoint_reads_back_as_saved(job):
    save(job, state(7, test_loss=1.5, due=("evaluation", "images")))
    found = checkpoint.select(job, "7")
    assert (found.step, found.test_loss) == (7, 1.5)
    assert found.due == ("evaluation", "images")
    np.testing.assert_array_equal(found.variables["encoder/kernel"], 7)
    assert found.variables["optimizer/iteration"] == 7


def test_a_rotation_that_a_kill_prevented_is_done_by_the_next_session(job):
    save(job, *(state(step, test_loss=step) for step in (1, 2, 3)))
    # As a kill between the save and the rotation leaves them.
    for step in (4, 5):
        checkpoint.write(job.checkpoint(step), state(step, test_loss=step))
    save(job)
    assert checkpoint.list_steps(job) == [1, 3, 4, 5]


def test_nothing_unfinished_is_ever_visible(job, monkeypatch):
    seen = []
    write = checkpoint.write

    def slow_write(folder, one):
        write(folder, one)
        seen.append((folder.parent, checkpoint.list_steps(job)))

    monkeypatch.setattr(checkpoint, "write", slow_write)
    save(job, state(1), state(2))
    assert seen == [(job.unfinished, []), (job.unfinished, [1])]
    assert checkpoint.list_steps(job) == [1, 2]
    assert not job.unfinished.exists()


def test_rows_are_on_the_disk_before_the_checkpoint_is_visible(job):
    visible = []
    writer = CheckpointWriter(job, 3)
    writer.save(
        state(4), before=lambda: visible.append(checkpoint.list_steps(job))
    )
    writer.wait()
    writer.close()
    assert visible == [[]]


def test_saving_does_not_block_the_training_thread(job):
    release = threading.Event()
    writer = CheckpointWriter(job, 3)
    writer.save(state(1), before=release.wait)
    assert checkpoint.list_steps(job) == []
    release.set()
    writer.wait()
    writer.close()
    assert checkpoint.list_steps(job) == [1]


def test_rotation_keeps_the_newest_and_the_best(job):
    losses = {1: 9.0, 2: 3.0, 3: 5.0, 4: 4.0, 5: 6.0, 6: None}
    save(job, *(state(step, loss) for step, loss in losses.items()), keep=2)
    assert checkpoint.list_steps(job) == [2, 5, 6]
    assert checkpoint.select(job, "best").step == 2
    assert checkpoint.select(job, "last").step == 6


def test_rotation_counts_whole_checkpoints_only(job):
    save(job, state(1), state(2), keep=3)
    (job.checkpoint(2) / "state.npz").write_bytes(b"damaged")
    save(job, state(3), state(4), keep=3)
    assert checkpoint.list_steps(job) == [1, 2, 3, 4]


def restore(job, console):
    """As a start does that nothing else refuses."""
    found, damaged = checkpoint.find_newest(job)
    checkpoint.set_aside(job, damaged, found, console)
    return found


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def flip_first(path):
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


def flip_middle(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def delete(path):
    path.unlink()


@pytest.mark.parametrize("name", ["state.npz", "manifest.json"])
@pytest.mark.parametrize(
    "damage", [truncate, empty, flip_first, flip_middle, delete]
)
def test_a_damaged_checkpoint_is_named_set_aside_and_passed_over(
    job, console, capsys, name, damage
):
    save(job, state(1), state(2))
    damage(job.checkpoint(2) / name)
    if name == "manifest.json" and damage is truncate:
        # The last byte is a newline: without it the manifest is still whole.
        damage(job.checkpoint(2) / name)
    restored = restore(job, console)
    assert restored.step == 1
    warning = capsys.readouterr().err
    assert "The checkpoint of step 2 is damaged" in warning
    assert name in warning
    assert "going back to step 1" in warning
    assert checkpoint.list_steps(job) == [1]
    assert (job.damaged / "step-0000002").is_dir()
    # Its step can be passed again, and damaged again.
    save(job, state(2))
    assert checkpoint.select(job, "last").step == 2
    delete(job.checkpoint(2) / "state.npz")
    restore(job, console)
    assert (job.damaged / "step-0000002.1").is_dir()


def test_any_flipped_byte_of_a_manifest_is_noticed(job):
    save(job, state(2, test_loss=1.0))
    path = job.checkpoint(2) / "manifest.json"
    whole = path.read_bytes()
    for at in range(len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = checkpoint.read(job.checkpoint(2))
        except checkpoint.DamagedCheckpointError:
            continue
        # White space may change; what it says may not.
        assert json.loads(path.read_bytes()) == json.loads(whole)
        assert found.step == 2


def test_a_manifest_of_another_step_is_noticed(job):
    save(job, state(1), state(2))
    shutil.copytree(job.checkpoint(1), job.checkpoint(3))
    with pytest.raises(checkpoint.DamagedCheckpointError, match="of step 1"):
        checkpoint.read(job.checkpoint(3))


def test_when_all_are_damaged_the_job_stops_and_nothing_moves(job, console):
    save(job, state(1), state(2))
    for step in (1, 2):
        truncate(job.checkpoint(step) / "state.npz")
    with pytest.raises(JobDirError, match=r"Every checkpoint .* is damaged"):
        restore(job, console)
    assert checkpoint.list_steps(job) == [1, 2]
    assert not job.damaged.exists()


def test_a_folder_that_cannot_be_looked_at_is_not_an_empty_one(
    job, console, monkeypatch
):
    def fail(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(checkpoint.os, "listdir", fail)
    with pytest.raises(PermissionError):
        restore(job, console)


def test_an_early_checkpoint_is_completed_in_place(job):
    save(job, state(5, due=("evaluation",)))
    inode = (job.checkpoint(5) / "state.npz").stat().st_ino
    save(job, state(5, test_loss=2.0))
    found = checkpoint.select(job, "5")
    assert (found.due, found.test_loss) == ((), 2.0)
    assert (job.checkpoint(5) / "state.npz").stat().st_ino == inode


def test_a_non_finite_state_is_never_saved(job):
    broken = state(2)
    broken.variables["encoder/kernel"][0, 0] = np.nan
    writer = CheckpointWriter(job, 3)
    writer.save(broken, before=lambda: None)
    with pytest.raises(NonFiniteError, match="encoder/kernel holds NaN"):
        writer.wait()
    writer.close()
    assert checkpoint.list_steps(job) == []


def test_an_error_of_the_writer_reaches_the_training_thread(job, monkeypatch):
    def full(folder, one):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write", full)
    writer = CheckpointWriter(job, 3)
    writer.save(state(1), before=lambda: None)
    with pytest.raises(OSError, match="No space left"):
        writer.wait()
    with pytest.raises(OSError, match="No space left"):
        writer.check()
    writer.close()
    assert checkpoint.list_steps(job) == []
    assert not job.unfinished.exists()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("9", "holds no checkpoint of step 9; it has those of steps 1, 2"),
        ("newest", "--checkpoint=newest is not last, best or a step number"),
        ("best", "was evaluated; use --checkpoint=last"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_said(job, wanted, message):
    save(job, state(1), state(2))
    with pytest.raises(JobDirError, match=message):
        checkpoint.select(job, wanted)


def test_a_folder_without_a_job_is_said(tmp_path):
    with pytest.raises(JobDirError, match="holds no job"):
        trainer.load(tmp_path)


def test_variables_of_another_model_are_refused():
    vae = build_vae(TrainConfig(latent_dim=3), (8, 8, 1))
    variables = variables_of(vae, None)
    arrays = checkpoint.snapshot(variables)
    with pytest.raises(JobDirError, match="holds no variable encoder/"):
        checkpoint.assign(variables, {}, "here")
    name = next(iter(arrays))
    with pytest.raises(JobDirError, match="this model expects float32"):
        checkpoint.assign(variables, arrays | {name: np.zeros(3)}, "here")


def test_a_snapshot_does_not_change_with_the_model():
    vae = build_vae(TrainConfig(latent_dim=3), (8, 8, 1))
    variables = variables_of(vae, None)
    before = checkpoint.snapshot(variables)
    for variable in variables.values():
        variable.assign_add(np.ones(variable.shape, np.float32))
    for name, variable in variables.items():
        np.testing.assert_array_equal(before[name] + 1, variable.numpy())


NONSENSE = {
    "format": [2, True, None, "1"],
    "step": [None, "2", 2.0, True, -2, 2**63, [2]],
    "due": [3, None, "evaluation", ["x"], [None], [["evaluation"]], {}],
    "test_loss": ["1", [], True, 10**400],
    "rows": [[1], "x", {"train": -1}, {"train": None}, {"train": True}],
    "files": [[], None, {}, {"state.npz": 1}, {"state.npz": {}}],
}


def forge(folder, **changes):
    """Changes a manifest, and gives it the checksum of what it says now."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes()) | changes
    manifest["sha256"] = checkpoint._manifest_digest(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", NONSENSE)
def test_a_manifest_of_nonsense_with_the_right_checksum_is_damaged(
    job, console, capsys, name
):
    save(job, state(1), state(2))
    whole = (job.checkpoint(2) / "manifest.json").read_bytes()
    for value in NONSENSE[name]:
        (job.checkpoint(2) / "manifest.json").write_bytes(whole)
        forge(job.checkpoint(2), **{name: value})
        found, damaged = checkpoint.find_newest(job)
        assert (found.step, [*damaged]) == (1, [2])
    checkpoint.set_aside(job, damaged, found, console)
    assert "step 2 is damaged (manifest.json is not that" in (
        capsys.readouterr().err
    )


def saved(save_arrays=np.savez, **arrays):
    content = io.BytesIO()
    save_arrays(content, **arrays)
    return content.getvalue()


def in_zip(header):
    """A state file of one array that has a header and no numbers."""
    content = io.BytesIO()
    text = header.encode() + b"\n"
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(
            "a.npy",
            b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text,
        )
    return content.getvalue()


def on_each_other():
    """A state file whose two arrays are the same bytes of it."""
    content = saved(a=np.zeros(1000))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = archive.start_dir
    entry = content[start : content.index(b"PK\5\6")]
    other = entry.replace(b"a.npy", b"b.npy")
    end = content[start + len(entry) :]
    counts = (2).to_bytes(2, "little") * 2
    size = (2 * len(entry)).to_bytes(4, "little")
    return content[:start] + entry + other + end[:8] + counts + size + end[16:]


def larger_than_it_says():
    """A state file whose directory promises a gigabyte of an array."""
    content = saved(a=np.zeros(8))
    at = content.index(b"PK\1\2") + 24
    return content[:at] + (1 << 30).to_bytes(4, "little") + content[at + 4 :]


HEADER = "{{'descr': '<f4', 'fortran_order': False, 'shape': {}}}"
STATES = {
    "no ZIP file": b"nonsense",
    "nothing": b"",
    "objects": saved(a=np.array([{}, None])),
    "texts": saved(a=np.array(["a"])),
    "complex numbers": saved(a=np.zeros(2, complex)),
    "NaN": saved(a=np.array([1, np.nan])),
    "infinity": saved(a=np.array([1, -np.inf], np.float32)),
    "a compressed gigabyte": saved(np.savez_compressed, a=np.zeros(10**6)),
    "a terabyte that is not there": in_zip(HEADER.format((2**38,))),
    "two arrays of the same bytes": on_each_other(),
    "a gigabyte that is not there": larger_than_it_says(),
    "less than nothing": in_zip(HEADER.format((-1,))),
    "a deep header": in_zip("(" * 5000),
}


@pytest.mark.parametrize("content", STATES.values(), ids=STATES)
def test_a_state_of_nonsense_with_the_right_checksum_is_damaged(job, content):
    save(job, state(1), state(2))
    (job.checkpoint(2) / "state.npz").write_bytes(content)
    of_state = {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    forge(job.checkpoint(2), files={"state.npz": of_state})
    found, damaged = checkpoint.find_newest(job)
    assert (found.step, [*damaged]) == (1, [2])
    assert "state.npz holds" in str(damaged[2])


def make_folder(path):
    path.mkdir()


def make_fifo(path):
    os.mkfifo(path)


def link_to_zeros(path):
    path.symlink_to("/dev/zero")


def link_to_itself(path):
    path.symlink_to(path)


@pytest.mark.parametrize("name", ["state.npz", "manifest.json"])
@pytest.mark.parametrize(
    "make", [make_folder, make_fifo, link_to_zeros, link_to_itself]
)
def test_what_is_no_file_is_damaged(job, name, make):
    save(job, state(1), state(2))
    path = job.checkpoint(2) / name
    path.unlink()
    make(path)
    found, damaged = checkpoint.find_newest(job)
    assert (found.step, [*damaged]) == (1, [2])
    assert str(damaged[2]).startswith(f"{name} is ")


def test_looking_for_the_newest_changes_nothing(job):
    save(job, state(1), state(2))
    delete(job.checkpoint(2) / "state.npz")
    before = sorted(job.root.rglob("*"))
    checkpoint.find_newest(job)
    assert sorted(job.root.rglob("*")) == before


@pytest.mark.parametrize(
    "name",
    ["step-00000002", "step-2", "step-0000009\n", "step-\u0660000009", "x"],
)
def test_a_folder_with_another_name_is_no_checkpoint(job, name):
    save(job, state(1), state(2))
    shutil.copytree(job.checkpoint(2), job.checkpoints / name)
    assert checkpoint.list_steps(job) == [1, 2]


@pytest.mark.parametrize("make", [link_to_zeros, make_fifo, delete])
def test_what_is_no_folder_is_not_an_empty_one(job, tmp_path, make):
    if make is delete:
        job.checkpoints.symlink_to(tmp_path / "nothing")
    else:
        make(job.checkpoints)
    with pytest.raises(JobDirError, match="checkpoints is no folder"):
        checkpoint.list_steps(job)
