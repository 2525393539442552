import types

import numpy as np
import pytest

from trainer.config import TrainConfig
from trainer.model import inference
from trainer.model.build import build_vae
from trainer.pictures import charts, latent_map


def some_data(labels):
    images = np.random.default_rng(0).integers(
        0, 256, (30, 8, 8, 1), dtype=np.uint8
    )
    return types.SimpleNamespace(
        test_images=images,
        test_labels=labels,
        class_names=("cat", "dog", "bird"),
    )


def test_of_two_latent_units_it_is_their_plane():
    vae = build_vae(TrainConfig(latent_dim=2), (8, 8, 1))
    data = some_data(None)
    found = latent_map.find(vae, data)
    means = inference.encode(vae, data.test_images)
    np.testing.assert_array_equal(found.points, means)
    assert found.axes == ("latent unit 0", "latent unit 1")
    assert found.caption == (
        "The posterior means of 30 test images in 2 latent units, in the "
        "plane of these."
    )


def test_of_more_units_it_is_where_the_means_vary_the_most(monkeypatch):
    monkeypatch.setattr(latent_map, "_POINTS", 10)
    vae = build_vae(TrainConfig(latent_dim=5), (8, 8, 1))
    data = some_data(np.arange(30) % 3)
    found = latent_map.find(vae, data)
    # Evenly taken, so that images which are sorted by class are all seen.
    chosen = np.arange(0, 30, 3)
    np.testing.assert_array_equal(found.labels, data.test_labels[chosen])
    means = inference.encode(vae, data.test_images[chosen]).astype(float)
    centred = means - means.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(
        np.abs(found.points), np.abs(centred @ directions[:2].T), atol=1e-6
    )
    share = sizes[0] ** 2 / (sizes**2).sum()
    assert found.axes[0].endswith(f", {share:.0%} of the variance")
    assert "10 test images of 30" in found.caption


def test_a_direction_has_a_sign_that_does_not_depend_on_the_solver():
    means = np.outer(np.linspace(-1, 1, 9), [0.5, -2.0, 1.0])
    points, shares = latent_map.principal_plane(means)
    assert points[0, 0] > points[-1, 0]  # Unit 1 has the greatest entry.
    np.testing.assert_allclose(shares, [1, 0], atol=1e-12)
    _, shares = latent_map.principal_plane(np.zeros((4, 3)))
    assert shares.tolist() == [0, 0]


def some_map(classes):
    points = np.random.default_rng(0).normal(size=(400, 2))
    names = tuple(f"class {number} ねこ" for number in range(classes))
    labels = np.arange(400) % classes if classes else None
    return latent_map.LatentMap(points, ("x", "y"), labels, names, "A caption.")


@pytest.mark.parametrize("scheme", [*charts.SCHEMES.values(), charts.PAPER])
def test_each_of_30_classes_has_a_look_of_its_own(scheme):
    found = latent_map._classes(some_map(30), scheme)
    assert len({(color, marker) for _, color, marker, _ in found}) == 30
    ten = latent_map._classes(some_map(10), scheme)
    assert len({color for _, color, *_ in ten}) == 8


@pytest.mark.parametrize(
    ("classes", "last"), [(0, None), (3, "class 2 ねこ"), (45, "15 others")]
)
def test_a_map_has_a_legend_where_there_are_classes(classes, last):
    found = some_map(classes)
    figure = latent_map.draw(found, charts.PAPER)
    assert charts.to_pixels(figure).shape[1] == 420
    texts = [
        text.get_text() for each in figure.legends for text in each.get_texts()
    ]
    assert texts[-1:] == ([last] if last else [])
    svg = charts.to_svg(latent_map.draw(found, charts.SCHEMES["dark"]))
    again = charts.to_svg(latent_map.draw(found, charts.SCHEMES["dark"]))
    assert svg == again
    assert len(svg) < 1_000_000
