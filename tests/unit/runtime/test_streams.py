"""stdout and stderr that end before a command does, or never were."""

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from trainer.runtime.command import quiet_tensorflow, run_command

def body(parsed, stop, console):
    report = open(sys.argv[1], "w")
    report.write(f"{report.fileno() > 2}\\n")
    sys.stdin.read() if sys.stdin else None
    for number in range(3):
        console.line(f"line {number}")
        os.write(1, b"from C\\n")
        os.write(2, b"from C\\n")
    console.warning("a warning")
    with console.image_bar("Training", 10) as advance:
        advance(5)
    report.write("done\\n")
    report.close()
    if "fail" in sys.argv:
        raise ValueError("a defect")

def load():
    os.write(2, b"kept aside\\n")

sys.exit(run_command(lambda words: words, body, load=load))
"""
GONE = "Nothing more can be written to stdout ({}): its lines end here"


@pytest.fixture
def run(tmp_path):
    """Runs the program under a shell; returns its code, and what it wrote."""

    def run(redirections, *words):
        report = tmp_path / "report"
        done = subprocess.run(
            [
                *("sh", "-c", f'exec "$@" {redirections}', "sh"),
                *(sys.executable, "-c", PROGRAM, str(report), *words),
            ],
            stdin=subprocess.PIPE,
            capture_output=True,
            text=True,
            check=False,
        )
        # No file has got the number of a standard stream, or its lines.
        assert report.read_text() == "True\ndone\n"
        return done.returncode, done.stdout, done.stderr

    return run


def test_streams_that_are_there_get_every_line(run):
    code, out, err = run("")
    assert code == 0
    assert [line for line in out.splitlines() if "line" in line] == [
        "line 0",
        "line 1",
        "line 2",
    ]
    assert "WARNING: a warning" in err
    assert "Nothing more" not in err


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">&-", "it is closed"), (">/dev/full", "No space left on device")],
)
def test_without_stdout_its_lines_end_and_stderr_says_so_once(
    run, redirection, reason
):
    code, out, err = run(redirection)
    assert (code, out) == (0, "")
    assert err.count(GONE.format(reason)) == 1
    assert err.count("a warning") == 1
    assert "Exception" not in err


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_without_stderr_what_it_would_have_goes_to_stdout(run, redirection):
    code, out, err = run(redirection)
    assert (code, err) == (0, "")
    assert out.count("WARNING: a warning\n") == 1
    assert out.count("line 2\n") == 1
    assert out.count("kept aside\n") == 1


@pytest.mark.parametrize(
    "redirection",
    [">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>&1", ">/dev/full 2>&-"],
)
def test_without_both_the_work_is_done_in_silence(run, redirection):
    assert run(redirection) == (0, "", "")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-"])
def test_the_exit_code_stays_that_of_the_work(run, redirection):
    code, out, err = run(redirection, "fail")
    assert code == 1
    assert out.count("ValueError: a defect") == (redirection == "2>&-")
    assert err.count("ValueError: a defect") == (redirection == ">&-")


@pytest.mark.parametrize("both", [False, True])
def test_a_reader_that_goes_away_ends_the_lines(tmp_path, both):
    report = tmp_path / "report"
    # Closed before anything is written: earlier than `| head -1` does it.
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(report)],
        stdin=subprocess.DEVNULL,
        stdout=write_end,
        stderr=write_end if both else subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write_end)
    assert (done.returncode, report.read_text()) == (0, "True\ndone\n")
    if not both:
        assert done.stderr.count(GONE.format("Broken pipe")) == 1
        assert "Exception" not in done.stderr


def test_a_terminal_that_is_closed_ends_no_command(tmp_path):
    leader, follower = os.openpty()
    report = tmp_path / "report"
    program = PROGRAM.replace(
        "def body(parsed, stop, console):",
        "def body(parsed, stop, console):\n    import time; time.sleep(1)",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(report)],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    os.close(follower)
    os.close(leader)
    assert process.wait(60) == 0
    assert report.read_text() == "True\ndone\n"
