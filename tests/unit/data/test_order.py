import time

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from trainer.config import TrainConfig
from trainer.data import order
from trainer.errors import ConfigError
from trainer.schedule import Schedule


def numbered_images(count):
    """Images that say which example they are, in two bytes."""
    images = np.zeros((count, 4, 4, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.divmod(np.arange(count), 256)
    return images


def example_numbers(images):
    pixels = np.asarray(images).astype(int)
    return pixels[:, 0, 0, 0] * 256 + pixels[:, 0, 1, 0]


def example_batches(count, config, replicas, first_step=1):
    """The example numbers of each step, all replicas together, in order."""
    batches = global_batches(
        numbered_images(count), config, replicas, first_step
    )
    return {step: example_numbers(images) for step, images in batches.items()}


def global_batches(images, config, replicas, first_step=1):
    """The images of each step, all replicas together, in order."""
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(replicas)]
    )
    schedule = Schedule.of(config, len(images))
    batches = {}
    for element in order.train_batches(
        images, config, schedule, strategy, first_step
    ):
        slices = [
            strategy.experimental_local_results(element[k]) for k in element
        ]
        for replica in range(replicas):
            part = {
                key: values[replica]
                for key, values in zip(element, slices, strict=True)
            }
            batch = batches.setdefault(int(part["step"]), {})
            batch[int(part["position"])] = part["images"].numpy()
    return {
        step: np.concatenate([parts[place] for place in sorted(parts)])
        for step, parts in batches.items()
    }


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(
    examples=st.integers(1, 500),
    batch_size=st.integers(1, 64),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_an_epoch_has_no_example_twice(examples, batch_size, epoch, seed):
    hypothesis.assume(batch_size <= examples)
    config = TrainConfig(batch_size=batch_size, seed=seed)
    schedule = Schedule.of(config, examples)
    first = epoch * schedule.steps_per_epoch + 1
    seen = np.concatenate(
        [
            order.examples_of_step(
                tf.constant(step, tf.int64), tf.constant(0, tf.int64),
                batch_size, config, schedule, examples,
            )
            for step in range(first, first + schedule.steps_per_epoch)
        ]
    )  # fmt: skip
    assert len(seen) == examples // batch_size * batch_size
    assert len(set(seen)) == len(seen)
    assert seen.min() >= 0
    assert seen.max() < examples


@pytest.mark.parametrize("replicas", [2, 4])
def test_any_number_of_replicas_sees_the_same_batches(replicas):
    config = TrainConfig(batch_size=16, epochs=2)
    one = example_batches(100, config, 1)
    many = example_batches(100, config, replicas)
    assert list(one) == list(many) == list(range(1, 13))
    for step in one:
        np.testing.assert_array_equal(one[step], many[step])


def test_a_pipeline_that_starts_late_goes_on_where_the_whole_one_would():
    config = TrainConfig(batch_size=16, epochs=3)
    whole = example_batches(100, config, 2)
    late = example_batches(100, config, 2, first_step=8)
    assert list(late) == list(range(8, 19))
    for step in late:
        np.testing.assert_array_equal(late[step], whole[step])


def test_other_examples_are_left_over_in_each_epoch():
    config = TrainConfig(batch_size=32, epochs=2)
    batches = example_batches(100, config, 1)
    left_over = [
        set(range(100)) - set(np.concatenate([batches[s] for s in steps]))
        for steps in ((1, 2, 3), (4, 5, 6))
    ]
    assert len(left_over[0]) == len(left_over[1]) == 4
    assert left_over[0] != left_over[1]


def test_the_order_depends_on_the_seed():
    one, other = (
        example_batches(100, TrainConfig(batch_size=50, epochs=1, seed=seed), 1)
        for seed in (0, 1)
    )
    assert not np.array_equal(one[1], other[1])


def test_a_pixel_is_white_as_often_as_its_grey_value_says():
    value = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    draws = 2000
    white = order.binary_images(
        tf.constant(np.repeat(value, draws, axis=0)), 0, 3, 0
    ).numpy()
    assert set(np.unique(white)) == {0, 255}
    share = (white == 255).mean(axis=0).ravel()
    p = np.arange(256) / 255
    assert share[0] == 0
    assert share[255] == 1
    z = (share - p)[1:255] / np.sqrt(p * (1 - p) / draws)[1:255]
    # 254 independent standard normals.
    assert np.abs(z).max() < 4.5
    assert np.mean(z**2) == pytest.approx(1, abs=0.4)


def test_each_step_and_place_and_seed_draws_its_own_pixels():
    grey = tf.fill([4, 28, 28, 1], tf.constant(128, tf.uint8))
    draws = [
        order.binary_images(grey, seed, step, 0).numpy().ravel()
        for seed, step in ((0, 1), (0, 2), (1, 1))
    ]
    draws += np.split(draws[0], 4)[:2]
    for one, other in ((0, 1), (0, 2), (1, 2), (3, 4)):
        agree = np.mean(draws[one] == draws[other])
        assert agree == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("replicas", [2, 4])
def test_any_number_of_replicas_draws_the_same_pixels(replicas):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    config = TrainConfig(
        batch_size=16, epochs=2, reconstruction_loss="bce", binarize="dynamic"
    )
    one = global_batches(images, config, 1)
    many = global_batches(images, config, replicas)
    assert list(one) == list(many) == [1, 2, 3, 4]
    for step in one:
        np.testing.assert_array_equal(one[step], many[step])
    assert set(np.unique(one[1])) == {0, 255}
    late = global_batches(images, config, replicas, first_step=3)
    np.testing.assert_array_equal(late[3], one[3])


@pytest.mark.parametrize("replicas", [1, 4])
@pytest.mark.parametrize("count", [1, 16, 50])
def test_every_test_image_counts_once(replicas, count):
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(replicas)]
    )
    dataset, batches = order.test_batches(
        numbered_images(count), TrainConfig(batch_size=16), strategy
    )
    seen, elements = [], list(dataset)
    for element in elements:
        local = {
            key: strategy.experimental_local_results(value)
            for key, value in element.items()
        }
        for replica in range(replicas):
            counted = local["weights"][replica].numpy() == 1
            numbers = example_numbers(local["images"][replica])[counted]
            assert (
                list(numbers)
                == list(int(local["position"][replica]) + np.arange(16))[
                    : len(numbers)
                ]
            )
            seen += list(numbers)
    assert len(elements) == batches
    assert sorted(seen) == list(range(count))


def test_passes_over_the_test_set_are_all_alike():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    dataset, batches = order.test_batches(
        numbered_images(50), TrainConfig(batch_size=16), strategy, passes=2
    )
    elements = [
        [
            strategy.experimental_local_results(values)[replica].numpy()
            for replica in range(2)
            for values in element.values()
        ]
        for element in dataset
    ]
    assert len(elements) == 2 * batches
    for one, other in zip(elements[:batches], elements[batches:], strict=True):
        for values, other_values in zip(one, other, strict=True):
            np.testing.assert_array_equal(values, other_values)


def test_iterators_end_at_once():
    config = TrainConfig(batch_size=16, epochs=2)
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(4)]
    )
    images = numbered_images(100)
    begun = time.monotonic()
    iterators = [
        iter(
            order.train_batches(
                images, config, Schedule.of(config, 100), strategy, 1
            )
        )
        for _ in range(3)
    ]
    iterators.append(iter(order.test_batches(images, config, strategy)[0]))
    for iterator in iterators:
        next(iterator)
    beginning = time.monotonic() - begun
    # A thread that tunes a pipeline (Model::OptimizeLoop in TensorFlow's
    # model.cc) looks 2.6 s after its start and then 5.1 s after it. Most
    # iterators with such a thread would wait until then.
    time.sleep(2.8)
    started = time.monotonic()
    iterators.clear()
    del iterator
    # Which is work of TensorFlow's as well, and more of it.
    assert time.monotonic() - started < beginning


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ConfigError, match="use at most --batch_size=100"):
        Schedule.of(TrainConfig(batch_size=128), 100)


def test_max_steps_and_epochs_stop_at_whichever_comes_first():
    config = TrainConfig(batch_size=10, epochs=3)
    assert Schedule.of(config, 109).total_steps == 30
    config = TrainConfig(batch_size=10, epochs=3, max_steps=7)
    assert Schedule.of(config, 109).total_steps == 7
    config = TrainConfig(batch_size=10, epochs=3, max_steps=70)
    assert Schedule.of(config, 109).total_steps == 30
