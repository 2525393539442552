"""A dataset: images and labels in memory, and what they are called."""

import dataclasses

import numpy as np

from trainer.data import synthetic


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images and labels in memory.

    Attributes:
        name: which dataset it is.
        train_images: uint8 of shape (N, height, width, 1).
        test_images: uint8 of shape (M, height, width, 1).
        train_labels: uint8 of shape (N,), or None. Training ignores them.
        test_labels: uint8 of shape (M,), or None.
        md5: MD5 of each decompressed file, by name.
        validation_images: uint8 of shape (K, height, width, 1), which are no
            training images then, or None.
    """

    name: str
    train_images: np.ndarray
    test_images: np.ndarray
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None
    md5: dict[str, str]
    validation_images: np.ndarray | None = None

    @property
    def image_shape(self):
        """(height, width, 1)."""
        return self.train_images.shape[1:]

    def description(self):
        """Returns what a job's record says of the data, as JSON values."""
        return {
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
    def class_names(self):
        """Names of the classes, by label; of an IDX folder, the numbers.

        Empty where there are no labels.
        """
        if self.name != "idx":
            return synthetic.CLASS_NAMES
        if self.train_labels is None or self.test_labels is None:
            return ()
        # As a Python integer: 255 + 1 is 0 in uint8.
        largest = int(max(self.train_labels.max(), self.test_labels.max()))
        return tuple(map(str, range(largest + 1)))
