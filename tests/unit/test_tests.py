"""What the tests hold themselves to."""

import ast

import pytest

from tests.tools.order import longest_first
from tests.tools.project import ROOT


def imported(tree):
    """Yields the dotted names that a module imports, and from where."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module or ''}.{alias.name}"


def modules_of_tests(source):
    """Names what a module imports from modules that pytest collects."""
    return [
        name
        for name in imported(ast.parse(source))
        if any(
            part == "conftest" or part.startswith("test_")
            for part in name.split(".")
        )
    ]


def test_what_tests_share_is_in_no_test():
    found = {
        path: modules_of_tests(path.read_text())
        for path in (ROOT / "tests").rglob("*.py")
    }
    assert len(found) > 50
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "line",
    [
        "from tests.conftest import small_job",
        "from tests import conftest",
        "from . import conftest",
        "import tests.e2e.conftest",
        "from tests.unit.test_job import rows_of",
        "from ..test_job import rows_of",
        "from tests.unit import test_job",
        "def f():\n    from tests.fakes.test_gcs import RETRY",
    ],
)
def test_an_import_of_a_test_is_noticed(line):
    assert len(modules_of_tests(line)) == 1


class Item:
    def __init__(self, nodeid):
        self.nodeid = nodeid


@pytest.mark.parametrize("long", [0, 1, 5, 10])
@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_each_process_begins_with_its_share_of_the_long_tests(long, processes):
    names = [f"tests/unit/test_files.py::test_{i}" for i in range(17)]
    names += [f"tests/e2e/test_bucket.py::test_{i}" for i in range(long)]
    found = [
        item.nodeid for item in longest_first(list(map(Item, names)), processes)
    ]
    assert sorted(found) == sorted(names)
    rest = found
    for number in range(processes):
        part = rest[: len(rest) // (processes - number)]
        rest = rest[len(part) :]
        kinds = ["e2e" in name for name in part]
        assert kinds == sorted(kinds, reverse=True)
        assert long // processes <= sum(kinds) <= -(-long // processes)
