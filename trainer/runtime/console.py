"""What the user sees while a job runs: lines, warnings and progress bars.

tqdm is imported where it is used: it takes a fifth of the time of `--help`,
which does not need it.
"""

import contextlib
import json
import sys
import time

from trainer.runtime import platform

_LINE_SECONDS = 10
_BAR_SECONDS = 0.2


class Console:
    """Writes lines to stdout; notices, warnings and errors to stderr.

    On a terminal a bar with an ETA stands below the lines; elsewhere a plain
    line comes at most every ten seconds.

    Args:
        log_format: as `TrainConfig.log_format`. Google Cloud takes text on
            stderr for errors; a JSON object says how severe it is.
        worker: str, the name of this worker among several; "" for one alone.
        has_bars: whether this worker shows progress.
    """

    def __init__(self, log_format="auto", worker="", has_bars=True):
        self._worker = worker
        self._has_bars = has_bars
        self.is_json = log_format == "json" or (
            log_format == "auto" and platform.is_here()
        )

    def line(self, text):
        """Prints a line, above any bar."""
        self._write("INFO", text, sys.stdout)

    def notice(self, text):
        """Prints, on stderr, a line that tells of no fault."""
        self._write("NOTICE", text, sys.stderr)

    def warning(self, text):
        """Prints a warning, above any bar."""
        self._write("WARNING", text, sys.stderr)

    def error(self, text):
        """Prints an error, above any bar."""
        self._write("ERROR", text, sys.stderr)

    def _write(self, severity, text, stream):
        if self._worker:
            text = f"[{self._worker}] {text}"
        if self.is_json:
            text = json.dumps({"severity": severity, "message": text})
        elif severity in ("WARNING", "ERROR"):
            text = f"{severity}: {text}"
        # A character that a terminal does not have ends no job.
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        import tqdm

        with tqdm.tqdm.external_write_mode(file=stream):
            print(text, file=stream, flush=True)

    @contextlib.contextmanager
    def byte_bar(self, title, total):
        """Shows the progress of a download; yields `advance(bytes)`."""
        with self._bar(title, total, "B", unit_divisor=1024) as advance:
            yield advance

    @contextlib.contextmanager
    def image_bar(self, title, total, done=0):
        """Shows progress in images; yields `advance(images, note="")`.

        What comes first traces and compiles: its time is in no speed and in
        no ETA.
        """
        with self._bar(
            title, total, "img", initial=done, first_counts=False
        ) as advance:
            yield advance

    @contextlib.contextmanager
    def trial_bar(self, title, total, done):
        """Shows progress in trials of a search, of which `done` are over.

        Yields:
            `show(done, note)`, with a fraction for the trial that runs.
        """
        if self.is_json or not sys.stderr.isatty():
            yield _PlainTrials(self, title, total, done)
            return
        import tqdm

        with tqdm.tqdm(
            desc=title,
            total=total,
            initial=done,
            file=sys.stderr,
            dynamic_ncols=True,
            leave=False,
            # A rate is nothing to read where a trial takes minutes.
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {remaining} left"
            "{postfix}",
        ) as bar:

            def show(done, note):
                bar.set_postfix_str(note, refresh=False)
                bar.update(done - bar.n)
                bar.refresh()

            yield show

    @contextlib.contextmanager
    def _bar(
        self, title, total, unit, initial=0, first_counts=True, **settings
    ):
        if not self._has_bars:
            yield lambda count, note="": None
            return
        if self.is_json or not sys.stderr.isatty():
            yield _PlainProgress(
                self, title, total, unit, initial, first_counts
            )
            return
        import tqdm

        with tqdm.tqdm(
            desc=title,
            total=total or None,
            initial=initial,
            unit=unit,
            unit_scale=True,
            file=sys.stderr,
            dynamic_ncols=True,
            mininterval=_BAR_SECONDS,
            leave=False,
            **settings,
        ) as bar:
            counts = first_counts

            def advance(count, note=""):
                nonlocal counts
                if note:
                    bar.set_postfix_str(note, refresh=False)
                if counts:
                    bar.update(count)
                    return
                counts = True
                # No speed is known as long as there is nothing but this.
                bar.n += count
                bar.initial = bar.last_print_n = bar.n
                bar.last_print_t = time.time()
                bar.refresh()

            yield advance


class _PlainProgress:
    """Progress where there is no terminal: now and then a line."""

    def __init__(self, console, title, total, unit, initial, first_counts):
        self._console = console
        self._title = title
        self._total = total
        self._unit = unit
        self._done = initial
        # Of what counts for the speed; None before there is any.
        self._initial = initial if first_counts else None
        self._started = self._printed = time.monotonic()

    def __call__(self, count, note=""):
        self._done += count
        now = time.monotonic()
        has_speed = self._initial is not None
        if not has_speed:
            self._initial, self._started = self._done, now
        if now - self._printed < _LINE_SECONDS:
            return
        self._printed = now
        text = f"{self._title}: {self._done:,}"
        if self._total:
            text += f" of {self._total:,}"
        text += f" {self._unit}{self._speed(now) if has_speed else ''}"
        self._console.line(f"{text}  {note}".rstrip())

    def _speed(self, now):
        """Returns the speed, and how long the rest takes at it."""
        rate = (self._done - self._initial) / (now - self._started)
        text = f", {rate:,.0f} {self._unit}/s"
        if self._total:
            import tqdm

            left = max(self._total - self._done, 0) / max(rate, 1e-9)
            text += f", {tqdm.tqdm.format_interval(left)} left"
        return text


class _PlainTrials:
    """Progress of a search where there is no terminal: now and then a line."""

    def __init__(self, console, title, total, done):
        self._console = console
        self._title = title
        self._total = total
        self._first = done
        self._started = self._printed = time.monotonic()

    def __call__(self, done, note):
        now = time.monotonic()
        if now - self._printed < _LINE_SECONDS or done <= self._first:
            return
        self._printed = now
        import tqdm

        rate = (done - self._first) / (now - self._started)
        left = tqdm.tqdm.format_interval((self._total - done) / rate)
        text = f"{self._title}: {done / self._total:.0%}, {left} left"
        self._console.line(f"{text}  {note}".rstrip())
