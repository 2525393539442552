"""Images in the pictures of jobs before 0.4: no gaps, and no `Layout`."""

from trainer.pictures import layout
from trainer.pictures.sheet import MOST_NAMED

# Names stood left of the rows, in so much of the width of these.
_SHARE_OF_NAMES = 0.15


def samples(pixels, height, width, class_count):
    """Returns the images of a grid of samples.

    Args:
        pixels: uint8 array of shape (height, width, channels).
        height: int, of an image.
        width: int, of an image.
        class_count: int, how many classes the model is given; there is a row
            for each of them then.

    Returns:
        uint8 array of shape (rows, columns, height, width, channels); None if
        it is none of ours.
    """
    if class_count:
        rows = min(class_count, MOST_NAMED)
        scale = max(1, pixels.shape[0] // (rows * height))
        pixels = without_names(pixels, width, scale)
    return _images(pixels, height, width)


def reconstructions(pixels, height, width):
    """Returns two rows of images, each pixel of which was repeated.

    Args:
        pixels: as of `samples`.
        height: as of `samples`.
        width: as of `samples`.
    """
    scale = pixels.shape[0] // (2 * height)
    if not scale or pixels.shape[0] % (2 * height):
        return None
    return _images(pixels[::scale, ::scale], height, width)


def without_names(pixels, image_width, scale):
    """Returns a picture without the names at its left, not enlarged.

    Args:
        pixels: uint8 array of shape (height, width, 3).
        image_width: int, pixels.
        scale: int, pixels of the picture per pixel of an image.
    """
    share = 1 + _SHARE_OF_NAMES
    columns = round(pixels.shape[1] / share / (image_width * scale))
    width = columns * image_width * scale
    return pixels[::scale, pixels.shape[1] - width :: scale]


def _images(pixels, height, width):
    if not pixels.size or pixels.shape[0] % height or pixels.shape[1] % width:
        return None
    return layout.of_grid(pixels, height, width).images(pixels)
