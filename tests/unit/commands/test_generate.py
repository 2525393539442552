"""What vae-generate animates, and which flags it refuses."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.tools.commands import run_command
from trainer.model.trained import load_model
from trainer.pictures import animation, grids, layout, sheet


def animate(job_dir, output, *flags):
    """Runs the command; returns its outcome and the frames of the GIF."""
    outcome = run_command(
        "vae-generate", f"--job_dir={job_dir}", f"--output={output}", *flags
    )
    assert (outcome.exit_code, outcome.err) == (0, "")
    (path,) = output.iterdir()
    with Image.open(path) as image:
        frames = []
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.asarray(image.convert("L")))
    return outcome.out, path, frames


def images_of(frame, rows):
    """The images of a frame: (rows, rows, 28, 28, 1)."""
    pixels = np.zeros((rows * 28, rows * 28, 1), np.uint8)
    like = sheet.draw(
        sheet.Sheet(pixels, (28, 28, 1), "A title", "A caption."),
        animation._LEAST_WIDTH,
    )
    found = layout.parse(like.texts[layout.KEY], frame.shape)
    return found.images(frame[..., np.newaxis])


def test_samples_are_the_same_draws_of_each_checkpoint(finished_job, tmp_path):
    flags = "--animate=samples", "--rows=2"
    _, path, frames = animate(finished_job, tmp_path / "a", *flags)
    assert path.name == "samples.gif"
    assert len(frames) == 2
    for frame, step in zip(frames, (10, 20), strict=True):
        vae = load_model(finished_job, step)
        np.testing.assert_array_equal(
            images_of(frame, 2), grids.cells(grids.grid(vae, 2), 28, 28)
        )
    _, again, _ = animate(finished_job, tmp_path / "b", *flags)
    assert again.read_bytes() == path.read_bytes()
    _, other, _ = animate(finished_job, tmp_path / "c", *flags, "--seed=1")
    assert other.read_bytes() != path.read_bytes()


def test_a_grid_has_as_many_rows_as_its_images_allow(
    finished_job, tmp_path, monkeypatch
):
    monkeypatch.setattr(grids, "rows_of_grid", {(28, 28, 1): 2}.get)
    flags = f"--job_dir={finished_job}", "--format=npy"
    for more, rows in (((), 2), (("--rows=3",), 3)):
        output = tmp_path / str(rows)
        done = run_command("vae-generate", *flags, f"--output={output}", *more)
        assert (done.exit_code, done.err) == (0, "")
        for name in ("generated", "manifold"):
            shape = np.load(output / f"{name}.npy").shape
            assert shape == (rows, rows, 28, 28)


def test_one_checkpoint_is_no_animation_and_that_is_said(
    finished_job, tmp_path
):
    job_dir = shutil.copytree(finished_job, tmp_path / "job")
    shutil.rmtree(job_dir / "checkpoints" / "step-0000010")
    out, _, frames = animate(
        job_dir, tmp_path / "a", "--animate=samples", "--rows=1"
    )
    assert len(frames) == 1
    assert "The job has kept one checkpoint, that of step 20: " in out


def test_a_checkpoint_that_is_damaged_is_named(finished_job, tmp_path):
    job_dir = shutil.copytree(finished_job, tmp_path / "job")
    folder = job_dir / "checkpoints" / "step-0000010"
    (folder / "state.npz").write_bytes(b"cut")
    code, _, err = run_command(
        "vae-generate", f"--job_dir={job_dir}", "--animate=samples", "--rows=1"
    )
    assert (code, err.count("\n")) == (1, 1)
    assert f"{folder} is damaged (" in err
    assert "; restore it, or move it away." in err
    assert not list(job_dir.rglob("*.gif"))


def test_a_walk_is_closed_and_goes_through_the_draws(finished_job, tmp_path):
    _, path, frames = animate(
        finished_job,
        tmp_path / "a",
        "--animate=walk",
        "--stops=2",
        "--rows=1",
        "--checkpoint=10",
    )
    assert path.name == "walk.gif"
    assert len(frames) == 24
    vae = load_model(finished_job, 10)
    for stop in (0, 1):
        np.testing.assert_array_equal(
            images_of(frames[12 * stop], 1)[0, 0], grids.grid(vae, 1, stop)
        )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--animate=jump"], "<none|samples|walk>"),
        (["--animate=walk", "--format=npy"], "leave one of them out"),
        (["--animate=samples", "--checkpoint=best"], "--checkpoint=best names"),
        (["--stops=3"], "--stops=3 is of --animate=walk"),
        (["--animate=samples", "--stops=3"], "--stops=3 is of --animate=walk"),
        (["--animate=walk", "--stops=1"], "the least is 2"),
        (["--animate=walk", "--rows=31"], "give 30 at most"),
    ],
)
def test_flags_that_contradict_each_other_are_one_sentence(flags, message):
    code, _, err = run_command("vae-generate", "--job_dir=none", *flags)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
