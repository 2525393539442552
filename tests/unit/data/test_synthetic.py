import numpy as np

from trainer.data import synthetic


def test_synthetic_images_are_a_function_of_their_index():
    few, few_labels = synthetic.draw("train", 1500)
    more, more_labels = synthetic.draw("train", 2200)
    np.testing.assert_array_equal(few, more[:1500])
    np.testing.assert_array_equal(few_labels, more_labels[:1500])
    test, _ = synthetic.draw("test", 1500)
    assert not np.array_equal(few, test)


def test_synthetic_classes_can_be_told_apart():
    train, labels = synthetic.draw("train", 2000)
    test, test_labels = synthetic.draw("test", 500)
    centres = np.stack([train[labels == c].mean(0) for c in range(10)])
    distances = ((test[:, np.newaxis] - centres) ** 2).sum((2, 3))
    # A nearest-centre classifier; chance is 0.1.
    assert (distances.argmin(1) == test_labels).mean() > 0.6
    assert train.std(axis=0).mean() > 10, "the images of a class vary"
