"""Jobs beside each other: what is told of them, in which order, how safely."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.tools.commands import run_command
from tests.tools.html_outline import HOSTILE, Outline
from tests.tools.project import ROOT
from trainer.comparison import formats, pictures, table
from trainer.comparison.jobs import Job
from trainer.job_dir import checkpoint, lock
from trainer.job_dir.open import JobDir

ESCAPE = "\x1b[2J"


def change(path, function):
    """Changes the JSON value of a file."""
    value = json.loads(path.read_text())
    function(value)
    path.write_text(json.dumps(value))


def change_rows(job, function):
    path = job / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(f"{json.dumps(function(row))}\n" for row in rows))


@pytest.fixture
def runs(finished_job, tmp_path):
    """Jobs that differ, in one folder with what is no job."""
    runs = tmp_path / "runs"

    def make(name, loss, **settings):
        job = shutil.copytree(finished_job, runs / name)
        change(job / "config.json", lambda r: r["config"].update(settings))

        def shifted(row):
            return row | {"total_loss": row["total_loss"] + loss}

        change_rows(job, shifted)
        return job

    make("best", -10, learning_rate=0.003)
    (make("running", -5) / "finished.json").unlink()
    stopped = make("stopped", 5)
    (stopped / "finished.json").unlink()
    shutil.rmtree(stopped / "plots")
    (stopped / "goodput.json").unlink()
    (stopped / "evaluation.json").write_text(
        '{"log_likelihood": {"mean": -400.5}}'
    )
    damaged = make("damaged", 20, beta=0.5)
    (damaged / "checkpoints" / "step-0000020" / "manifest.json").write_text("{")
    (runs / "notes.txt").write_text("mine")
    (runs / "empty").mkdir()
    return runs


def compare(*words):
    return run_command("vae-compare", *words)


def test_the_table_says_what_differs_and_what_came_of_it(runs):
    with lock.hold(runs / "running", "running"):
        code, out, err = compare(f"{runs}/*")
    assert code == 0
    head, *rows = out.split("\n\n")[0].splitlines()
    # Two settings differ, and nothing else does.
    assert head.endswith("goodput  beta  learning_rate")
    names = [row.split()[0].rpartition("/")[2] for row in rows]
    assert names == ["best", "running", "stopped", "damaged"]
    states = [row.split()[1] for row in rows]
    assert states == ["finished", "running", "interrupted", "damaged"]
    assert [row.split()[-2:] for row in rows] == [
        ["1", "0.003"], ["1", "0.001"], ["1", "0.001"], ["0.5", "0.001"]
    ]  # fmt: skip
    assert "losses are not all of one kind" in out
    assert "damaged: The checkpoint of step 20 is damaged (" in out
    assert err.splitlines() == [
        f"WARNING: {runs}/empty is no job (there is no config.json), and is "
        "left out.",
        f"WARNING: {runs}/notes.txt is no job (it is no folder), and is left "
        "out.",
    ]


def test_figures_are_those_of_the_files(runs, finished_job):
    code, out, _ = compare(runs / "best", runs / "stopped", "--format=json")
    assert code == 0
    best, stopped = json.loads(out)["jobs"]
    lines = (runs / "best" / "metrics.jsonl").read_text().splitlines()
    held_out = [row for row in map(json.loads, lines) if row["split"] == "test"]
    least = min(held_out, key=lambda row: row["total_loss"])
    assert best["best_loss"] == least["total_loss"]
    assert best["best_step"] == least["step"]
    assert best["last_loss"] == held_out[-1]["total_loss"]
    assert best["active_units"] == least["active_units"]
    assert best["learning_rate"] == 0.003
    saved = checkpoint.select(JobDir(finished_job), "last").variables
    assert best["parameters"] == sum(
        array.size
        for name, array in saved.items()
        if name.startswith(("encoder/", "decoder/"))
    )
    goodput = json.loads((runs / "best" / "goodput.json").read_text())
    seconds = goodput["sessions"][0]["seconds"]
    assert best["seconds"] == seconds
    assert best["goodput"] == pytest.approx(
        seconds["training"] / sum(seconds.values()), abs=1e-4
    )
    assert (stopped["goodput"], stopped["log_likelihood"]) == (None, -400.5)


def test_jobs_that_have_not_trained_equally_long_are_said_to_have_not(runs):
    names = (runs / "best", runs / "stopped")
    said = "they are at epochs 1 to 2, and a loss may be lower"
    assert "trained equally long" not in compare(*names).out
    path = names[1] / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(x for x in lines if json.loads(x)["epoch"] == 1))
    rows, *notes = compare(*names).out.split("\n\n")
    assert [row.split()[3] for row in rows.splitlines()[1:]] == ["2", "1"]
    assert said in notes[0]
    for form in ("md", "html"):
        assert compare(*names, f"--format={form}").out.count(said) == 1
    found = json.loads(compare(*names, "--format=json").out)
    assert [job["epoch"] for job in found["jobs"]] == [2, 1]
    assert said in found["notes"][0]
    # What has no rows has no epoch, and is at none.
    path.write_text("")
    assert "trained equally long" not in compare(*names).out


@pytest.mark.parametrize(
    ("sort", "first"),
    [("log_likelihood", "stopped"), ("name", "best"), ("last_loss", "best")],
)
def test_the_best_comes_first_and_who_has_no_figure_last(runs, sort, first):
    _, out, _ = compare(f"{runs}/*", f"--sort={sort}", "--format=csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert rows[0]["job"] == str(runs / first)
    assert len(rows) == 4


def test_a_page_has_curves_and_pictures_and_needs_nothing_else(runs):
    page_path = runs.parent / "comparison.html"
    code, out, _ = compare(f"{runs}/*", f"--output={page_path}")
    assert (code, out) == (0, f"Comparison of 4 jobs: {page_path}\n")
    text = page_path.read_text()
    page = Outline(text)
    # A chart for each of two kinds of losses, a row of test images, and two
    # rows a job: those of the job without plots are in its events.
    assert len(page.images) == 2 + 1 + 2 * 4
    assert all(image["alt"] for image in page.images)
    assert all(address.startswith("data:") for address in page.addresses)
    assert "url(" not in text
    assert "Without pictures" not in page.text


def test_pictures_in_the_events_are_those_of_the_end(finished_job, tmp_path):
    job = JobDir(shutil.copytree(finished_job, tmp_path / "job"))
    of_plots = pictures.read(job, (28, 28, 1))
    assert of_plots.samples.shape == (28, 280, 1)
    shutil.rmtree(job.plots)
    of_events = pictures.read(job, (28, 28, 1))
    assert of_events.samples.shape == (28, 280, 1)
    for name in ("originals", "reconstructions"):
        np.testing.assert_array_equal(
            getattr(of_plots, name), getattr(of_events, name)
        )
    # A bit that is wrong ends what can be trusted of that file.
    for path in (job.logs / "test").glob("events.*"):
        content = bytearray(path.read_bytes())
        content[8] ^= 1
        path.write_bytes(content)
    assert pictures.read(job, (28, 28, 1)).samples is None


def test_it_needs_no_tensorflow(runs):
    script = (
        "import sys; from trainer.commands import compare; "
        f"sys.argv = ['vae-compare', {str(runs / 'best')!r}, '--format=html'];"
        "assert compare.main() == 0;"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<!DOCTYPE html>")


@pytest.fixture
def hostile(finished_job, tmp_path):
    """Makes a comparison in which a value comes from wherever one can."""

    def make(value, *words):
        jobs = tmp_path / "hostile"
        shutil.rmtree(jobs, ignore_errors=True)
        for name in (value, "other"):
            job = shutil.copytree(finished_job, jobs / name)

            def spoil(record, name=name):
                record["data"]["name"] = name
                record["sessions"][-1]["devices"] = f"{name}{ESCAPE}"
                record["versions"]["numpy"] = f"={name}"

            change(job / "config.json", spoil)
            (job / "evaluation.json").write_text(json.dumps([value]))
        return compare(jobs / value, jobs / "other", *words)

    return make


def test_whatever_a_comparison_is_told_is_text_and_nothing_more(hostile):
    plain, spoiled = (
        Outline(hostile(value, "--format=html").out)
        for value in ("(harmless)", HOSTILE)
    )
    assert spoiled.elements == plain.elements
    assert spoiled.text.count(HOSTILE) == plain.text.count("(harmless)") > 5
    for form in ("table", "md", "csv", "json"):
        out = hostile(HOSTILE, f"--format={form}").out
        assert "\x1b" not in out
        if form == "md":
            assert "<script" not in out
        if form == "csv":
            rows = list(csv.DictReader(out.splitlines()))
            assert {row["numpy_version"][:2] for row in rows} == {"'="}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "No jobs are named"),
        (["{}/empty", "{}/none"], "None of these is a job"),
        (["{}/nothing-*"], "matches nothing"),
        (["{}/best", "--sort=luck"], "value should be one of"),
        (["{}/best", "--output=gs://bucket/page.html"], "is in a bucket"),
        (["s3://bucket/runs"], "is a URL of the scheme s3:"),
        ([f"{{}}/{ESCAPE}"], "which is no part of a name"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(runs, words, message):
    code, out, err = compare(*(word.format(runs) for word in words))
    assert (code, out) == (2, "")
    *warnings, error = err.splitlines()
    assert message in error
    assert all("is no job" in warning for warning in warnings)


def test_a_job_that_cannot_be_looked_at_is_shown_beside_the_others(runs):
    shutil.rmtree(runs / "stopped" / "checkpoints")
    (runs / "stopped" / "checkpoints").symlink_to("checkpoints")
    (runs / "damaged" / "config.json").write_text("[]")
    code, out, _ = compare(f"{runs}/*", "--format=json")
    assert code == 0
    found = {job["job"]: job for job in json.loads(out)["jobs"]}
    stopped = found[str(runs / "stopped")]
    assert stopped["state"] == "unknown"
    assert "could not be looked at (Too many levels" in stopped["faults"][0]
    damaged = found[str(runs / "damaged")]
    assert (damaged["state"], damaged["best_loss"]) == ("damaged", None)


def test_what_is_too_wide_stands_below_with_the_names_again():
    jobs = [
        Job(name=name, state="finished", settings={"seed": n, "beta": n})
        for n, name in enumerate(("one", "another"))
    ]
    comparison = table.compare(jobs, "name")
    wide, narrow = (formats.as_text(comparison, width) for width in (None, 20))
    assert len(wide) == 3
    assert [line.split()[0] for line in narrow if line] == [
        "job", "another", "one"
    ] * 2  # fmt: skip
    assert max(map(len, narrow)) <= 20


def test_jobs_in_a_bucket_are_found_by_a_pattern(runs, bucket):
    for name in ("best", "stopped"):
        for path in (runs / name).rglob("*"):
            if path.is_file() and path.name != "claim.lock":
                bucket.write(
                    f"all/{name}/{path.relative_to(runs / name)}",
                    path.read_bytes(),
                )
    bucket.write("all/notes", b"mine")
    bucket.write("all/stopped/claim.json", b'{"holder": "somebody"}')
    code, out, err = compare("gs://bucket/all/*", "--format=json")
    assert code == 0, err
    best, stopped = json.loads(out)["jobs"]
    assert (best["job"], best["state"]) == ("gs://bucket/all/best", "finished")
    # Whoever holds it has renewed the claim just now.
    assert stopped["state"] == "running"
    assert best["best_loss"] < stopped["best_loss"]
    assert compare("gs://bucket/all/none", "--format=json").exit_code == 2
