"""A few images of a dataset on disk, to look at."""

import numpy as np

from trainer.data import manifest, records
from trainer.data.stored_files import read_array

_MAX_ROWS = 50


def by_class(source, promised, columns):
    """Returns the first training images of each class.

    Of a dataset in a bucket only the first file of images is fetched.

    Args:
        source: `FolderFiles` or `BucketFiles`.
        promised: a `Manifest`.
        columns: int, how many of each class.

    Returns:
        (images, names): uint8 array of shape (rows x columns, height, width,
        channels), white where a class has fewer, and a list of str, the names
        of the rows; it is empty without classes.

    Raises:
        DataError: a file is missing or damaged.
    """
    split = promised.splits["train"]
    there = split.count
    if source.folder is None:
        there = split.records_in(0)
    if not promised.class_names:
        rows = [np.arange(min(columns * columns, there))]
        names = []
    else:
        labels = read_array(source, promised, manifest.labels_name("train"))
        labels = labels[:there]
        drawn = np.unique(labels)[:_MAX_ROWS]
        rows = [np.flatnonzero(labels == label)[:columns] for label in drawn]
        names = [promised.class_names[label] for label in drawn]
    indices = np.concatenate(rows)
    images = _read(source, promised, indices)
    places = np.concatenate(
        [row * columns + np.arange(len(each)) for row, each in enumerate(rows)]
    )
    cells = -(-(int(places.max()) + 1) // columns) * columns
    sheet = np.full((cells, *promised.image_shape), 255, np.uint8)
    sheet[places] = images
    return sheet, names


def _read(source, promised, indices):
    if source.folder is not None:
        with records.open_dataset(source.folder) as dataset:
            return dataset.splits["train"].read(indices)
    split = promised.splits["train"]
    name = manifest.shard_name("train", 0, split.shards)
    return read_array(source, promised, name)[indices]
