"""The pages of the documentation: their links, code, commands and flags."""

import collections
import dataclasses
import functools
import pathlib
import re
import shlex
import subprocess
import sys

from trainer.config import TrainConfig

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
]
# Flags of every command; absl itself reads the first.
COMMON = {"flagfile", "help", "version", "print_config"}
# What a reader puts a name of his own in the place of.
_PLACEHOLDERS = {
    "PROJECT": "my-project",
    "REPOSITORY": "repository",
    "REGISTRY": "registry.example.com",
    "BUCKET": "my-bucket",
    "$PWD": "/home/me",
}
# What passes its flags on to a command: the image, and targets of make.
_IMAGE, _IMAGE_COMMAND = "vae-trainer", "vae-train"
_TARGETS = {"train": "vae-train", "gallery": "vae-gallery"}
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_FLAG = re.compile(r"--(\w+)")
_VARIABLE = re.compile(r'(\w+)="([^"$]*)"')


def prose_of(page):
    """Returns the text of a page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links_of(page):
    """Returns where the links and pictures of a page lead."""
    return links_in(prose_of(page))


def links_in(text):
    """Returns where the links and pictures in Markdown lead."""
    return _LINK.findall(text)


def anchors_of(page):
    """Yields the anchors that GitHub gives the headings of a page."""
    counts = collections.Counter()
    for title in re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        yield f"{slug}-{counts[slug]}" if counts[slug] else slug
        counts[slug] += 1


def spans_of(page):
    """Returns what stands in the lines of a page as code: lists of words."""
    return [span.split() for span in re.findall(r"`([^`]+)`", prose_of(page))]


def commands_of(page):
    """Yields the commands of ours in the shell's blocks of a page.

    Yields:
        (name, arguments): of a console script, and a list of str.
    """
    for _, language, content in _FENCE.findall(
        page.read_text(encoding="utf-8")
    ):
        values = dict(_PLACEHOLDERS)
        if language != "sh":
            continue
        for line in content.replace("\\\n", "").splitlines():
            for name, value in values.items():
                line = line.replace(name, value)
            if variable := _VARIABLE.fullmatch(line):
                values[f"${variable[1]}"] = variable[2]
            yield from filter(None, map(command_in, _split(line)))


def _split(line):
    """Yields the words of each command of a line."""
    words = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
    words.whitespace_split = True
    command = []
    for word in [*words, ";"]:
        if set(word) <= set("&|;<>"):
            yield command
            command = []
        else:
            command.append(word)


def python_of(page):
    """Yields the Python of a page, and what it says that it prints.

    Yields:
        (program, printed): of a block of Python, and of the text after it;
        empty if there is none.
    """
    blocks = _FENCE.findall(page.read_text(encoding="utf-8"))
    for (_, language, program), (_, following, text) in zip(
        blocks, [*blocks[1:], ("", "", "")], strict=True
    ):
        if language == "python":
            yield program, text if following == "text" else ""


def python_in(text):
    """Returns the blocks of Python in Markdown."""
    return [
        program
        for _, language, program in _FENCE.findall(text)
        if language == "python"
    ]


def command_in(words):
    """Returns the command of ours that words call, wherever it stands.

    Args:
        words: list of str, such as `["timeout", "9", "vae-train", "--seed=1"]`.

    Returns:
        (name, arguments) as `commands_of`; None if there is none.
    """
    for at, word in enumerate(words):
        name, arguments = pathlib.PurePath(word).name, words[at + 1 :]
        name = name.partition(":")[0]  # An image may have a tag.
        if name == "make" and arguments and arguments[0] in _TARGETS:
            given = [word for word in arguments if word.startswith("ARGS=")]
            flags = "".join(given).removeprefix("ARGS=").strip('"').split()
            return _TARGETS[arguments[0]], flags
        name = _IMAGE_COMMAND if name == _IMAGE else name
        if name in modules():
            return name, arguments
    return None


@functools.cache
def modules():
    """Returns the module of each console script, by its name."""
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    return dict(re.findall(r'"(vae-\w+) = ([\w.]+):main"', text))


@functools.cache
def flags_of(name, *words):
    """Returns the flags of a command, as its own help lists them."""
    done = subprocess.run(
        [sys.executable, "-m", modules()[name], *words, "--help"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.findall(r"^\s*--(?:\[no\])?(\w+)", done.stdout, re.MULTILINE)
    if name == "vae-train":
        found += [field.name for field in dataclasses.fields(TrainConfig)]
    return COMMON | set(found)


def unknown(words, known):
    """Returns the flags among words that are not known, or known with `no`."""
    names = [match[1] for word in words if (match := _FLAG.match(word))]
    return [n for n in names if not {n, n.removeprefix("no")} & known]
