"""What the code of a user raises, as one line of a message."""

import re

# sys.exit would end this process as if its work were done.
RAISED = (Exception, SystemExit)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# Keras adds a list of all arguments, and TensorFlow a paragraph of advice.
_WHAT_FOLLOWS = re.compile(
    "Arguments received by|You can attempt the following resolutions"
)


def said(error):
    """Returns what an exception says, on one line; its type if nothing."""
    text = _WHAT_FOLLOWS.split(_COLOURS.sub("", str(error)))[0]
    return " ".join(text.split()) or type(error).__name__


def reason(error):
    """Returns the type of an exception and what it says, on one line."""
    return f"{type(error).__name__}: {said(error)}"


def draws_numbers(error):
    """Whether TensorFlow refused to draw numbers in a deterministic job."""
    return "when determinism is enabled" in str(error)
