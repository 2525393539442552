"""Runs the notebooks of the documentation, in a process of their own."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np

from tests.tools.project import ROOT

_FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(_FOLDER.glob("*.ipynb"))
_MODULE = "tests.tools.notebooks"
# What the variables of a notebook are when it has ended.
_VALUES = "values.npz"
_KEPT = (np.ndarray, np.generic, int, float)


def cells_of(notebook, kind="code"):
    """Returns the cells of a kind, in their order.

    Args:
        notebook: `pathlib.Path`.
        kind: `"code"` or `"markdown"`.
    """
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return [each for each in content["cells"] if each["cell_type"] == kind]


def has_parameters(cell):
    """Whether a cell holds what a run may say otherwise."""
    return "parameters" in cell["metadata"].get("tags", ())


def run(name, folder, parameters, **environment):
    """Runs the code of a notebook from its first cell to its last.

    Args:
        name: str, of a notebook in docs/notebooks.
        folder: `pathlib.Path`, the working directory; `values_of` reads there
            what came out.
        parameters: dict of what the cell with the parameters gets in place of
            what it says.
        **environment: variables beside those of this process.
    """
    done = subprocess.run(
        [sys.executable, "-m", _MODULE, name, json.dumps(parameters)],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MPLBACKEND": "agg",
            **environment,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def execute(notebook, parameters, folder):
    """Executes the cells in one namespace, as a kernel does.

    Args:
        notebook: `pathlib.Path`.
        parameters: as of `run`.
        folder: `pathlib.Path`, where the numbers and arrays are kept that the
            notebook has at its end.
    """
    names = {"__name__": "__main__"}
    for cell in cells_of(notebook):
        place = f"{notebook.name}, cell {cell['id']}"
        exec(compile("".join(cell["source"]), place, "exec"), names)
        if has_parameters(cell):
            unknown = sorted(parameters.keys() - names.keys())
            assert not unknown, f"{place} does not say {unknown}"
            names.update(parameters)
    arrays = {
        name: array
        for name, value in names.items()
        if isinstance(value, _KEPT)
        # Matplotlib's axes come in arrays, too.
        and (array := np.asarray(value)).dtype != object
    }
    np.savez(folder / _VALUES, **arrays)


def values_of(folder):
    """Returns the numbers and arrays of a run: a dict of arrays."""
    with np.load(folder / _VALUES, allow_pickle=False) as values:
        return dict(values)


if __name__ == "__main__":
    execute(_FOLDER / sys.argv[1], json.loads(sys.argv[2]), pathlib.Path())
