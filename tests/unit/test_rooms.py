"""The order of the package: who may import whom, and what things are called.

Imports go down the list of rooms only, wherever in a module they stand, and
no modules import each other in a circle.
"""

import ast
import collections
import pathlib

import pytest

import trainer

PACKAGE = pathlib.Path(trainer.__file__).parent
# From the top down: a module, or all modules of a folder. Those of one line
# stand side by side.
ROOMS = (
    "task",
    "commands",
    "submit",
    "search",
    "comparison",
    "gallery",
    "doctor",
    "in_process",
    "job",
    "job_start job_end",
    "hang",
    "training",
    "loop",
    "tracking",
    "evaluation",
    "pictures",
    "model",
    "data",
    "distributed",
    "job_dir",
    "job_dir.bucket",
    "runtime",
    "config settings model_flags named_datasets patience schedule errors files "
    "places result stored randomness arithmetic",
)
LEVELS = {
    f"trainer.{name}": level
    for level, line in enumerate(reversed(ROOMS))
    for name in line.split()
}
# What `trainer/__init__.py` has that is no module, and that all may have.
FACTS = {"trainer.__version__"}
MAY_EXPORT = {"trainer", "trainer.model"}
SAYS_NOTHING = {"utils", "helpers", "common", "base"}


def level_of(module):
    """Returns how high a module stands, or None if it has no place."""
    if module == "trainer" or module.endswith(".__main__"):
        return len(ROOMS)  # A door, above all rooms.
    while module not in LEVELS and "." in module:
        module = module.rpartition(".")[0]
    return LEVELS.get(module)


def modules_in(package):
    """Returns the path of each module of a folder `trainer`, by name."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        modules[".".join(parts)] = path
    return modules


def names_imported(name, path):
    """Yields (module, name in it or None) of each import of a module."""
    # What a relative import is relative to.
    folder = name.split(".")
    if path.name != "__init__.py":
        folder.pop()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            parts = [node.module] if node.module else []
            if node.level:
                parts = folder[: len(folder) + 1 - node.level] + parts
            for alias in node.names:
                yield ".".join(parts), alias.name


def imports_in(package):
    """Returns the modules of the package that each module imports, by name."""
    modules = modules_in(package)
    imports = {name: set() for name in modules}
    for name, path in modules.items():
        for module, attribute in names_imported(name, path):
            whole = f"{module}.{attribute}" if attribute else module
            if module.split(".")[0] == "trainer" and whole not in FACTS:
                imports[name].add(whole if whole in modules else module)
    return imports


def climbs_in(package):
    """Returns a sentence for each import that goes up."""
    return [
        f"{module} imports {other}, which stands above it"
        for module, others in imports_in(package).items()
        for other in sorted(others)
        if (level_of(other) or 0) > (level_of(module) or 0)
    ]


def circles_in(package):
    """Returns each circle of imports; of each module the shortest."""
    imports = imports_in(package)
    circles = {}
    for module in imports:
        ways, seen = collections.deque([[module]]), set()
        while ways:
            way = ways.popleft()
            if module in imports.get(way[-1], ()):
                circles.setdefault(frozenset(way), [*way, module])
                break
            for other in sorted(imports.get(way[-1], set()) - seen):
                seen.add(other)
                ways.append([*way, other])
    return [" -> ".join(circle) for circle in circles.values()]


def full_inits_in(package):
    """Returns the folders whose `__init__.py` says something."""
    return {
        name
        for name, path in modules_in(package).items()
        if path.name == "__init__.py" and path.read_text(encoding="utf-8")
    }


def vague_names_in(package):
    """Returns the modules and folders whose names say nothing."""
    names = {part for name in modules_in(package) for part in name.split(".")}
    return names & SAYS_NOTHING


def test_every_module_has_a_place():
    modules = modules_in(PACKAGE)
    assert len(modules) > 60
    assert [name for name in modules if level_of(name) is None] == []


def test_imports_go_down():
    found = climbs_in(PACKAGE)
    assert not found, "\n".join(found)


def test_no_modules_import_each_other_in_a_circle():
    found = circles_in(PACKAGE)
    assert not found, "\n".join(found)


def test_only_what_is_public_is_exported():
    assert full_inits_in(PACKAGE) <= MAY_EXPORT


def test_every_name_says_something():
    assert vague_names_in(PACKAGE) == set()


@pytest.fixture
def plant(tmp_path):
    """Writes files, by path, into a package `trainer`; returns its folder."""

    def plant(files):
        for name, content in files.items():
            path = tmp_path / "trainer" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path / "trainer"

    return plant


@pytest.mark.parametrize(
    "line",
    [
        "from trainer.pictures import charts",
        "from trainer.pictures.charts import draw",
        "import trainer.pictures.charts",
        "import numpy, trainer.pictures.charts as charts",
        "from ..pictures import charts",
        "from ..pictures.charts import draw",
        "def f():\n    from trainer.pictures import charts",
        "if TYPE_CHECKING:\n    from trainer.pictures import charts",
    ],
)
def test_an_import_that_goes_up_is_named(plant, line):
    package = plant(
        {
            "__init__.py": "",
            "model/__init__.py": "",
            "model/vae.py": line,
            "pictures/charts.py": "from trainer.model import vae, weights",
            "model/weights.py": "",
        }
    )
    assert climbs_in(package) == [
        "trainer.model.vae imports trainer.pictures.charts, which stands "
        "above it"
    ]


def test_who_imports_the_door_goes_up_but_for_its_facts(plant):
    package = plant(
        {
            "__init__.py": "from trainer.model import vae",
            "model/vae.py": "from trainer import __version__, errors",
            "errors.py": "",
            "submit/__main__.py": "from trainer import load, task",
            "task.py": "from trainer.submit import __main__",
            "files.py": "from trainer import load",
        }
    )
    assert climbs_in(package) == [
        "trainer.files imports trainer, which stands above it",
        "trainer.task imports trainer.submit.__main__, which stands above it",
    ]


def test_a_circle_is_named_once_and_by_its_way(plant):
    package = plant(
        {
            "job_dir/open.py": "from trainer.job_dir import lock, record",
            "job_dir/lock.py": "",
            "job_dir/record.py": "from trainer.job_dir.lock import hold\n"
            "def f():\n    from . import layout",
            "job_dir/layout.py": "from .open import JobDir",
        }
    )
    assert climbs_in(package) == []
    assert circles_in(package) == [
        "trainer.job_dir.layout -> trainer.job_dir.open -> "
        "trainer.job_dir.record -> trainer.job_dir.layout"
    ]


def test_a_module_without_a_place_is_noticed():
    assert (
        level_of("trainer.job_dir.bucket.claim")
        == LEVELS["trainer.job_dir.bucket"]
    )
    assert level_of("trainer.attic.box") is None
    assert level_of("trainer.tools") is None


def test_an_init_that_says_something_is_noticed(plant):
    package = plant({"data/__init__.py": '"""Data."""', "job/__init__.py": ""})
    assert full_inits_in(package) == {"trainer.data"}


@pytest.mark.parametrize("name", ["data/utils.py", "common/idx.py"])
def test_a_name_that_says_nothing_is_noticed(plant, name):
    assert len(vague_names_in(plant({name: "", "data/order.py": ""}))) == 1
