"""The real TensorBoard in a real browser: what its tabs show of a job.

With SCREENSHOTS=FOLDER each tab that was looked at is kept there as a PNG;
SCREENSHOTS_OF=JOB_DIR names a finished job to look at in place of a small one.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import requests

from tests.tools import deadline
from tests.tools.browser import needs_browser, open_page, pixels_of
from tests.tools.deadline import wait_until

pytestmark = [pytest.mark.browser, needs_browser]
LOSSES = ("total loss", "reconstruction loss", "KL loss")
TABS = ("custom_scalars", "hparams", "images", "projector", "text")


@pytest.fixture(scope="module")
def job(request):
    """The directory of the finished job that TensorBoard shows."""
    given = os.environ.get("SCREENSHOTS_OF")
    # Asked for here, since it takes a while to train.
    return pathlib.Path(given or request.getfixturevalue("untouched_here"))


@pytest.fixture(scope="module")
def board(job):
    """The address of a TensorBoard that has read the job."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tensorboard.main",
            f"--logdir={job.parent}",
            "--host=127.0.0.1",
            "--port=0",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        addresses = (
            re.search(r"http://127\.0\.0\.1:\d+", line)
            for line in process.stderr
        )
        address = next(match[0] for match in addresses if match)

        def has_read_all():
            runs = requests.get(
                f"{address}/data/runs", timeout=deadline.SECONDS
            ).json()
            plugins = requests.get(
                f"{address}/data/plugins_listing", timeout=deadline.SECONDS
            ).json()
            return f"{job.name}/logs/train" in runs and all(
                plugins[tab]["enabled"] for tab in TABS
            )

        wait_until(has_read_all, "tabs")
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=deadline.SECONDS)


@pytest.fixture(scope="module")
def page(board):
    with open_page(board, width=1600) as page:
        yield page


@pytest.fixture
def look(board, page, request):
    """Opens a tab, and waits for what a selector finds in it."""

    def look(tab, selector):
        page.goto("about:blank")
        page.goto(f"{board}/#{tab}")
        page.wait_for_selector(selector)
        return page

    yield look
    if folder := os.environ.get("SCREENSHOTS"):
        name = request.node.name.removeprefix("test_")
        page.screenshot(path=pathlib.Path(folder) / f"{name}.png")


def colour_of(element):
    text = element.evaluate("e => getComputedStyle(e).backgroundColor")
    return np.array([int(part) for part in re.findall(r"\d+", text)[:3]])


def is_drawn(chart, colour):
    """Whether something in a colour goes from side to side of a chart."""
    pixels = pixels_of(chart).astype(int)
    columns = (np.abs(pixels - colour).max(axis=2) < 16).any(axis=0)
    return columns.sum() > pixels.shape[1] / 4


def assert_curves_are_drawn(charts, swatches, count):
    assert charts.count() >= count
    colours = [colour_of(swatch) for swatch in swatches.all()]
    assert len(colours) == 2
    for chart in charts.all()[:count]:
        for colour in colours:
            wait_until(
                lambda chart=chart, colour=colour: is_drawn(chart, colour),
                f"curve in {colour}",
            )


def test_the_first_page_has_the_curves_of_training_and_test(look):
    page = look("timeseries", "scalar-card canvas")
    cards = page.locator("scalar-card")
    titles = cards.locator(".tag").all_inner_texts()
    assert all("loss" in title for title in titles[:3])
    assert_curves_are_drawn(
        page.locator("scalar-card line-chart"),
        page.locator(".run-color-swatch"),
        count=2,
    )


def test_custom_scalars_begin_with_the_losses(look):
    page = look("custom_scalars", "vz-line-chart2 svg path")
    cards = page.locator("tf-custom-scalar-multi-line-chart-card")
    for index, title in enumerate(LOSSES):
        cards.nth(index).get_by_text(title, exact=True).wait_for()
    assert_curves_are_drawn(
        page.locator("vz-line-chart2"),
        page.locator("tf-runs-selector .checked"),
        count=3,
    )


# Whether an image is loaded, and is still part of the page half a second later.
STAYS = """e => {
  e.scrollIntoView();
  return new Promise(done => setTimeout(
    () => done(e.isConnected && e.naturalWidth > 0), 500));
}"""


def test_images_are_drawn(look):
    page = look("images", "tf-image-loader img")
    cards = page.locator("tf-image-loader")
    for name in ("kl_of_units", "reconstructions", "samples", "traversals"):
        card = cards.filter(has_text=f"pictures/{name}")
        image = card.locator("img")
        # TensorBoard puts another element there when it comes into view.
        wait_until(lambda image=image: image.evaluate(STAYS), name)
        pixels = pixels_of(image).astype(int)
        # The model's are grey; the bars of the units are of one colour.
        is_grey = np.ptp(pixels, axis=2) <= 2
        if name == "kl_of_units":
            assert 0.02 < 1 - is_grey.mean() < 0.8
        else:
            assert is_grey.all(), name
        assert len(np.unique(pixels)) > 50, name
        assert pixels.std() > 5, name


def test_hparams_has_a_row_with_the_last_metrics(look, job):
    page = look("hparams", "vaadin-grid-cell-content")
    metrics = json.loads((job / "finished.json").read_text())["test_metrics"]
    cells = page.locator("vaadin-grid-cell-content")

    def texts():
        found = [text.strip() for text in cells.all_inner_texts()]
        return [text for text in found if text]

    name = f"{job.name}/logs/test"
    wait_until(lambda: name in texts(), "row")
    heads = texts()[: texts().index(name)]
    # The first column is of checkboxes, whose cells have no text.
    heads.remove("Show Metrics")
    row = dict(zip(heads, texts()[texts().index(name) :], strict=False))
    for tag, field in {
        "losses/total_loss": "total_loss",
        "losses/reconstruction_loss": "reconstruction_loss",
        "losses/kl_loss": "kl_loss",
        "posterior/active_units": "active_units",
    }.items():
        assert float(row[tag]) == pytest.approx(metrics[field], rel=1e-3)
    assert float(row["batch_size"]) > 0


def test_text_has_the_settings(look, job):
    page = look("text", "tf-text-loader td")
    table = page.locator("tf-text-loader table").filter(has_text="latent_dim")
    rows = [text.split("\t") for text in table.inner_text().splitlines()]
    settings = json.loads((job / "config.json").read_text())["config"]
    assert ["learning_rate", str(settings["learning_rate"])] in rows


def test_projector_draws_the_test_images(look):
    page = look("projector", "iframe")

    # One that TensorBoard makes for the plugin, and the plugin's own in it.
    frame = page.frame_locator("iframe").frame_locator("iframe")
    canvas = frame.locator("#scatter canvas").first
    canvas.wait_for()

    def has_points():
        pixels = pixels_of(canvas).astype(int)
        # The axes have colours, and the background is white.
        is_grey = np.ptp(pixels, axis=2) < 8
        marks = is_grey & (pixels.max(axis=2) < 200)
        height, width = (side // 40 * 40 for side in marks.shape)
        cells = marks[:height, :width].reshape(height // 40, 40, -1, 40)
        # A thumbnail fills much of a cell; a letter or a line does not.
        return (cells.sum(axis=(1, 3)) > 150).sum() > 10

    wait_until(has_points, "points")
