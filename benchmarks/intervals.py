"""Medians with their intervals, and what they say of a goal."""

import dataclasses
import math
import statistics

_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The median of samples, with an interval that holds for any noise.

    Attributes:
        median: of the samples.
        low: lower end of the interval of the median.
        high: its upper end.
        confidence: the least chance that it covers the true median.
        count: number of samples.
    """

    median: float
    low: float
    high: float
    confidence: float
    count: int

    @classmethod
    def of(cls, samples):
        """Returns the estimate of independent samples, at least one.

        Each sample is below the true median with a chance of 1/2, so the
        number of those below is binomial, whatever the noise is like. The
        interval runs from the k-th smallest to the k-th largest sample, with
        the largest k that keeps 95%; fewer than six samples cannot give
        that, and the interval is all of them.
        """
        ordered = sorted(samples)
        count = len(ordered)
        k = max(
            (
                k
                for k in range(1, count // 2 + 1)
                if _coverage(count, k) >= _CONFIDENCE
            ),
            default=1,
        )
        return cls(
            median=statistics.median(ordered),
            low=ordered[k - 1],
            high=ordered[-k],
            confidence=_coverage(count, k),
            count=count,
        )

    @classmethod
    def of_ratios(cls, over, under):
        """Returns the estimate of the ratios of pairs of samples."""
        return cls.of(a / b for a, b in zip(over, under, strict=True))

    def text(self, form="{:.2f}"):
        """Returns for instance `"1.50 (1.42 to 1.61)"`."""
        low, median, high = (
            form.format(value) for value in (self.low, self.median, self.high)
        )
        return f"{median} ({low} to {high})"


def _coverage(count, k):
    below = sum(math.comb(count, i) for i in range(k)) / 2**count
    return max(1 - 2 * below, 0.0)


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a figure should be.

    Attributes:
        target: what it should reach.
        passes: what will do.
        more_is_better: whether it should be at least that, not at most.
        form: how to write it.
    """

    target: float
    passes: float
    more_is_better: bool
    form: str = "{:.2f}"

    def verdict(self, estimate):
        """Returns `"meets the target"`, `"passes"` or `"missed"`.

        A level is missed only if the whole interval lies beyond it.
        """
        for level, word in (
            (self.target, "meets the target"),
            (self.passes, "passes"),
        ):
            if (
                estimate.high >= level
                if self.more_is_better
                else estimate.low <= level
            ):
                return word
        return "missed"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A line of the closing table."""

    name: str
    estimate: Estimate
    goal: Goal


def table(figures):
    """Returns the closing table as text, a line a figure."""
    rows = [("figure", "median (95% interval)", "target", "passes", "verdict")]
    for figure in figures:
        form = figure.goal.form
        rows.append(
            (
                figure.name,
                figure.estimate.text(form),
                form.format(figure.goal.target),
                form.format(figure.goal.passes),
                figure.goal.verdict(figure.estimate)
                + (
                    ""
                    if figure.estimate.confidence >= _CONFIDENCE
                    else f", but only {figure.estimate.count} samples"
                ),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    )
