"""The sentences that a page quotes, and the texts in the source.

A quote of a page stands for what differs with `<...>`, and `…` at an end says
that the sentence goes on there.
"""

import ast
import re

# In the place of each part of a sentence that differs.
_VARIABLE = "\0"
_FIELD = re.compile(r"\{\w*\}")
_STAND_IN = re.compile("<[^<>]+>")
_HEADING = re.compile(r"^### (.*)$", re.MULTILINE)
_FIRST_CELL = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)


def quotes_of(page):
    """Returns what a page quotes: its sub-headings, and first cells in code.

    Args:
        page: `pathlib.Path` of a Markdown file.
    """
    text = page.read_text(encoding="utf-8")
    headings = [heading.strip("`") for heading in _HEADING.findall(text)]
    return headings + _FIRST_CELL.findall(text)


def texts_of(source):
    """Returns the texts of a module, docstrings and comments left out.

    Args:
        source: str, Python. A text may be an f-string, one for `str.format`,
            or a sum of texts; each of its fields becomes one character.
    """
    found = _Texts()
    found.visit(ast.parse(source))
    return found.texts


def is_said(quote, texts):
    """Whether one of some texts is what a page quotes."""
    words = _STAND_IN.sub(_VARIABLE, quote.strip("… "))
    match quote.startswith("…"), quote.endswith("…"):
        case False, False:
            return words in texts
        case False, True:
            return any(text.startswith(words) for text in texts)
        case True, False:
            return any(text.endswith(words) for text in texts)
        case _:
            return any(words in text for text in texts)


class _Texts(ast.NodeVisitor):
    def __init__(self):
        self.texts = set()

    def visit_Expr(self, node):
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_JoinedStr(self, node):
        self.texts.add(_text(node))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)

    def visit_BinOp(self, node):
        text = _text(node)
        if text is None:
            self.generic_visit(node)
        else:
            self.texts.add(text)

    def visit_Constant(self, node):
        if isinstance(node.value, str):
            self.texts.add(_text(node))


def _text(node):
    """Returns the text of a node; None if it is no text."""
    match node:
        case ast.Constant(value=str(value)):
            return _FIELD.sub(_VARIABLE, value)
        case ast.JoinedStr(values=parts):
            return "".join(
                part.value if isinstance(part, ast.Constant) else _VARIABLE
                for part in parts
            )
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            texts = _text(left), _text(right)
            return None if None in texts else "".join(texts)
    return None
