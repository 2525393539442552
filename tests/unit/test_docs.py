"""The pages are true: their links, flags, commands and the table of flags."""

import datetime
import re

import pytest

from tests.tools import flags_page, pages
from tests.tools.pages import PAGES, ROOT
from tests.tools.submit_command import vae_submit
from trainer import __version__
from trainer.errors import ConfigError
from trainer.runtime.training_flags import parse_flags
from trainer.submit.command import ENGINES
from trainer.submit.verbs import VERBS

README_LINES, README_COLUMNS = 150, 120
CHANGES = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
FILE = re.compile(r"(?:benchmarks|configs|deploy|docs|tests|trainer)/[\w./-]*")
MODULE = re.compile(r"python -m ((?:benchmarks|tests|trainer)[\w.]*)")

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT))
)


@pytest.fixture(scope="module")
def all_flags():
    engines = [("vae-submit", engine) for engine in ENGINES]
    engines.append(("vae-submit", "slurm", "logs"))
    others = [(name,) for name in pages.modules() if name != "vae-submit"]
    return set().union(*(pages.flags_of(*words) for words in engines + others))


def check(name, arguments):
    """Fails if a command would not take its arguments."""
    if name == "vae-submit":
        check_submission(*arguments)
        return
    if name == "vae-tune" and "--" in arguments:
        cut = arguments.index("--")
        assert parse_flags(arguments[cut + 1 :])
        arguments = arguments[:cut]
    assert pages.unknown(arguments, pages.flags_of(name)) == [], arguments
    if name == "vae-train" and not any(map(is_out_of_reach, arguments)):
        assert parse_flags([word for word in arguments if word != "--doctor"])


def check_submission(engine, *words):
    assert engine in ENGINES
    if words[0] in VERBS:
        flags = pages.flags_of("vae-submit", engine, words[0])
        assert pages.unknown(words[1:], flags) == [], words
        return
    cut = words.index("--")
    outcome = vae_submit(engine, *words[:cut], "--dry_run", *words[cut:])
    assert outcome.exit_code == 0, outcome.err


def is_out_of_reach(argument):
    """Whether a flag ends the command early, or names a file of the reader."""
    name, _, value = argument.removeprefix("--").partition("=")
    if name == "flagfile":
        return not (ROOT / value).exists()
    return name in pages.COMMON


@each_page
def test_every_link_leads_somewhere(page):
    for link in pages.links_of(page):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in pages.anchors_of(target), link


def test_the_index_has_every_page():
    index = ROOT / "docs" / "README.md"
    linked = {link.partition("#")[0] for link in pages.links_of(index)}
    there = {page.name for page in index.parent.glob("*.md")}
    assert there - {index.name} <= linked


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= README_LINES
    assert [line for line in lines if len(line) > README_COLUMNS] == []


def test_the_changelog_has_its_form():
    """https://keepachangelog.com/en/1.1.0"""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    _, unreleased, *released = re.split(r"^## ", text, flags=re.MULTILINE)
    assert unreleased.startswith("Unreleased\n")
    titles = [entry.splitlines()[0].split(" - ") for entry in released]
    numbers = [tuple(map(int, title[0].split("."))) for title in titles]
    version = __version__.removesuffix(".dev0")
    number = tuple(map(int, version.split(".")))
    # What is developed comes after the newest release.
    assert (
        number == numbers[0] if version == __version__ else number > numbers[0]
    )
    assert numbers == sorted(set(numbers), reverse=True)
    dates = [datetime.date.fromisoformat(date) for _, date in titles]
    assert dates == sorted(dates, reverse=True)
    for entry in (unreleased, *released):
        kinds = re.findall(r"^### (.*)$", entry, re.MULTILINE)
        assert kinds == [kind for kind in CHANGES if kind in kinds]


@each_page
def test_every_flag_that_a_page_names_exists(page, all_flags):
    for words in pages.spans_of(page):
        _, flags = pages.command_in(words) or (None, words)
        if flags and flags[0].startswith("--"):
            assert pages.unknown(flags, all_flags) == [], words


@each_page
def test_every_command_of_a_page_is_taken(page, monkeypatch):
    monkeypatch.chdir(ROOT)  # Flag files are named from here.
    for name, arguments in pages.commands_of(page):
        check(name, arguments)


def test_every_command_has_an_example():
    named = {name for page in PAGES for name, _ in pages.commands_of(page)}
    assert named == set(pages.modules())


@each_page
def test_every_file_that_a_page_names_is_there(page):
    for words in pages.spans_of(page):
        if FILE.fullmatch(words[0]):
            assert (ROOT / words[0]).exists(), words
    for module in MODULE.findall(page.read_text(encoding="utf-8")):
        path = ROOT / module.replace(".", "/")
        files = path.with_suffix(".py"), path / "__main__.py"
        assert any(file.exists() for file in files), module


def test_the_table_of_flags_is_that_of_the_settings():
    text = flags_page.PAGE.read_text(encoding="utf-8")
    _, between, _ = flags_page.split(text)
    assert between == flags_page.tables(), (
        "run python -m tests.tools.flags_page"
    )


def test_what_does_not_exist_is_noticed(tmp_path, all_flags):
    page = tmp_path / "page.md"
    page.write_text(
        "`--epoch=3`, `--noshuffle`, `docker run --gpus all`, "
        '`make train ARGS="--seeds=1"`\n\n'
        "# A *title*, `code`\n\n# A title code\n\n```sh\n"
        "for i in 0 1; do X=1 vae-evaluate --epochs=3 & done; wait\n"
        'FLAGS="--epochs=0"\n'
        "docker run --gpus all vae-trainer $FLAGS > log # vae-export\n"
        "vae-submit slurm --job_dir=$PWD/a -- --batch_size=0\n"
        "vae-submit slurm status 7 --follow\n```\n"
    )
    epoch, shuffle, docker, seeds, _ = pages.spans_of(page)
    assert pages.unknown(epoch, all_flags) == ["epoch"]
    assert pages.unknown(shuffle, all_flags) == ["noshuffle"]
    assert pages.command_in(docker) is None
    assert pages.command_in(seeds) == ("vae-train", ["--seeds=1"])
    assert list(pages.anchors_of(page)) == ["a-title-code", "a-title-code-1"]
    evaluate, train, submit, ask = pages.commands_of(page)
    assert evaluate == ("vae-evaluate", ["--epochs=3"])
    assert train == ("vae-train", ["--epochs=0"])
    with pytest.raises(AssertionError, match="--epochs=3"):
        check(*evaluate)
    with pytest.raises(ConfigError, match="--epochs=0 is too small"):
        check(*train)
    with pytest.raises(AssertionError, match="--batch_size=0 is too small"):
        check(*submit)
    with pytest.raises(AssertionError, match="follow"):
        check(*ask)


def test_each_promise_of_the_threat_model_has_its_test():
    text = (ROOT / "SECURITY.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", text))
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(
            r"^def (test_\w+)", path.read_text(), re.MULTILINE
        )
    }
    assert named - defined == set()
    rows = re.findall(
        r"^\| (\*\*can\*\*|cannot) .* \| (.*)\|$", text, re.MULTILINE
    )
    assert len(rows) > 20
    for kind, tests in rows:
        assert ("`test_" in tests) == (kind == "cannot")
