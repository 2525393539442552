"""A dataset: images and labels, and what they are called."""

import dataclasses

import numpy as np

from trainer.data.images import StoredImages


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images and labels.

    Attributes:
        name: which dataset it is.
        train_images: uint8 array or `StoredImages`, of shape (N, height,
            width, channels).
        test_images: the same, of shape (M, height, width, channels).
        train_labels: integers of shape (N,), or None. Training ignores them,
            unless the config says `condition="labels"`.
        test_labels: integers of shape (M,), or None.
        md5: MD5 of each decompressed file, by name.
        sha256: SHA-256 of what says all of a dataset on disk, by name.
        classes: tuple of str, their names by label; empty where nobody has
            named them.
        title: str, what people call it; empty for its name.
        validation_images: as `train_images`, of shape (K, height, width,
            channels), which are no training images then, or None.
        validation_labels: integers of shape (K,), or None.
    """

    name: str
    train_images: np.ndarray | StoredImages
    test_images: np.ndarray | StoredImages
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None
    md5: dict[str, str]
    sha256: dict[str, str] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()
    title: str = ""
    validation_images: np.ndarray | StoredImages | None = None
    validation_labels: np.ndarray | None = None

    @property
    def called(self):
        """What a message calls it."""
        return self.title or self.name

    @property
    def image_shape(self):
        """(height, width, channels)."""
        return self.train_images.shape[1:]

    def description(self):
        """Returns what a job's record says of the data, as JSON values."""
        checksums = {"sha256": self.sha256} if self.sha256 else {}
        return {
            **checksums,
            "name": self.name,
            "train_examples": len(self.train_images),
            "test_examples": len(self.test_images),
            "image_shape": list(self.image_shape),
            "md5": self.md5,
        }

    @property
    def held_out(self):
        """The split that a training is watched on.

        That is the validation set, where there is one, so that nothing is
        chosen by the test set.
        """
        return "test" if self.validation_images is None else "validation"

    @property
    def held_out_images(self):
        """The images of that split."""
        return getattr(self, f"{self.held_out}_images")

    @property
    def held_out_labels(self):
        """The labels of that split, or None."""
        return getattr(self, f"{self.held_out}_labels")

    @property
    def class_names(self):
        """Names of the classes, by label; numbers where nobody has named them.

        Empty where there are no labels.
        """
        if self.classes:
            return self.classes
        if self.train_labels is None or self.test_labels is None:
            return ()
        labels = [self.train_labels, self.test_labels]
        if self.validation_labels is not None:
            labels.append(self.validation_labels)
        # As a Python integer: 255 + 1 is 0 in uint8.
        largest = int(max(each.max() for each in labels))
        return tuple(map(str, range(largest + 1)))
