"""Charts of curves over steps; what all charts share."""

import contextlib
import dataclasses
import io
import math
import warnings

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

LOSSES = {
    "total_loss": "Total loss",
    "reconstruction_loss": "Reconstruction loss",
    "kl_loss": "KL divergence",
}
_PIXELS_PER_INCH = 100
# Of the clouds of points in an SVG, whose other parts have no pixels.
_POINTS_DPI = 200
# A line of more points is dense enough, and one point alone has no line.
_MOST_MARKERS = 40
# Of those of a job, in a sentence.
_MOST_RESTARTS = 8
# Of the range, above the greatest value.
_ROOM_ABOVE = 0.15


@dataclasses.dataclass(frozen=True)
class Scheme:
    """Colours that can be told apart on a background."""

    ink: str
    grid: str
    train: str
    held_out: str
    soft: str
    background: str = "none"
    many: tuple[str, ...] = ()


# The last are for as many jobs; beyond them the dashes change.
SCHEMES = {
    "light": Scheme(
        "#52514e",
        "#e4e3dd",
        "#2a78d6",
        "#d95926",
        "#b9b8b0",
        many=(
            "#2a78d6", "#d95926", "#14866d", "#9b4dca",
            "#b07d00", "#c2366b", "#56707d", "#5f8a1f",
        ),
    ),
    "dark": Scheme(
        "#c3c2b7",
        "#34342f",
        "#3987e5",
        "#eb6834",
        "#66655f",
        many=(
            "#5a9ff0", "#f0834f", "#3fc39b", "#c58be6",
            "#dcb13c", "#f0719f", "#9bb4c0", "#a3c95a",
        ),
    ),
}  # fmt: skip
DASHES = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2))
# For a picture that does not know which page it will stand on.
PAPER = dataclasses.replace(SCHEMES["light"], background="#ffffff")


@dataclasses.dataclass(frozen=True)
class Marks:
    """Steps of a training that explain its curves.

    Attributes:
        warmed_up: int, from where on the KL has its full weight; 0 for always.
        restarts: sequence of int, the steps that later sessions went on from.
    """

    warmed_up: int = 0
    restarts: tuple = ()

    def until(self, step):
        """Returns those that come before a step, the last one of a chart."""
        return Marks(
            self.warmed_up if self.warmed_up < step else 0,
            tuple(sorted({each for each in self.restarts if 0 < each < step})),
        )

    def sentence(self):
        """Returns what the lines of a chart mean; empty without any."""
        parts = []
        if self.warmed_up:
            parts.append(
                "Dashed: the KL has its full weight, from step "
                f"{self.warmed_up:,} on."
            )
        if self.restarts:
            shown = [f"{step:,}" for step in self.restarts[:_MOST_RESTARTS]]
            more = len(self.restarts) - len(shown)
            end = f" and {more:,} more" if more else ""
            parts.append(
                "Dotted: the job was started again, and went on from step "
                f"{', '.join(shown)}{end}."
            )
        return " ".join(parts)


def marks(config, schedule, rows, restarts=()):
    """Returns the `Marks` of a chart of rows.

    Args:
        config: the `TrainConfig`.
        schedule: the `Schedule`.
        rows: list of dicts, as in `metrics.jsonl`.
        restarts: steps that sessions went on from.
    """
    steps = math.ceil(config.kl_warmup_epochs * schedule.steps_per_epoch)
    last = max((row["step"] for row in rows), default=0)
    warmed_up = steps + 1 if steps else 0
    return Marks(warmed_up, tuple(restarts)).until(last)


def losses(rows, titles, scheme, size, *, whole=True, marks=Marks()):
    """Draws losses in training and on held-out images, a panel each.

    Args:
        rows: list of dicts, as in `metrics.jsonl`.
        titles: dict: what stands above the panel of each loss, by its name
            in the rows.
        scheme: a `Scheme`.
        size: (width, height) in inches.
        whole: whether all rows are in the range of the axes. Otherwise those
            from the first evaluation on, of which there must be one: losses
            start at many times what they become.
        marks: `Marks`, drawn as lines.

    Returns:
        A `Figure`.
    """
    figure = new_figure(scheme, size)
    panels = figure.subplots(1, len(titles), squeeze=False)[0]
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        style(axes, scheme)
        axes.set_title(title, color=scheme.ink)
        for split, color, width in (
            ("train", scheme.train, 0.9),
            (held_out(rows), scheme.held_out, 1.4),
        ):
            points = points_of(rows, name, split)
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    color=color,
                    label=split,
                    lw=width,
                    marker="o" if len(points) <= _MOST_MARKERS else "",
                    ms=2.5,
                )
        if not whole:
            axes.set_ylim(*limits(rows, name))
        _draw_marks(axes, marks, scheme)
        axes.set_xlabel("step", color=scheme.ink)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(color=scheme.grid, lw=0.7)
        # Matplotlib's own search for a place takes time, and warns of it.
        legend = axes.legend(
            loc="upper right" if _end_below(axes) else "lower right",
            frameon=False,
            labelcolor=scheme.ink,
        )
        # The names of splits are from a file: they may be long, or look like
        # a formula.
        legend.set_in_layout(False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def caption(reconstruction_loss):
    """Returns what a chart of losses shows, and in which units.

    Args:
        reconstruction_loss: str, as `--reconstruction_loss` has it.
    """
    unit = "nats, -log p(x | z)"
    if reconstruction_loss == "mse":
        unit = "squared error, summed over the values of an image"
    return (
        "Per image, by training step: of training the batch of one step, else "
        "all held-out images. Reconstruction loss: "
        f"{unit}. KL divergence: nats. Total loss: their sum, with the KL at "
        "its weight."
    )


def _draw_marks(axes, marks, scheme):
    """Draws lines from the bottom to the top, behind the curves."""
    lines = [(marks.warmed_up, "--")] if marks.warmed_up else []
    lines += [(step, ":") for step in marks.restarts]
    for step, style_of_line in lines:
        axes.axvline(
            step, color=scheme.ink, lw=0.9, ls=style_of_line, zorder=0.9,
            label="_mark",
        )  # fmt: skip


def _end_below(axes):
    """Whether all curves end in the lower half of a chart."""
    middle = sum(axes.get_ylim()) / 2
    return all(
        line.get_ydata()[-1] < middle
        for line in axes.get_lines()
        if line.get_label() != "_mark"
    )


def curves(series, scheme, size, across):
    """Draws curves over each other, without a legend.

    What lies far above their later values is outside of the chart.

    Args:
        series: list of (points, number): (x, y) pairs, of which there is one
            at least; and which colour and dashes a curve has, from 0.
        scheme: a `Scheme`.
        size: (width, height) in inches.
        across: str, what goes from left to right.

    Returns:
        A `Figure`.
    """
    figure = new_figure(scheme, size)
    axes = figure.subplots()
    style(axes, scheme)
    for points, number in series:
        turn, color = divmod(number, len(scheme.many))
        axes.plot(
            *zip(*points, strict=True),
            color=scheme.many[color],
            dashes=DASHES[turn % len(DASHES)],
            lw=1.6,
            marker="o" if len(points) <= _MOST_MARKERS else "",
            ms=3,
        )
    least = min(y for points, _ in series for _, y in points)
    most = max(points[len(points) // 4][1] for points, _ in series)
    room = _ROOM_ABOVE * (most - least or 1.0)
    axes.set_ylim(least - room / 2, most + room)
    axes.set_xlabel(across, color=scheme.ink)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(color=scheme.grid, lw=0.7)
    return figure


def to_svg(figure):
    """Returns a `Figure` as the bytes of an SVG; equal charts, equal bytes."""
    content = io.BytesIO()
    # No date and no random names.
    with (
        matplotlib.rc_context({"svg.hashsalt": "charts"}),
        _boxes_for_unknown_characters(),
    ):
        figure.savefig(
            content, format="svg", metadata={"Date": None}, dpi=_POINTS_DPI
        )
    return content.getvalue()


def to_pixels(figure, scale=1):
    """Returns a `Figure` that has a background as pixels.

    Args:
        figure: a `Figure`.
        scale: int, how many hundred pixels an inch has.

    Returns:
        uint8 array of shape (height, width, 3).
    """
    figure.set_dpi(scale * _PIXELS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    with _boxes_for_unknown_characters():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@contextlib.contextmanager
def _boxes_for_unknown_characters():
    """Keeps quiet where the font lacks a character of somebody's name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


def points_of(rows, name, split):
    """Returns (step, value) of a metric for each row of a split."""
    return [
        (row["step"], row[name])
        for row in rows
        if row["split"] == split and name in row
    ]


def held_out(rows):
    """Returns the split of the evaluations among rows; None without any."""
    return next((row["split"] for row in rows if row["split"] != "train"), None)


def limits(rows, name):
    """Returns the range of a metric from the first evaluation on."""
    trained, evaluated = (
        points_of(rows, name, split) for split in ("train", held_out(rows))
    )
    start = evaluated[0][0]
    values = [value for step, value in trained + evaluated if step >= start]
    least, most = min(values), max(values)
    room = _ROOM_ABOVE * (most - least or 1.0)
    return least - room / 2, most + room


def new_figure(scheme, size):
    """Returns an empty `Figure` of a size in inches."""
    return Figure(
        figsize=size,
        dpi=_PIXELS_PER_INCH,
        layout="constrained",
        facecolor=scheme.background,
    )


def style(axes, scheme):
    """Gives axes the colours of a scheme, and no frame."""
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.tick_params(colors=scheme.ink, labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(scheme.grid)
