import numpy as np
import pytest
from PIL import Image

from trainer.config import TrainConfig
from trainer.model.build import build_vae
from trainer.pictures import drawing


@pytest.fixture(scope="module")
def vae():
    return build_vae(TrainConfig(latent_dim=3), (28, 28, 1))


def test_grid_is_30_by_30_decoded_prior_draws(vae):
    pixels = drawing.grid(vae, 3)
    assert pixels.shape == (840, 840)
    assert pixels.dtype == np.uint8
    codes = drawing.grid_codes(3, 30, seed=0)
    assert codes.mean() == pytest.approx(0, abs=0.06)
    assert codes.std() == pytest.approx(1, abs=0.06)
    cell = drawing.decode(vae, codes[30 * 4 + 7 : 30 * 4 + 8])[0]
    np.testing.assert_array_equal(
        pixels[4 * 28 : 5 * 28, 7 * 28 : 8 * 28], cell
    )


def test_grid_depends_on_the_seed():
    one, same, other = (drawing.grid_codes(3, 5, s) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_two_latent_units_are_drawn_as_the_plane():
    codes = drawing.grid_codes(2, 30, seed=0).reshape(30, 30, 2)
    np.testing.assert_allclose(codes[0, :, 0], np.linspace(-2, 2, 30), 1e-6)
    np.testing.assert_allclose(codes[:, 0, 1], np.linspace(2, -2, 30), 1e-6)
    assert (codes[:, :, 0] == codes[0, :, 0]).all()


def test_saved_pictures_have_the_same_grey_values(tmp_path):
    pixels = np.arange(280 * 140).reshape(140, 280).astype(np.uint8)
    drawing.save_picture(tmp_path / "one.png", pixels)
    drawing.save_picture(tmp_path / "two.png", pixels, scale=2)
    one = np.asarray(Image.open(tmp_path / "one.png").convert("L"))
    two = np.asarray(Image.open(tmp_path / "two.png").convert("L"))
    np.testing.assert_array_equal(one, pixels)
    np.testing.assert_array_equal(two[::2, ::2], pixels)


def test_reconstructions_stand_below_their_originals(vae):
    images = np.random.default_rng(0).integers(
        0, 256, (12, 28, 28, 1), dtype=np.uint8
    )
    pixels = drawing.reconstruction_rows(vae, images)
    assert pixels.shape == (56, 280)
    np.testing.assert_array_equal(pixels[:28, 28:56], images[1, ..., 0])
    np.testing.assert_array_equal(
        pixels[28:, 28:56], drawing.reconstruct(vae, images[1:2])[0]
    )


def test_loss_curves_are_drawn_even_of_one_row(tmp_path):
    row = {"step": 1, "total_loss": 1, "reconstruction_loss": 1, "kl_loss": 0}
    drawing.save_loss_curves(tmp_path / "a.png", [row | {"split": "train"}])
    curve = [row | {"split": "test", "step": s, "kl_loss": s} for s in range(9)]
    drawing.save_loss_curves(tmp_path / "b.png", curve)
    one, other = (
        np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
        for name in "ab"
    )
    assert one.shape == other.shape == (360, 1200)
    assert (one != other).any()
