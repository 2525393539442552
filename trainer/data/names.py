"""Names that others chose, in messages: short, and safe on any terminal."""

_SHOWN_CHARACTERS = 120


def shown(text):
    """Returns a name for a message.

    Args:
        text: str or path. What is long is cut, and what a terminal would act
            on, or what is no UTF-8, is written as Python would escape it.
    """
    text = str(text)
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS]}..."
    return text if text.isprintable() else ascii(text)[1:-1]
