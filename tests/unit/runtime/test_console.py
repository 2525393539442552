import io
import sys

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


def test_elsewhere_a_plain_line_comes_now_and_then(
    console, monkeypatch, capsys
):
    monkeypatch.setattr(console_lib, "_LINE_SECONDS", 0)
    with console.image_bar("Training", 1000, done=100) as advance:
        advance(400, "loss 31.2")
    out, err = capsys.readouterr()
    assert out.startswith("Training: 500 of 1,000 img, ")
    assert out.endswith(" left  loss 31.2\n")
    assert err == ""


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
