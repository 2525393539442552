"""Builds pages of what is public, from its docstrings: `make docs`."""

import contextlib
import importlib
import pathlib
import re
import sys
from unittest import mock

import keras
import pdoc.doc
import pdoc.render
import tensorflow as tf

import trainer
from trainer.model import VAE

_TEMPLATES = pathlib.Path(__file__).parent / "templates"
_MODULES = ("trainer", "trainer.errors", "trainer.model")
# What a script or a notebook does with a VAE; the rest is for the job.
_METHODS = (
    *("__init__", "encode", "decode", "reconstruct", "sample", "elbo"),
    *("fit", "evaluate", "save"),
)
# Where users know classes from that are defined elsewhere.
_KNOWN_FROM = {
    keras.Model: "keras",
    keras.callbacks.History: "keras.callbacks",
    keras.layers.Layer: "keras.layers",
    tf.Tensor: "tf",
}
_LINK = re.compile(r'<a href="(?P<page>[^"#]*)#(?P<name>[^"]*)">(.*?)</a>')
_NAME = re.compile(r'\bid="([^"]+)"')


def build(folder):
    """Writes an HTML page for each public module, and `index.html`.

    Args:
        folder: `pathlib.Path`; made if it is not there.
    """
    pdoc.render.configure(
        docformat="google",
        template_directory=_TEMPLATES,
        show_source=False,
        search=False,
        footer_text=f"vae-trainer {trainer.__version__}",
    )
    pdoc.render.env.globals["methods_of_vae"] = _METHODS
    with _as_users_know_it():
        modules = {
            name: pdoc.doc.Module(importlib.import_module(name))
            for name in _MODULES
        }
        pages = {
            f"{name.replace('.', '/')}.html": _without_dead_links(
                pdoc.render.html_module(module, modules)
            )
            for name, module in modules.items()
        }
    pages["index.html"] = pdoc.render.html_index(modules)
    for name, content in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


@contextlib.contextmanager
def _as_users_know_it():
    """Gives a VAE the methods that it inherits, and classes their names.

    The page of a class has only what stands in itself.
    """
    with contextlib.ExitStack() as stack:

        def patch(target, name, value):
            stack.enter_context(mock.patch.object(target, name, value))

        # It names all flags, on more than a page.
        patch(trainer.train, "__signature__", None)
        for known, module in _KNOWN_FROM.items():
            patch(known, "__module__", module)
        for name in _METHODS:
            patch(VAE, name, getattr(VAE, name))
        yield


def _without_dead_links(page):
    """Returns a page without links to names that are not shown on it."""
    names = set(_NAME.findall(page))
    return _LINK.sub(
        lambda link: (
            link[0] if link["page"] or link["name"] in names else link[3]
        ),
        page,
    )


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    build(target)
    print(f"Open {target / 'index.html'} in a browser.")
