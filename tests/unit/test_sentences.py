"""The pages on what goes wrong quote sentences that the program still says."""

import functools

import pytest

from tests.tools import sentences
from tests.tools.project import ROOT

PAGES = [ROOT / "docs" / name for name in ("troubleshooting.md", "messages.md")]
LEAST = 20


@functools.cache
def texts():
    """Returns the texts of the whole program."""
    return set().union(
        *(
            sentences.texts_of(path.read_text(encoding="utf-8"))
            for path in (ROOT / "trainer").rglob("*.py")
        )
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_sentence_of_the_page_is_in_the_source(page):
    quotes = sentences.quotes_of(page)
    assert len(quotes) == len(set(quotes)) >= LEAST
    assert [q for q in quotes if not sentences.is_said(q, texts())] == []


@pytest.mark.parametrize(
    ("module", "old", "new", "quote"),
    [
        (
            "job_dir/lock.py",
            "is in use by",
            "is held by",
            "<job_dir> is in use by <process>; …",
        ),
        (
            "runtime/stop_signal.py",
            "Interrupted by {self.name}",
            "Interrupted by a signal",
            "Interrupted by <signal>: <state>; run the same command again to "
            "go on.",
        ),
        (
            "job_dir/bucket/answers.py",
            "Permission denied when {doing}",
            "Permission denied while {doing}",
            "Permission denied when <doing> <place> (<answer>); …",
        ),
        (
            "runtime/command.py",
            "A file may not become that large",
            "A file is too large",
            "A file may not become that large; …",
        ),
    ],
)
def test_a_sentence_that_changes_in_the_source_is_missed(
    module, old, new, quote
):
    assert any(quote in sentences.quotes_of(page) for page in PAGES)
    source = (ROOT / "trainer" / module).read_text(encoding="utf-8")
    assert sentences.is_said(quote, sentences.texts_of(source))
    doctored = source.replace(old, new)
    assert not sentences.is_said(quote, sentences.texts_of(doctored))


def test_what_is_a_text_of_the_source_and_what_is_not():
    found = sentences.texts_of(
        '"""The disk is full."""\n'
        "# The disk is full.\n"
        'a = f"{b} is " "not " f"{c}."\n'
        'd = "one" + f" {e}" + "."\n'
        'g = h + "two"\n'
        'i = "In {place} {0} ({said})."\n'
    )
    assert found == {"\0 is not \0.", "one \0.", "two", "In \0 \0 (\0)."}
    for quote in (
        "<it> is not <that>.",
        "<it> is …",
        "… not <that>.",
        "… is not …",
    ):
        assert sentences.is_said(quote, found), quote
    for quote in (
        "<it> is not that.",
        "<it> is not",
        "… is not",
        "is not …",
        "… is no <thing> …",
        "The disk is full.",
    ):
        assert not sentences.is_said(quote, found), quote
