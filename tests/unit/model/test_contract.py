"""Models of others: what they may be, and what is refused, by its name."""

import dataclasses
import random
import threading

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as tf_config

from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.model.build import build_vae, description
from trainer.model.weights import variables_of, weights_of

STRANGERS = "tests.unit.model.strangers"
SHAPE = (8, 12, 3)


def built(name, **settings):
    config = TrainConfig(model=f"{STRANGERS}:{name}", latent_dim=3, **settings)
    return build_vae(config, SHAPE)


@pytest.mark.parametrize(
    "name", ["small", "subclassed", "normalised", "attending"]
)
@pytest.mark.parametrize("loss", ["mse", "bce", "logistic"])
def test_a_strangers_model_is_taken_as_it_is(name, loss):
    vae = built(name, reconstruction_loss=loss)
    images = np.random.default_rng(0).integers(0, 256, (4, *SHAPE)) / 255
    with tf.GradientTape() as tape:
        terms = vae.terms(images, tf.ones([4, 3]))
        loss = tf.reduce_sum(terms[0]) + tf.reduce_sum(terms[1])
    gradients = tape.gradient(loss, weights_of(vae))
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert vae.decode(tf.zeros([2, 3])).shape == (2, *SHAPE)


@pytest.mark.parametrize("name", ["small", "subclassed"])
def test_two_builds_are_the_same_model(name):
    first, second = (variables_of(built(name), None) for _ in range(2))
    assert list(first) == list(second)
    for key, weight in first.items():
        np.testing.assert_array_equal(weight.numpy(), second[key].numpy())
    other = variables_of(built(name, seed=1), None)
    assert any(
        not np.array_equal(weight.numpy(), other[key].numpy())
        for key, weight in first.items()
    )


def test_weights_are_numbered_within_the_model():
    assert list(variables_of(built("small"), None)) == [
        f"{role}/{layer}/{weight}"
        for role, layer in (
            ("encoder", "sequential/conv2d"),
            ("encoder", "sequential/dense"),
            ("encoder", "dense"),
            ("encoder", "dense_1"),
            ("decoder", "sequential/dense"),
            ("decoder", "sequential/dense_1"),
        )
        for weight in ("kernel", "bias")
    ]


def test_who_draws_numbers_beside_a_build_gets_those_without_it(monkeypatch):
    shared = random.Random(5)
    before = shared.getstate()
    monkeypatch.setattr(random, "randint", shared.randint)
    built("small")
    assert random.randint == shared.randint
    assert shared.getstate() == before


def test_threads_that_draw_numbers_change_no_weight():
    # As a client of a bucket does, which waits before it tries again.
    expected = variables_of(built("small"), None)
    ended = threading.Event()

    def draw():
        while not ended.is_set():
            random.randint(1, 10**9)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        found = variables_of(built("small"), None)
    finally:
        ended.set()
        thread.join()
    for key, weight in found.items():
        np.testing.assert_array_equal(weight.numpy(), expected[key].numpy())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("batch_normalised", r"BatchNormalization.*use GroupNormalization"),
        ("dropout", r"\(Dropout\): it draws random numbers of its own"),
        ("noisy", "draws random numbers"),
        ("batch_mean", "other values for an image in another batch"),
        ("counting", r"\(Counting\): it keeps a state that is not trained"),
        ("unrepeatable", "Two builds with the same seed gave .*other values"),
        ("no_log_var", r"gives \(3,\) for an image, not \[z_mean, z_log_var\]"),
        ("other_latent_dim", r"gives \[\(4,\), \(4,\)\].*--latent_dim=3"),
        ("whole_numbers", "encoder gives int32 and float32 values, not floats"),
        ("other_pixels", r"gives \(8, 12, 4\).*=mse takes \(8, 12, 3\)\."),
        ("nothing", r"returns a NoneType, not \(encoder, decoder\)"),
        ("not_models", "encoder is a str, not a keras.Model"),
        ("fails", r"fails to build \(RuntimeError: out of ideas\); mend it"),
        # Keras says it in colour, on several lines, with all arguments.
        ("fails_at_length", r"call\(\)\. The total size .*target_.*\)\); mend"),
        ("exits", r"fails to build \(SystemExit: 0\)"),
        ("infinite", "encoder gives NaN or infinity with its first weights"),
        (
            "branching",
            "encoder works on numbers, but not as a graph .*"
            r"`tf.Tensor` as a Python `bool` is not allowed\.\); use keras",
        ),
        ("in_numpy", r"decoder works on numbers, but not as a graph .*NumPy"),
        ("of_batches", r"encoder works on .* for batches of any size \(.*None"),
        (
            "calling_python",
            r"decoder calls Python out of its graph.* no export",
        ),
        ("sometimes_noisy", "encoder may draw random numbers of its own"),
        ("unused", r"depend on the weight \S+/unused of the encoder.*leave it"),
        ("stopped", "depend on the weight .*kernel of the encoder, or its"),
        ("regularised", "encoder has a loss of its own"),
        ("untracked", r"decoder has the tf\.Variable scale in .*add_weight"),
        ("named_twice", r"called encoder/encoder/posterior/kernel; give each"),
    ],
)
def test_what_breaks_a_law_is_refused_by_name(name, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        variables_of(built(name), None)
    assert str(caught.value).isprintable()


@pytest.fixture
def deterministic():
    """TensorFlow as a job sets it, where a number wants a seed."""
    before = tf_config.is_op_determinism_enabled()
    tf_config.enable_op_determinism()
    yield
    if not before:
        tf_config.disable_op_determinism()


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("name", ["noisy", "sometimes_noisy"])
def test_what_draws_numbers_in_a_job_is_refused_as_elsewhere(name):
    sentence = "draws? random numbers of its own.*leave that out"
    with pytest.raises(ConfigError, match=sentence):
        built(name)


def test_a_model_is_looked_at_where_its_weights_are_mirrored():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        built("attending")
        with pytest.raises(ConfigError, match=r"the weight \S+/unused"):
            built("unused")


def test_a_weight_of_both_parts_is_one_weight():
    vae = built("tied", reconstruction_loss="bce")
    weights = weights_of(vae)
    assert len({id(weight) for weight in weights}) == len(weights)
    assert any(weight is vae.encoder.hidden.kernel for weight in weights)


def test_bce_asks_what_a_decoder_gives():
    built("silent")
    with pytest.raises(ConfigError, match=r"set decoder\.gives to one of"):
        built("silent", reconstruction_loss="bce")


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            "resnet",
            "of notebook, mlp, conv, hierarchy, mlp_hierarchy nor a fun",
        ),
        ("a b:c", "neither one of"),
        ("no_such_package.models:build", "no module no_such_package; run with"),
        (f"{STRANGERS}x:small", f"no module {STRANGERS}x; run with PYTHONPATH"),
        (f"{STRANGERS}:large", "has no large; define large"),
        (f"{STRANGERS}:NOT_A_FUNCTION", "has no function NOT_A_FUNCTION"),
        (f"{STRANGERS}:no_seed", r"it takes \(image_shape, latent_dim\)"),
        (f"{STRANGERS}:odd_option", "option widths without a default that is"),
        (f"{STRANGERS}:odd_annotation", r"cannot be read \(NameError: .*Unkn"),
        ("tests.unit.model.strange_import:build", "ZeroDivisionError: "),
    ],
)
def test_a_model_that_cannot_be_had_is_a_sentence(model, sentence):
    with pytest.raises(ConfigError, match=sentence):
        description(TrainConfig(model=model))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("deep=3", "has no option deep; its options: width, depth"),
        ("width=wide", "is not a whole number, as its default 300 is"),
        ("width=0", "too small; the least is 1"),
        ("width", "is not NAME=VALUE"),
        ("width=3,width=4", "has width twice"),
    ],
)
def test_an_option_that_cannot_be_is_a_sentence(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        description(TrainConfig(model="mlp", model_options=text))


def test_a_job_records_every_option_and_the_source():
    config = TrainConfig(model=f"{STRANGERS}:small", model_options="width=4")
    found = description(config)
    assert found["options"] == {"width": 4}
    assert len(found["source"]) == 64
    default = dataclasses.replace(config, model="mlp", model_options="depth=1")
    assert description(default) == {
        "name": "mlp",
        "options": {"width": 300, "depth": 1},
        "source": "",
    }


def test_initial_units_are_the_notebooks_alone():
    config = TrainConfig(model="mlp", initial_units=2)
    with pytest.raises(ConfigError, match="is for --model=notebook"):
        description(config)
