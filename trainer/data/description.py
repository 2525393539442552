"""What is printed of a dataset on disk."""

from trainer.data import manifest
from trainer.data.names import shown

_CLASSES_SHOWN = 20


def lines(promised, content):
    """Yields what is printed of a dataset.

    Args:
        promised: a `Manifest`.
        content: bytes of its `dataset.json`.
    """
    height, width, channels = promised.image_shape
    colour = "grey" if channels == 1 else "colour"
    yield f"Images: {height}x{width}, {colour}, {promised.total_bytes:,} bytes"
    for name, split in promised.splits.items():
        files = "1 file" if split.shards == 1 else f"{split.shards:,} files"
        yield f"{name}: {split.count:,} images in {files}"
        if split.by_class:
            counts = zip(promised.class_names, split.by_class, strict=True)
            counted = [f"{each} {count:,}" for each, count in counts]
            more = len(counted) - _CLASSES_SHOWN
            end = f", and {more:,} classes more" if more > 0 else ""
            yield f"  {', '.join(counted[:_CLASSES_SHOWN])}{end}"
    yield f"Digest: {manifest.digest(content)}"


def origin(promised):
    """Yields what `dataset.json` says of how it was made, as far as it does."""
    for name in ("source", "flags", "versions", "left_out"):
        value = promised.made.get(name)
        if isinstance(value, dict):
            parts = [
                f"{key} {shown(each)}"
                for key, each in value.items()
                if isinstance(each, str | int | float)
            ]
            yield f"{name}: {', '.join(parts)}"
