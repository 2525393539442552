"""A map of latent space: where the posterior means of images lie."""

import dataclasses
import math

import numpy as np

from trainer.model import inference
from trainer.pictures import charts, sheet

# More points hide each other.
_POINTS = 2000
# Fewer are drawn larger.
_FEW = 600
_INCHES = 4.2
_INCHES_A_NAME = 0.21
# Okabe & Ito 2008, "Color universal design"; black is the ink of a scheme.
_COLORS = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00",
    "#cc79a7", "#56b4e9", "ink", "#f0e442",
)  # fmt: skip
_MARKERS = "o^sD"
_SIZE = {"o": 11, "^": 13, "s": 10, "D": 8}
# Of the points of a class: all classes take turns, so that none hides another.
_TURNS = 4
_LONGEST_NAME = 22
# Longer names stand in two columns instead of three.
_LONG_NAME = 14


@dataclasses.dataclass(frozen=True)
class LatentMap:
    """Points of a plane in latent space, each for an image.

    Attributes:
        points: float array of shape (N, 2).
        axes: two str, what goes to the right and what goes up.
        labels: integers of shape (N,), the class of each; None if not known.
        class_names: sequence of str, by label.
        caption: str, what it shows.
    """

    points: np.ndarray
    axes: tuple[str, str]
    labels: np.ndarray | None
    class_names: tuple
    caption: str


def find(vae, data):
    """Returns the `LatentMap` of test images, evenly taken from them.

    With two latent units it is their plane. With more it is that of the first
    two principal components of the posterior means, each of which points
    where its greatest entry is positive.

    Args:
        vae: a `trainer.model.vae.VAE` of two latent units or more.
        data: the `Dataset` that it was trained on.
    """
    images, labels = data.test_images, data.test_labels
    total = len(images)
    chosen = np.arange(min(total, _POINTS)) * total // min(total, _POINTS)
    labels = None if labels is None else np.asarray(labels)[chosen]
    means = inference.encode(
        vae, images[chosen], labels if vae.classes else None
    ).astype(np.float64)
    if means.shape[1] == 2:
        points = means
        axes = "latent unit 0", "latent unit 1"
        plane = "these"
    else:
        points, shares = principal_plane(means)
        axes = tuple(
            f"{name} principal component, {share:.0%} of the variance"
            for name, share in zip(("first", "second"), shares, strict=True)
        )
        plane = "their first two principal components"
    given = " Encoder and decoder are given the class." if vae.classes else ""
    return LatentMap(
        points,
        axes,
        labels,
        tuple(data.class_names),
        f"The posterior means of {len(chosen):,} test images"
        + (f" of {total:,}" if len(chosen) < total else "")
        + f" in {means.shape[1]:,} latent units, in the plane of {plane}."
        + given,
    )


def principal_plane(means):
    """Returns points in the plane in which they vary the most.

    Args:
        means: float64 array of shape (N, latent_dim).

    Returns:
        (points, shares): an array of shape (N, 2), and the share of the
        variance that each of the two directions has, 0 where there is none.
    """
    centred = means - means.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    directions = vectors[:, :-3:-1]
    greatest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[greatest, [0, 1]])
    total = max(values.sum(), np.finfo(float).tiny)
    return centred @ directions, np.clip(values[:-3:-1], 0, None) / total


def draw(found, scheme):
    """Draws a map: a point for each image, in the colour of its class.

    Colours and shapes of points differ by class, so that who sees no
    differences of colour can tell the classes, too; from the 31st class on
    they share the last.

    Args:
        found: a `LatentMap`.
        scheme: a `charts.Scheme`.

    Returns:
        A `Figure`, 4.2 inches wide.
    """
    classes = _classes(found, scheme)
    longest = max((len(name) for name, *_ in classes), default=0)
    columns = 3 if longest <= _LONG_NAME else 2
    lines = math.ceil(len(classes) / columns)
    height = _INCHES + _INCHES_A_NAME * lines
    figure = charts.new_figure(scheme, (_INCHES, height))
    axes = figure.subplots()
    charts.style(axes, scheme)
    axes.grid(color=scheme.grid, lw=0.7)
    for turn in range(_TURNS):
        for _, color, marker, points in classes or [
            ("", scheme.train, "o", found.points)
        ]:
            axes.scatter(
                *points[turn::_TURNS].T,
                s=_SIZE[marker] * (2 if len(found.points) < _FEW else 1),
                facecolor=color,
                marker=marker,
                edgecolor=scheme.ink,
                lw=0.3 if color == _COLORS[-1] else 0,
                alpha=0.85,
                rasterized=True,
            )
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(found.axes[0], color=scheme.ink, fontsize=9)
    axes.set_ylabel(found.axes[1], color=scheme.ink, fontsize=9)
    if classes:
        _add_legend(figure, axes, classes, columns, scheme)
    return figure


def _classes(found, scheme):
    """Returns (name, colour, marker, points) of each class with an image."""
    if found.labels is None:
        return []
    classes = []
    most = sheet.MOST_NAMED
    labels = np.minimum(found.labels, most)
    for label in np.unique(labels):
        color = _COLORS[label % len(_COLORS)]
        marker = _MARKERS[(label + label // len(_COLORS)) % len(_MARKERS)]
        name = found.class_names[label]
        if label == most and len(found.class_names) > most + 1:
            name = f"{len(found.class_names) - most:,} others"
        if len(name) > _LONGEST_NAME:
            name = f"{name[: _LONGEST_NAME - 1]}…"
        classes.append(
            (
                name,
                scheme.ink if color == "ink" else color,
                marker,
                found.points[labels == label],
            )
        )
    return classes


def _add_legend(figure, axes, classes, columns, scheme):
    for name, color, marker, _ in classes:
        axes.scatter(
            [],
            [],
            s=36,
            facecolor=color,
            marker=marker,
            label=name,
            edgecolor=scheme.ink,
            lw=0.5 if color == _COLORS[-1] else 0,
        )
    legend = figure.legend(
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        labelcolor=scheme.ink,
        fontsize=9,
        handletextpad=0.2,
        columnspacing=1.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
