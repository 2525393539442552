"""Installs the trainer, with exact versions, in a virtual environment.

`make` calls it before anything is installed, so it needs Python alone, and is
written for old ones too: those are told which they should be. Each step is a
line; on a terminal another one shows every second that it goes on. What pip
says is shown if it fails.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
_PLAIN_SECONDS = 10
_LINES_OF_A_FAILURE = 40


def refusal(version):
    """Returns what to say of a Python that setup.py does not admit, or None.

    Args:
        version: (major, minor).
    """
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    limits = re.search(r'python_requires=">=3\.(\d+),<3\.(\d+)"', text)
    least, too_new = (int(limit) for limit in limits.groups())
    if (3, least) <= version < (3, too_new):
        return None
    return (
        "This is Python {}.{}, but the trainer wants 3.{} to 3.{}; name such a "
        "one, for instance: make train PYTHON=python3.{}"
    ).format(*version, least, too_new - 1, least + 1)


def steps(venv, requirements):
    """Returns a list of (what a step does, its command).

    Args:
        venv: str, the folder of the environment.
        requirements: str, the file of all packages but the trainer.
    """
    pip = [f"{venv}/bin/python", "-m", "pip", "install"]
    pip += ["--disable-pip-version-check"]
    # Of each file that is installed the SHA-256 is known.
    exact = [*pip, "--require-hashes", "--requirement"]
    return [
        (
            f"a virtual environment in {venv}",
            [sys.executable, "-m", "venv", venv],
        ),
        (
            "pip, and what builds the trainer",
            [*exact, "requirements/build.txt"],
        ),
        (
            f"TensorFlow and the rest of {requirements}",
            [*exact, requirements, "--progress-bar=raw"],
        ),
        (
            "the trainer, which brings nothing along",
            [*pip, "--no-deps", "--no-build-isolation", "--editable", "."],
        ),
    ]


def run(what, commands, stream):
    """Runs the commands one after another; returns the exit code.

    Args:
        what: str, what is installed, and how much of it.
        commands: list as of `steps`.
        stream: where the lines go, a text file.
    """
    began = time.monotonic()
    print(f"Installing {what}.", file=stream, flush=True)
    for number, (name, command) in enumerate(commands, 1):
        print(f"{number}/{len(commands)} {name}", file=stream, flush=True)
        code, lines = _watched(command, stream)
        if code:
            for line in lines[-_LINES_OF_A_FAILURE:]:
                print(line, file=stream)
            print(
                f"Step {number} has failed: above is what it said. The same "
                "command begins again, and keeps what was downloaded.",
                file=stream,
                flush=True,
            )
            return 1
    seconds = time.monotonic() - began
    print(f"Installed in {seconds:.0f} s.", file=stream, flush=True)
    return 0


def _watched(command, stream):
    """Runs a command, and shows that it goes on; returns (code, lines)."""
    lines = [""]
    process = subprocess.Popen(  # noqa: S603 - the commands of `steps`.
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        errors="replace",
    )

    def read():
        for line in process.stdout:
            lines.append(line.rstrip())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    on_terminal = stream.isatty()
    pause = 1 if on_terminal else _PLAIN_SECONDS
    began = time.monotonic()
    try:
        while True:
            try:
                code = process.wait(pause)
                break
            except subprocess.TimeoutExpired:
                text = _status(time.monotonic() - began, lines[-1])
                _show(text, stream, on_terminal)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    reader.join()
    if on_terminal:
        stream.write("\r\x1b[K")
    return code, [line for line in lines[1:] if not _PROGRESS.match(line)]


_PROGRESS = re.compile(r"Progress (\d+) of (\d+)$")


def _status(seconds, line):
    """Returns what to show of a step that goes on."""
    progress = _PROGRESS.match(line)
    if progress:
        done, total = (int(number) / 1e6 for number in progress.groups())
        line = f"{done:.0f} of {total:.0f} MB"
    return f"    {seconds:.0f} s  {line.strip()}".rstrip()


def _show(text, stream, on_terminal):
    if on_terminal:
        width = shutil.get_terminal_size().columns - 1
        stream.write(f"\r\x1b[K{text[:width]}")
        stream.flush()
    else:
        print(text, file=stream, flush=True)


def main():
    """Installs; the words are the folder, the requirements and the title.

    Returns:
        The exit code: 2 for another Python than the trainer wants.
    """
    venv, requirements, what = sys.argv[1:]
    sentence = refusal(sys.version_info[:2])
    if sentence:
        print(sentence, file=sys.stderr)
        return 2
    try:
        return run(what, steps(venv, requirements), sys.stdout)
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
