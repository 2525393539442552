import numpy as np
import pytest

from trainer.evaluation import probes

CLASSIFIERS = [probes.linear, probes.nearest_neighbors]
CLASSES = 4


def means(count, distance):
    """Clusters around the corners of a simplex, one a class."""
    rng = np.random.default_rng(count)
    labels = rng.integers(CLASSES, size=count, dtype=np.uint8)
    centres = distance * np.eye(CLASSES)
    return rng.normal(size=(count, CLASSES)) + centres[labels], labels


@pytest.mark.parametrize("classify", CLASSIFIERS)
def test_classes_that_lie_apart_are_told_apart(classify):
    found = classify(*means(400, 20), *means(300, 20))
    assert found.shape == (300,)
    assert found.all()


@pytest.mark.parametrize("classify", CLASSIFIERS)
def test_noise_is_classified_by_chance(classify):
    found = classify(*means(2000, 0), *means(1900, 0))
    # 1/4 with a standard error of 0.01.
    assert found.mean() == pytest.approx(1 / CLASSES, abs=0.05)


def test_the_linear_probe_takes_units_of_any_scale():
    (train, train_labels), (test, test_labels) = means(400, 20), means(300, 20)
    scales = np.array([1e-4, 1.0, 1e3, 0.0])
    found = probes.linear(
        train * scales, train_labels, test * scales, test_labels
    )
    # Three of four units are left, and the fourth class lies at their zero.
    assert found.all()


def test_few_images_are_all_neighbours():
    found = probes.nearest_neighbors(
        np.array([[0.0], [0.1], [0.2]]), np.array([1, 1, 0]),
        np.array([[0.2]]), np.array([1]),
    )  # fmt: skip
    assert found.all()
