import dataclasses

import numpy as np

from tests.tools.idx import write_idx_folder
from trainer.data import idx


def test_classes_of_a_folder_are_numbers_up_to_the_largest(tmp_path):
    write_idx_folder(tmp_path / "idx")
    data = idx.read_folder(tmp_path / "idx", "idx")
    labels = np.array([0, 255, 3, 1, 2, 0], np.uint8)
    found = dataclasses.replace(data, train_labels=labels).class_names
    assert (len(found), found[0], found[255]) == (256, "0", "255")
    assert dataclasses.replace(data, test_labels=None).class_names == ()
    named = dataclasses.replace(data, classes=("shirt", "boot"))
    assert named.class_names[1] == "boot"
