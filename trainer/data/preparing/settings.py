"""What a user asks of a preparation."""

import dataclasses
import re

from trainer.data.manifest import MAX_SIDE
from trainer.errors import ConfigError

_SIZE = re.compile(r"([0-9]{1,5})(?:x([0-9]{1,5}))?")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags that decide what the bytes of a dataset are.

    Attributes:
        size: (height, width) in pixels.
        channels: 1, 3, or 0: 1 if each image is grey, else 3.
        fit: `"crop"`, `"pad"` or `"stretch"`.
        background: (red, green, blue), each from 0 to 255.
        test_share: float, of the training images, where there is no test set.
        validation_share: the same for a validation set.
        on_bad: `"refuse"` or `"skip"`, what becomes of an image that cannot be
            read.
        pixel_limit: int, the pixels that an image may have at most.
    """

    size: tuple
    channels: int
    fit: str
    background: tuple
    test_share: float
    validation_share: float
    on_bad: str
    pixel_limit: int

    def __post_init__(self):
        shares = self.test_share, self.validation_share
        # Written so that NaN is refused as well.
        if not all(0 <= share < 1 for share in shares) or not sum(shares) < 1:
            raise ConfigError(
                f"--test_share={self.test_share:g} and "
                f"--validation_share={self.validation_share:g} leave no "
                "training images; each is at least 0, and both together are "
                "less than 1."
            )

    def flags(self):
        """Returns the settings as a user gives them, as JSON values."""
        red, green, blue = self.background
        return {
            "size": f"{self.size[0]}x{self.size[1]}",
            "channels": str(self.channels or "auto"),
            "fit": self.fit,
            "background": f"#{red:02x}{green:02x}{blue:02x}",
            "test_share": self.test_share,
            "validation_share": self.validation_share,
            "on_bad": self.on_bad,
            "pixel_limit": self.pixel_limit,
        }


def parse_size(text):
    """Returns (height, width) of `64` or `48x64`.

    Raises:
        ConfigError: it is neither.
    """
    match = _SIZE.fullmatch(text)
    sides = match and (int(match[1]), int(match[2] or match[1]))
    if not sides or not all(1 <= side <= MAX_SIDE for side in sides):
        raise ConfigError(
            f"--size={text!a} is no size; give a side in pixels, or "
            f"HEIGHTxWIDTH, each from 1 to {MAX_SIDE}."
        )
    return sides


def parse_colour(text):
    """Returns (red, green, blue) of `#rrggbb`.

    Raises:
        ConfigError: it is none.
    """
    if not _COLOUR.fullmatch(text):
        raise ConfigError(
            f"--background={text!a} is no colour; give #rrggbb, such as "
            "#ffffff for white."
        )
    return tuple(bytes.fromhex(text[1:]))
