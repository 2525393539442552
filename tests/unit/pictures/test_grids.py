import json

import numpy as np
import pytest

from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.model import inference
from trainer.model.build import build_vae
from trainer.model.trained import Trained
from trainer.pictures import (
    album,
    catalogue,
    grids,
    sheet as sheet_lib,
)
from trainer.pictures.sheet import Sheet
from trainer.randomness import Tag


@pytest.fixture(scope="module")
def vae():
    return build_vae(TrainConfig(latent_dim=3), (28, 28, 1))


def test_grid_is_30_by_30_decoded_prior_draws(vae):
    pixels = grids.grid(vae)
    assert pixels.shape == (840, 840, 1)
    assert pixels.dtype == np.uint8
    codes = grids.grid_codes(vae, 30, seed=0)
    assert codes.mean() == pytest.approx(0, abs=0.06)
    assert codes.std() == pytest.approx(1, abs=0.06)
    cell = inference.decode(vae, codes[30 * 4 + 7 : 30 * 4 + 8])[0]
    np.testing.assert_array_equal(
        pixels[4 * 28 : 5 * 28, 7 * 28 : 8 * 28], cell
    )


def test_grid_depends_on_the_seed(vae):
    one, same, other = (grids.grid_codes(vae, 5, s) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_two_latent_units_are_drawn_as_the_plane():
    vae = build_vae(TrainConfig(latent_dim=2), (8, 8, 1))
    codes = grids.grid_codes(vae, 30, seed=0).reshape(30, 30, 2)
    np.testing.assert_allclose(codes[0, :, 0], np.linspace(-2, 2, 30), 1e-6)
    np.testing.assert_allclose(codes[:, 0, 1], np.linspace(2, -2, 30), 1e-6)
    assert (codes[:, :, 0] == codes[0, :, 0]).all()


def test_a_learned_prior_is_drawn_from_also_with_two_latent_units():
    settings = {"latent_dim": 2, "prior": "vamp", "prior_components": 4}
    vae = build_vae(TrainConfig(**settings), (8, 8, 1))
    codes = grids.grid_codes(vae, 3, seed=1, temperature=0.0)
    drawn = vae.prior.draw(1, Tag.PICTURES, 0, 0, 9, temperature=0.0)
    np.testing.assert_array_equal(codes, drawn)


def test_a_temperature_is_of_draws(vae, console, stop):
    codes = grids.grid_codes(vae, 4, seed=0, temperature=0.5)
    np.testing.assert_array_equal(codes, grids.grid_codes(vae, 4, 0) / 2)
    plane = build_vae(TrainConfig(latent_dim=2), (8, 8, 1))
    trained = Trained(None, None, 1, plane)
    with pytest.raises(ConfigError, match="the grid shows their plane; leave"):
        album.draw(trained, None, 4, 0, console, stop, temperature=0.5)


def test_reconstructions_stand_below_their_originals(vae):
    images = np.random.default_rng(0).integers(
        0, 256, (12, 28, 28, 1), dtype=np.uint8
    )
    pixels = grids.reconstruction_rows(vae, images)
    assert pixels.shape == (56, 280, 1)
    np.testing.assert_array_equal(pixels[:28, 28:56], images[1])
    np.testing.assert_array_equal(
        pixels[28:, 28:56], inference.reconstruct(vae, images[1:2])[0]
    )


@pytest.mark.parametrize(
    ("loss", "unit"),
    [
        ("mse", "its squared error, summed over pixels"),
        ("bce", "its reconstruction loss in nats; lower is better"),
    ],
)
def test_the_error_below_a_reconstruction_is_that_of_the_picture(loss, unit):
    vae = build_vae(
        TrainConfig(latent_dim=3, reconstruction_loss=loss), (8, 8, 1)
    )
    images = np.random.default_rng(0).integers(
        0, 256, (12, 8, 8, 1), dtype=np.uint8
    )
    sheet = catalogue.reconstructions(vae, images)
    assert sheet.caption.endswith(f"Under each: {unit}.")
    x = images[:10] / 255
    m = grids.cells(sheet.pixels, 8, 8)[1] / 255
    terms = (x - m) ** 2
    if loss == "bce":
        terms = -(x * np.log(m) + (1 - x) * np.log(1 - m))
    # The picture has 256 levels.
    found = [float(note) for note in sheet.notes]
    np.testing.assert_allclose(found, terms.sum(axis=(1, 2, 3)), rtol=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_cells_are_what_was_tiled(channels):
    images = np.arange(6 * 4 * 5 * channels).reshape(6, 4, 5, channels)
    pixels = grids.tile(images, 3)
    assert pixels.shape == (8, 15, channels)
    np.testing.assert_array_equal(pixels[4:, 5:10], images[4])
    np.testing.assert_array_equal(
        grids.cells(pixels, 4, 5), images.reshape(2, 3, 4, 5, channels)
    )


@pytest.mark.parametrize(
    ("side", "grey", "colour"),
    [
        (4, 30, 13),
        (28, 30, 10),
        (32, 13, 13),
        (64, 13, 13),
        (96, 9, 9),
        (128, 6, 6),
        (256, 3, 3),
        (4096, 1, 1),
    ],
)
def test_a_grid_of_large_images_has_fewer_of_them(side, grey, colour):
    assert grids.rows_of_grid((side, 4, 1)) == grey
    assert grids.rows_of_grid((4, side, 3)) == colour


@pytest.mark.parametrize("side", [8, 20, 28, 32, 48, 64, 72, 124, 145, 256])
def test_images_in_colour_are_large_enough_and_not_shrunk_on_a_page(side):
    rows = grids.rows_of_grid((side, side, 3))
    pixels = np.zeros((rows * side, rows * side, 3), np.uint8)
    draws = Sheet(pixels, (side, side, 3), "Draws", "Draws.")
    layout = json.loads(sheet_lib.draw(draws).texts["Layout"])
    assert layout["scale"] * side >= 52
    on_page = sheet_lib.with_gaps(draws, 912)
    assert side < on_page.shape[1] <= 912
