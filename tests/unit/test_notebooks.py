"""The notebooks run from the first cell to the last, and show what they say."""

import gzip
import json
import re
import shutil

import numpy as np
import pytest

from tests.tools import notebooks, pages
from tests.tools.idx import idx_bytes
from tests.tools.images import write_classes
from tests.tools.notebooks import NOTEBOOKS, ROOT
from trainer.data import synthetic
from trainer.data.records import open_dataset

ODD = 7  # A test image that is noise.

each_notebook = pytest.mark.parametrize(
    "notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem
)


def write_fashion_mnist(keras_home):
    """Writes drawn images where Keras looks for its Fashion-MNIST."""
    folder = keras_home / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    for split, name, count in (("train", "train", 640), ("test", "t10k", 100)):
        images, labels = synthetic.draw(split, count)
        if split == "test":
            images[ODD] = np.random.default_rng(0).integers(0, 256, (28, 28))
        for kind, array in (
            ("images-idx3-ubyte", images),
            ("labels-idx1-ubyte", labels),
        ):
            content = gzip.compress(idx_bytes(array))
            (folder / f"{name}-{kind}.gz").write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def from_the_notebook(once):
    """The folder in which that notebook has run, with its job."""

    def make(folder):
        folder.mkdir()
        data = write_fashion_mnist(folder / "keras")
        notebooks.run(
            "from_the_notebook.ipynb",
            folder,
            {
                "DATA": {
                    "dataset": "idx",
                    "data_dir": str(data),
                    "eval_epochs": 10,
                    "image_epochs": 10,
                },
                "LATENT_DIM": 8,
                # Drawn images are simple: with 1 it would not collapse.
                "BETA": 20.0,
                "EPOCHS": 10,
                "BATCH_SIZE": 32,
                "WARMUP_EPOCHS": 80,
                "GRID": 3,
            },
            KERAS_HOME=str(folder / "keras"),
        )

    return once("from_the_notebook", make)


def spread(grid):
    """Returns how much the 9 images of a grid differ: a deviation."""
    cells = grid.reshape(3, 28, 3, 28).swapaxes(1, 2).reshape(9, -1)
    return cells.std(axis=0).mean()


def test_the_notebooks_recipe_collapses_and_the_warm_up_mends_it(
    from_the_notebook,
):
    found = notebooks.values_of(from_the_notebook)
    assert found["x_test"].shape == (100, 28, 28, 1)
    assert found["collapsed_units"] == 0
    assert found["mended_units"] > 0
    # A collapsed decoder all but ignores z.
    collapsed, mended = map(
        spread, (found["collapsed_grid"], found["mended_grid"])
    )
    assert mended > 2 * collapsed
    finished = from_the_notebook / "runs" / "mended" / "finished.json"
    assert json.loads(finished.read_text())["collapsed"] is False


@pytest.mark.slow
def test_a_run_is_explored(from_the_notebook, tmp_path):
    job = shutil.copytree(from_the_notebook / "runs" / "mended", tmp_path / "a")
    notebooks.run(
        "explore_a_run.ipynb",
        tmp_path,
        {"JOB_DIR": str(job), "FROM": "Sandal", "TO": "Shirt", "ODD": 5},
        KERAS_HOME=str(from_the_notebook / "keras"),
    )
    found = notebooks.values_of(tmp_path)
    assert found["latent_map"].shape == (100, 2)
    assert found["shares"].sum() == pytest.approx(1)
    # The map shows most of what 8 units say.
    assert found["shares"][:2].sum() > 0.8
    # The end of a path is what the model makes of the image there.
    assert found["paths"].shape == (3, 8, 28, 28, 1)
    steps = np.abs(np.diff(found["paths"], axis=1)).sum(axis=(2, 3, 4))
    assert (steps > 0).all()
    assert found["before"] < 0.5 < found["after"]
    assert found["order"][0] == ODD


@pytest.mark.slow
def test_a_folder_of_pictures_becomes_a_model_and_a_page(tmp_path):
    pictures = write_classes(
        tmp_path / "mine", count=24, names=("a", "b", "c"), height=24, width=20
    )
    notebooks.run(
        "your_images.ipynb",
        tmp_path,
        {
            "PICTURES": str(pictures),
            "SIZE": 16,
            "LATENT_DIM": 4,
            "MODEL_OPTIONS": "width=16",
            "BATCH_SIZE": 16,
            "EPOCHS": 1,
        },
    )
    found = notebooks.values_of(tmp_path)
    with open_dataset(tmp_path / "data/photos") as dataset:
        assert dataset.manifest.class_names == ("a", "b", "c")
    assert found["held_out"].shape[1:] == (16, 16, 3)
    assert found["held_out"].dtype == np.uint8
    assert found["reconstructions"].shape == found["held_out"].shape
    assert found["draws"].shape == (8, 16, 16, 3)
    assert found["draws"].std(axis=0).max() > 0
    page = (tmp_path / "runs/photos/gallery.html").read_text()
    assert "after 1 epoch " in page


@each_notebook
def test_a_notebook_is_what_jupyter_reads_and_holds_no_results(notebook):
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert set(content["metadata"]) == {"kernelspec", "language_info"}
    names = [cell["id"] for cell in content["cells"]]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]{1,64}", name) for name in names)
    for cell in content["cells"]:
        expected = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            expected |= {"outputs", "execution_count"}
        assert set(cell) == expected
    assert len(list(filter(notebooks.has_parameters, content["cells"]))) == 1
    assert notebook.stat().st_size < 20_000


@each_notebook
def test_every_link_of_a_notebook_leads_somewhere(notebook):
    found = []
    for cell in notebooks.cells_of(notebook, "markdown"):
        found += pages.links_in("".join(cell["source"]))
    assert found
    for link in found:
        path, _, anchor = link.partition("#")
        target = (notebook.parent / path).resolve()
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in pages.anchors_of(target), link


def test_the_pages_link_every_notebook():
    for page in (ROOT / "docs" / "README.md", ROOT / "docs" / "python.md"):
        linked = pages.links_of(page)
        for notebook in NOTEBOOKS:
            assert f"notebooks/{notebook.name}" in linked, page


@pytest.fixture
def write_notebook(tmp_path):
    """Writes a notebook of cells of code, the first with the parameters."""

    def write(*sources):
        cells = [
            {"cell_type": "code", "id": f"c{number}", "metadata": {}}
            | {"source": source.splitlines(keepends=True)}
            for number, source in enumerate(sources)
        ]
        cells[0]["metadata"]["tags"] = ["parameters"]
        path = tmp_path / "some.ipynb"
        path.write_text(json.dumps({"cells": cells}))
        return path

    return write


def test_a_notebook_is_run_with_other_parameters(write_notebook, tmp_path):
    path = write_notebook(
        "A = 1\nB = 2", "import numpy\nc = A + B\nd = numpy.array([{}])"
    )
    notebooks.execute(path, {"A": 5}, tmp_path)
    found = notebooks.values_of(tmp_path)
    assert found["c"] == 7
    assert found.keys() == {"A", "B", "c"}


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"C": 1}, r"some.ipynb, cell c0 does not say \['C'\]"),
        ({}, "name 'missing' is not defined"),
    ],
)
def test_what_a_notebook_cannot_do_is_an_error(
    write_notebook, tmp_path, parameters, sentence
):
    path = write_notebook("A = 1", "missing")
    with pytest.raises((AssertionError, NameError), match=sentence):
        notebooks.execute(path, parameters, tmp_path)
