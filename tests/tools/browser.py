"""A headless Chromium that looks at a page as a user would."""

import contextlib
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.tools import deadline

needs_browser = pytest.mark.skipif(
    shutil.which("chromium") is None,
    reason="there is no Chromium (apt-get install chromium)",
)
_ARGUMENTS = (
    "--no-sandbox",
    # WebGL on the CPU, which TensorBoard's Projector draws with.
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@contextlib.contextmanager
def open_page(address, width=1400, height=1000):
    """Opens an address; yields Playwright's `Page`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=_ARGUMENTS
        )
        with contextlib.closing(browser):
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(deadline.SECONDS * 1000)
            page.goto(address)
            yield page


def pixels_of(target):
    """Returns what a page or an element shows, uint8 (height, width, 3)."""
    picture = Image.open(io.BytesIO(target.screenshot()))
    return np.asarray(picture.convert("RGB"))
