"""The pages of `make docs`: what they show, and where their links lead."""

import html.parser
import inspect
import re
import runpy
import urllib.parse

import keras
import pytest

import trainer
from tests.tools.project import ROOT
from trainer.model import VAE


class Page(html.parser.HTMLParser):
    """The links of a page, the names that links can lead to, and its text."""

    def __init__(self, path):
        super().__init__()
        self.links, self.names, self.text = [], set(), ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if "href" in attributes:
            self.links.append(attributes["href"])
        if "id" in attributes:
            self.names.add(attributes["id"])

    def handle_data(self, data):
        self.text += data


def dead_links_of(folder):
    """Returns the links of the pages of a folder that lead nowhere."""
    pages = {path: Page(path) for path in folder.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            address = urllib.parse.urlsplit(link)
            if address.scheme:
                continue
            target = path
            if address.path:
                target = (path.parent / address.path).resolve()
            there = pages.get(target)
            if there is None or (
                address.fragment and address.fragment not in there.names
            ):
                dead.append(f"{path.relative_to(folder)}: {link}")
    return dead


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    runpy.run_path(str(ROOT / "docs" / "api" / "build.py"))["build"](folder)
    return folder


def test_every_link_of_the_built_pages_leads_somewhere(built):
    assert sum(len(Page(path).links) for path in built.rglob("*.html")) > 50
    assert dead_links_of(built) == []
    # The first page leads on by itself.
    (target,) = re.findall(r"url=(\S+?)\"", (built / "index.html").read_text())
    assert (built / target).exists()


def test_a_link_that_leads_nowhere_is_noticed(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here"><a href="#there"><a href="b.html">'
        '<a href="https://example.com/#x">'
    )
    assert dead_links_of(tmp_path) == ["a.html: #there", "a.html: b.html"]


def test_the_pages_show_what_is_public_and_nothing_else(built):
    door = Page(built / "trainer.html")
    shown = {name for name in trainer.__all__ if name in door.names}
    assert shown == {*trainer.__all__} - {"errors"}
    assert "errors.html" in " ".join(door.links)
    model = Page(built / "trainer" / "model.html")
    assert {*trainer.model.__all__} <= model.names
    methods = {name for name in model.names if name.startswith("VAE.")}
    assert methods == {
        *("VAE.__init__", "VAE.encode", "VAE.decode", "VAE.reconstruct"),
        *("VAE.sample", "VAE.elbo", "VAE.fit", "VAE.evaluate", "VAE.save"),
    }
    for page in (door, model):
        # Where TensorFlow and Keras keep their classes is their own affair.
        assert "keras.src" not in page.text
        assert "tensorflow.python" not in page.text
    assert "(N, latent_dim)" in model.text


def test_the_pages_leave_the_package_as_it_was(built):
    assert "job_dir" in inspect.signature(trainer.train).parameters
    assert "encode" not in vars(VAE)
    assert keras.Model.__module__ != "keras"
