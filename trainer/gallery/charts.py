"""Charts of the gallery: curves and bars as SVG, for light and dark pages."""

import dataclasses
import io

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

# A line of more points is dense enough, and one of one point is none.
_MOST_MARKERS = 40
# Of the range, above the greatest value.
_ROOM_ABOVE = 0.15


@dataclasses.dataclass(frozen=True)
class _Scheme:
    """Colours that can be told apart on a background."""

    ink: str
    grid: str
    train: str
    held_out: str


SCHEMES = {
    "light": _Scheme("#52514e", "#e4e3dd", "#2a78d6", "#d95926"),
    "dark": _Scheme("#c3c2b7", "#34342f", "#3987e5", "#eb6834"),
}


def curves(rows, name, scheme):
    """Draws what became of a metric in training, and on held-out images.

    Args:
        rows: list of dicts, as in `metrics.jsonl`, of an evaluation at least.
        name: a metric of both splits.
        scheme: a key of `SCHEMES`.

    Returns:
        The bytes of an SVG.
    """
    colors = SCHEMES[scheme]
    figure, axes = _figure(colors, height=2.6)
    for split, color, width in (
        ("train", colors.train, 0.9),
        (held_out(rows), colors.held_out, 1.4),
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
    axes.set_ylim(*limits(rows, name))
    axes.set_xlabel("step", color=colors.ink)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(color=colors.grid, lw=0.7)
    axes.legend(loc="upper right", frameon=False, labelcolor=colors.ink)
    return _svg(figure)


def bars(values, scheme):
    """Draws numbers as bars, the greatest first.

    Args:
        values: list of floats.
        scheme: a key of `SCHEMES`.

    Returns:
        The bytes of an SVG.
    """
    colors = SCHEMES[scheme]
    figure, axes = _figure(colors, height=2.2, width=8.75)
    axes.bar(
        range(1, len(values) + 1),
        sorted(values, reverse=True),
        width=0.8,
        color=colors.train,
    )
    axes.set_xlim(0.4, len(values) + 0.6)
    axes.set_xlabel("latent units, the greatest first", color=colors.ink)
    axes.set_ylabel("nats", color=colors.ink)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
    axes.grid(color=colors.grid, lw=0.7, axis="y")
    return _svg(figure)


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
    """Returns the range of a metric from the first evaluation on.

    Losses start at many times what they become.
    """
    trained, evaluated = (
        points_of(rows, name, split) for split in ("train", held_out(rows))
    )
    start = evaluated[0][0]
    values = [value for step, value in trained + evaluated if step >= start]
    least, most = min(values), max(values)
    room = _ROOM_ABOVE * (most - least or 1.0)
    return least - room / 2, most + room


def _figure(colors, height, width=3.0):
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    axes.set_axisbelow(True)
    axes.tick_params(colors=colors.ink, labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(colors.grid)
    return figure, axes


def _svg(figure):
    content = io.BytesIO()
    # No date and no random names: equal charts are equal bytes.
    with matplotlib.rc_context({"svg.hashsalt": "gallery"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
