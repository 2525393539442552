import statistics

import numpy as np
import pytest

from trainer.config import TrainConfig
from trainer.model import inference
from trainer.model.build import build_vae
from trainer.pictures import grids, latent_space


@pytest.fixture(scope="module")
def vae():
    return build_vae(TrainConfig(latent_dim=3), (28, 28, 1))


def some_images(count):
    return np.random.default_rng(0).integers(
        0, 256, (count, 28, 28, 1), dtype=np.uint8
    )


def test_the_plane_has_an_equal_share_of_the_prior_in_each_cell():
    codes = latent_space.plane_codes(4, (1, 3), 10).reshape(10, 10, 4)
    shares = [statistics.NormalDist().cdf(x) for x in codes[0, :, 1]]
    np.testing.assert_allclose(shares, np.arange(0.05, 1, 0.1), atol=1e-6)
    # Up is more, as on paper.
    np.testing.assert_array_equal(codes[:, 0, 3], codes[0, ::-1, 1])
    assert not codes[:, :, [0, 2]].any()


def test_the_manifold_is_the_plane_of_the_two_most_active_units(vae):
    images = some_images(20)
    variances = inference.encode(vae, images).var(axis=0)
    codes = latent_space.plane_codes(3, sorted(np.argsort(variances)[1:]), 4)
    np.testing.assert_array_equal(
        latent_space.manifold(vae, images, rows=4),
        grids.tile(inference.decode(vae, codes), 4),
    )


def test_traversals_move_as_many_units_of_each_group(vae):
    config = TrainConfig(
        model="hierarchy",
        model_options="width=16,depth=1,channels=1,groups=3",
        latent_dim=40,
    )
    images = np.random.default_rng(0).integers(
        0, 256, (20, 8, 8, 1), dtype=np.uint8
    )
    deep = build_vae(config, (8, 8, 1))
    variances = inference.encode(deep, images).var(axis=0)
    found = latent_space.traversal_units(deep, images)
    assert [group for group, _ in found] == [1] * 3 + [2] * 3 + [3] * 3
    top = [unit for group, unit in found if group == 1]
    assert top == list(np.argsort(-variances[:8], kind="stable")[:3])
    assert all(8 <= unit < 24 for _, unit in found[3:6])
    assert latent_space.traversal_rows(deep, images).shape == (72, 80, 1)
    one = latent_space.traversal_units(vae, some_images(20))
    order = latent_space.most_active_units(vae, some_images(20))
    assert one == [(1, unit) for unit in order]


def test_a_class_row_starts_with_the_mean_and_spreads_as_the_class(vae):
    images = some_images(30)
    labels = np.repeat([2, 7], 15)
    rows = latent_space.class_rows(vae, images, labels, seed=1)
    assert rows.shape == (2 * 28, 10 * 28, 1)
    mean = inference.encode(vae, images[15:]).mean(axis=0)
    np.testing.assert_array_equal(
        rows[28:, :28], inference.decode(vae, mean[np.newaxis])[0]
    )
    assert (rows[28:, 28:56] != rows[28:, :28]).any()
    # A class of one image has no spread, and the seed changes nothing else.
    one = latent_space.class_rows(vae, images[:1], labels[:1], seed=1)
    np.testing.assert_array_equal(one[:, 28:56], one[:, :28])
    other = latent_space.class_rows(vae, images, labels, seed=2)
    np.testing.assert_array_equal(other[:, :28], rows[:, :28])
    assert (other != rows).any()
