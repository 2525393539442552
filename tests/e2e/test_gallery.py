"""The gallery as its reader sees it, in a browser."""

import shutil

import numpy as np
import pytest

from tests.tools.browser import needs_browser, open_page, pixels_of
from trainer.pictures.charts import SCHEMES

pytestmark = [pytest.mark.browser, needs_browser]


@pytest.fixture
def address(run_here, untouched_here, tmp_path):
    """Where the page of a finished job is."""
    job_dir = shutil.copytree(untouched_here, tmp_path / "job")
    code, out, err = run_here(job_dir=job_dir, command="vae-gallery")
    assert (code, err) == (0, "")
    assert out == f"Gallery of step 40: {job_dir}/gallery.html\n"
    return (job_dir / "gallery.html").as_uri()


def let_images_load(page):
    page.evaluate(
        "Promise.all([...document.images].map(image => image.decode()))"
    )


def has_color(pixels, color):
    """Whether a colour, `#rrggbb`, is in a picture, but for its rounding."""
    wanted = np.array(list(bytes.fromhex(color.removeprefix("#"))))
    return (np.abs(pixels.astype(int) - wanted).max(axis=2) <= 3).any()


def greys_of(pixels):
    """How many different greys a picture has."""
    is_grey = (pixels.max(axis=2) - pixels.min(axis=2)) <= 1
    return len(np.unique(pixels[is_grey][:, 0]))


def test_everything_on_the_page_is_drawn(address):
    asked, said = [], []
    with open_page(address) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.reload()
        let_images_load(page)
        pictures = page.locator("img.pixels").all()
        assert len(pictures) == 4 + 10 + 8
        for picture in pictures:
            assert greys_of(pixels_of(picture)) > 10
        backgrounds = {}
        for scheme, colors in SCHEMES.items():
            page.emulate_media(color_scheme=scheme)
            let_images_load(page)
            charts = page.locator("img.chart").all()
            # The losses; after them comes the map.
            assert len(charts) == 4
            for chart in charts[:3]:
                pixels = pixels_of(chart)
                assert has_color(pixels, colors.train)
                assert has_color(pixels, colors.held_out)
            backgrounds[scheme] = pixels_of(page)[0, 0].mean()
        assert backgrounds["light"] > 240
        assert backgrounds["dark"] < 40
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert not page.get_by_text("latent_dim").is_visible()
        page.get_by_text("Settings").click()
        assert page.get_by_text("latent_dim").is_visible()
    assert said == []
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert address in asked
