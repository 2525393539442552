"""The classes of images, for a model that is given them."""

import numpy as np

from trainer.errors import ConfigError, DataError


def check(config, data):
    """Refuses data whose labels a model cannot be given.

    Args:
        config: a `TrainConfig`.
        data: a `Dataset`.

    Raises:
        ConfigError: it has no labels, or all are the same.
        DataError: a label is of no class.
    """
    if config.condition != "labels":
        return
    splits = dict.fromkeys(("train", data.held_out, "test"))
    for split in splits:
        if getattr(data, f"{split}_labels") is None:
            raise ConfigError(
                f"--condition=labels gives the model the class of each image, "
                f"but the {split} images of {data.called} have no labels; "
                "leave it out, or give data with labels, such as a folder of "
                "images for each class."
            )
    found = np.unique(data.train_labels)
    if len(found) < 2:
        raise ConfigError(
            "--condition=labels gives the model the class of each image, but "
            f"all training images of {data.called} are of one class "
            f"({found[0]}); leave it out, or give data with several classes."
        )
    for split in splits:
        labels = getattr(data, f"{split}_labels")
        if labels.min() < 0 or labels.max() >= len(data.class_names):
            raise DataError(
                f"The {split} labels of {data.called} are from {labels.min()} "
                f"to {labels.max()}, but it has {len(data.class_names)} "
                "classes, which count from 0; mend the labels."
            )


def names(config, data):
    """Returns the names of the classes that a model is given, by label.

    Args:
        config: a `TrainConfig`.
        data: a `Dataset`, as from `check`.

    Returns:
        A tuple of str; empty for a model that is given none.
    """
    return data.class_names if config.condition == "labels" else ()


def given(config, labels):
    """Returns the labels that a model is given: these, or None."""
    return labels if config.condition == "labels" else None
