"""The KL divergence of each latent unit, as bars that a phone can show."""

import dataclasses

import numpy as np

from trainer.pictures import charts

# More bars are too many to read.
_MOST_BARS = 20
# A unit with less has no bar of its own.
_LEAST_NATS = 0.01
_INCHES_ACROSS = 4.2
_INCHES_A_BAR, _INCHES_BELOW = 0.25, 0.32
# Of the longest bar: where the bar of the others is cut, and the room for the
# numbers behind the bars.
_CUT, _ROOM = 1.2, 0.55
# Of a bar that is cut: where its pieces begin and end.
_PIECES = ((0, 0.84), (0.88, 0.92), (0.96, 1))
_BAR = 0.72


@dataclasses.dataclass(frozen=True)
class Shares:
    """How the KL divergence is shared out among latent units.

    Attributes:
        units: list of int, those with a bar of their own, the greatest first;
            units count from 0.
        nats: list of float, the KL of each of these.
        other_count: int, how many units there are besides.
        other_nats: float, the KL of all of those together.
    """

    units: list
    nats: list
    other_count: int
    other_nats: float

    def sentence(self):
        """Returns what the bars show, in words."""
        parts = []
        if self.units:
            count = len(self.units)
            parts.append(
                f"{count} latent unit{'s' if count > 1 else ''} with "
                + (f"{_number(self.nats[0])} down to " if count > 1 else "")
                + f"{_number(self.nats[-1])} nats"
            )
        if self.other_count:
            parts.append(
                f"{self.other_count:,} others with {_number(self.other_nats)} "
                "nats together"
            )
        return "; ".join(parts)


def share_out(values):
    """Returns the `Shares` of latent units.

    The 20 greatest with 0.01 nats or more have a bar of their own, and so has
    one that would be the only other.

    Args:
        values: floats by latent unit, in nats; at least one.
    """
    values = np.asarray(values, float)
    order = np.argsort(-values, kind="stable")
    count = min(np.count_nonzero(values >= _LEAST_NATS), _MOST_BARS)
    if len(order) - count == 1:
        count += 1
    units, others = order[:count], order[count:]
    return Shares(
        units.tolist(),
        values[units].tolist(),
        len(others),
        float(values[others].sum()),
    )


def draw(values, scheme, *, of=""):
    """Draws the KL divergence of each latent unit, the greatest first.

    Units that say next to nothing share one bar, which is cut where it is
    much longer than the others.

    Args:
        values: floats by latent unit, in nats; at least one.
        scheme: a `charts.Scheme`.
        of: str, what the values are the mean over.

    Returns:
        A `Figure`, 4.2 inches wide.
    """
    shares = share_out(values)
    names = [f"unit {unit}" for unit in shares.units]
    nats = list(shares.nats)
    if shares.other_count:
        names.append(f"{shares.other_count:,} others")
        nats.append(shares.other_nats)
    longest = max(shares.nats or nats) or 1.0
    lengths = [min(each, _CUT * longest) for each in nats]
    height = _INCHES_BELOW + _INCHES_A_BAR * len(nats)
    figure = charts.new_figure(scheme, (_INCHES_ACROSS, height))
    axes = figure.subplots()
    charts.style(axes, scheme)
    axes.spines["bottom"].set_visible(False)
    own = len(shares.units)
    for place, (value, length) in enumerate(zip(nats, lengths, strict=True)):
        color = scheme.train if place < own else scheme.soft
        for start, end in _PIECES if value > length else ((0, 1),):
            axes.barh(
                place,
                (end - start) * length,
                left=start * length,
                height=_BAR,
                color=color,
            )
        text = _number(value) + ("" if place < own else " together")
        axes.annotate(
            text,
            (max(length, 0), place),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=scheme.ink,
            fontsize=9,
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(min(0, *lengths), (1 + _ROOM) * max(*lengths, longest))
    axes.set_xticks([])
    axes.set_xlabel(
        "KL divergence in nats" + (f", mean over {of}" if of else ""),
        color=scheme.ink,
        fontsize=9,
    )
    return figure


def _number(nats):
    """Returns nats as people read them."""
    if abs(nats) < 0.001:
        return "below 0.001" if nats else "0"
    digits = 1 if nats >= 10 else 2 if nats >= 0.1 else 3
    return f"{nats:.{digits}f}"
