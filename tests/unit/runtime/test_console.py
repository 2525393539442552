import io
import sys

import tqdm

from trainer.runtime import console as console_lib


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_with_images_per_second_and_an_eta(
    console, monkeypatch
):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(console_lib, "_BAR_SECONDS", 0)
    with console.image_bar("Training", 1000, done=100) as advance:
        advance(400, "loss 31.2")
        console.line("a line above the bar")
    shown = sys.stderr.getvalue()
    assert "Training:  10%" in shown
    assert "Training:  50%" in shown
    assert "img/s, loss 31.2" in shown
    assert "500/1.00k" in shown


class Time:
    """A clock that moves when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        for name in ("time", "monotonic"):
            monkeypatch.setattr(console_lib.time, name, lambda: self.now)
        # tqdm took the function over when it was imported.
        monkeypatch.setattr(tqdm.std, "time", lambda: self.now)


def test_a_bar_knows_no_speed_before_the_second_call(console, monkeypatch):
    now = Time(monkeypatch)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with console.image_bar("Training", 1_000_250, done=100) as advance:
        now.now += 60  # Tracing and compiling.
        advance(100, "loss 31.2")
        first = sys.stderr.getvalue().rpartition("\r")[2]
        now.now += 1
        advance(100, "loss 30.0")
        second = sys.stderr.getvalue().rpartition("\r")[2]
    assert "200/1.00M [01:00<?, ?img/s, loss 31.2]" in first
    # 999,950 images at 100 a second: 9,999.5 s.
    assert "300/1.00M [01:01<2:46:39, 100img/s, loss 30.0]" in second


def test_elsewhere_a_plain_line_comes_now_and_then(
    console, monkeypatch, capsys
):
    now = Time(monkeypatch)
    with console.image_bar("Training", 1000, done=100) as advance:
        now.now += 60  # Tracing and compiling.
        advance(100, "loss 31.2")
        for _ in range(2):
            now.now += 6
            advance(60, "loss 30.0")
    out, err = capsys.readouterr()
    assert out == (
        "Training: 200 of 1,000 img  loss 31.2\n"
        "Training: 320 of 1,000 img, 10 img/s, 01:08 left  loss 30.0\n"
    )
    assert err == ""


def test_a_download_has_a_speed_from_the_start(console, monkeypatch, capsys):
    now = Time(monkeypatch)
    with console.byte_bar("Downloading", 1000) as advance:
        now.now += 20
        advance(200)
    assert capsys.readouterr().out == (
        "Downloading: 200 of 1,000 B, 10 B/s, 01:20 left\n"
    )


def test_plain_lines_are_rare(console, capsys):
    with console.byte_bar("Downloading", 0) as advance:
        for _ in range(1000):
            advance(1)
    assert capsys.readouterr().out == ""


def test_a_character_that_the_output_does_not_have_ends_nothing(
    console, monkeypatch
):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    console.line("runs/\xfc\u65e5 \udcff")
    sys.stdout.flush()
    assert raw.getvalue() == b"runs/\\xfc\\u65e5 \\udcff\n"
