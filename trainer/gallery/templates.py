"""What pages are made from: templates, and what they share."""

import base64
import pathlib

import jinja2


def environment(*folders):
    """Returns the templates of folders, and those that pages share.

    What comes from a file or a flag is text: autoescape is on for all of it.

    Args:
        *folders: `pathlib.Path`, looked at before that of this module.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(
            [*folders, pathlib.Path(__file__).parent]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def address(kind, content):
    """Returns an image as an address that holds all of it.

    Args:
        kind: str, the subtype of its media type.
        content: bytes.
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
