import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from trainer.config import TrainConfig
from trainer.model import VAE, Sampler, build_decoder, build_encoder
from trainer.model.build import build_vae
from trainer.model.weights import weights_of


def settings(layer):
    names = ("filters", "units", "kernel_size", "strides", "padding")
    config = layer.get_config()
    return tuple(config[n] for n in names if n in config) + (
        (config["activation"],) if "activation" in config else ()
    )


@pytest.fixture(autouse=True)
def _seed():
    """A job that ran in this process before has made TensorFlow deterministic.

    It then refuses to draw anything until it has a seed.
    """
    tf.random.set_seed(0)


def test_encoder_is_the_seeds():
    encoder = build_encoder(200)
    assert [
        (type(layer).__name__, *settings(layer)) for layer in encoder.layers
    ] == [
        ("InputLayer",),
        ("Conv2D", 32, (3, 3), (2, 2), "same", "relu"),
        ("Conv2D", 64, (3, 3), (2, 2), "same", "relu"),
        ("Flatten",),
        ("Dense", 16, "relu"),
        ("Dense", 200, "linear"),
        ("Dense", 200, "linear"),
    ]
    assert [layer.name for layer in encoder.layers[-2:]] == [
        "z_mean",
        "z_log_var",
    ]
    assert encoder.input_shape == (None, 28, 28, 1)
    assert encoder.output_shape == [(None, 200), (None, 200)]
    assert encoder.count_params() == 75_808


def test_decoder_is_the_seeds():
    decoder = build_decoder(200)
    assert [
        (type(layer).__name__, *settings(layer)) for layer in decoder.layers
    ] == [
        ("InputLayer",),
        ("Dense", 3136, "relu"),
        ("Reshape",),
        ("Conv2DTranspose", 64, (3, 3), (2, 2), "same", "relu"),
        ("Conv2DTranspose", 32, (3, 3), (2, 2), "same", "relu"),
        ("Conv2DTranspose", 1, (3, 3), (1, 1), "same", "sigmoid"),
    ]
    assert decoder.layers[2].target_shape == (7, 7, 64)
    assert decoder.output_shape == (None, 28, 28, 1)
    assert decoder.count_params() == 686_017


def test_other_image_sizes_keep_their_size():
    vae = build_vae(TrainConfig(latent_dim=3), (12, 20, 1))
    assert vae(np.zeros((2, 12, 20, 1), np.float32)).shape == (2, 12, 20, 1)


@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(
    sides=st.tuples(*[st.integers(1, 8)] * 2), channels=st.sampled_from([1, 3])
)
def test_the_decoder_gives_what_the_encoder_takes(sides, channels):
    shape = (4 * sides[0], 4 * sides[1], channels)
    encoder, decoder = build_encoder(2, shape), build_decoder(2, shape)
    assert encoder.input_shape == decoder.output_shape == (None, *shape)
    vae = VAE(encoder, decoder)
    images = np.random.default_rng(0).uniform(size=(3, *shape))
    assert vae(images.astype("f")).shape == images.shape


BAD_SHAPES = st.one_of(
    st.tuples(*[st.integers(-4, 40)] * 3).filter(
        lambda shape: (
            min(shape[:2]) < 4
            or any(side % 4 for side in shape[:2])
            or shape[2] not in (1, 3)
        )
    ),
    st.lists(st.just(4), max_size=2),
    st.lists(st.just(4), min_size=4, max_size=5),
    st.sampled_from([28, None, "28", (28.0, 28.0, 1.0), (None, 28, 1)]),
)


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(shape=BAD_SHAPES)
def test_a_shape_that_the_layers_cannot_take_is_refused(shape):
    for build in (build_encoder, build_decoder):
        with pytest.raises(ValueError, match="sides divisible by 4 and 1 or 3"):
            build(2, shape)


def test_sampler_is_mean_plus_deviation_times_noise():
    mean, log_var, noise = np.random.default_rng(0).normal(size=(3, 4, 5))
    z = Sampler(dtype="float64")(mean, log_var, noise)
    np.testing.assert_allclose(z, mean + np.exp(log_var / 2) * noise)


def test_sampler_draws_noise_of_its_own():
    mean = tf.fill([20_000, 1], 3.0)
    z = Sampler()(mean, tf.fill([20_000, 1], 2 * np.log(0.5).astype("f")))
    assert np.mean(z) == pytest.approx(3, abs=0.02)
    assert np.std(z) == pytest.approx(0.5, abs=0.02)


def test_weights_are_a_function_of_the_seed():
    one, same, other = (
        build_encoder(4, seed=seed).get_weights() for seed in (1, 1, 2)
    )
    for a, b, c in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not c.any() or not np.array_equal(a, c)


def test_a_model_starts_with_the_units_of_a_smaller_one():
    few, whole = (
        build_vae(TrainConfig(**settings), (28, 28, 1))
        for settings in (
            {"latent_dim": 5},
            {"latent_dim": 12, "initial_units": 5},
        )
    )
    for one, other in zip(weights_of(few), weights_of(whole), strict=True):
        within = tuple(slice(size) for size in one.shape)
        np.testing.assert_array_equal(other.numpy()[within], one.numpy())
        assert np.count_nonzero(other) == np.count_nonzero(one)
    assert whole.encoder.output_shape == [(None, 12), (None, 12)]


def test_vae_trains_with_compile_and_fit():
    images = np.random.default_rng(0).uniform(size=(64, 28, 28, 1))
    vae = VAE(build_encoder(2), build_decoder(2))
    vae.compile(optimizer="adam")
    history = vae.fit(images, batch_size=16, epochs=3, verbose=0).history
    assert set(history) == {"total_loss", "reconstruction_loss", "kl_loss"}
    assert history["total_loss"][-1] < history["total_loss"][0]
    evaluated = vae.evaluate(images, verbose=0, return_dict=True)
    assert set(evaluated) >= set(history)
    assert vae.predict(images[:3], verbose=0).shape == (3, 28, 28, 1)


def test_the_learned_deviation_is_the_error_of_the_reconstructions():
    images = np.random.default_rng(0).uniform(size=(64, 8, 8, 1)).astype("f")
    vae = VAE(
        build_encoder(2, (8, 8, 1)),
        build_decoder(2, (8, 8, 1)),
        reconstruction_loss="gaussian",
    )
    vae.compile(optimizer=keras.optimizers.Adam(0.02))
    vae.fit(np.tile(images, (200, 1, 1, 1)), batch_size=64, verbose=0)
    error = np.sqrt(np.mean((vae.predict(images, verbose=0) - images) ** 2))
    assert np.exp(float(vae.log_variance) / 2) == pytest.approx(error, rel=0.1)
    # The deviation of uniform pixels is 0.29; it started elsewhere.
    assert error < 0.3


@pytest.mark.parametrize("loss", ["mse", "bce", "gaussian"])
def test_only_a_gaussian_has_a_weight_of_its_own(loss):
    vae = build_vae(
        TrainConfig(latent_dim=3, reconstruction_loss=loss), (8, 8, 1)
    )
    parts = vae.encoder.weights + vae.decoder.weights
    others = [weight.name for weight in weights_of(vae)[len(parts) :]]
    assert others == (["log_variance"] if loss == "gaussian" else [])
    assert len(vae.trainable_variables) == len(weights_of(vae))


def test_fit_under_a_strategy_has_the_gradient_of_one_device():
    images = np.random.default_rng(0).uniform(size=(16, 28, 28, 1)).astype("f")

    def weights_after_a_step(strategy):
        with strategy.scope():
            vae = VAE(build_encoder(2), build_decoder(2))
            # No noise: what fit draws would differ between replicas.
            vae.sampler = lambda z_mean, z_log_var, epsilon: z_mean
            # Adam hides the size of a gradient; SGD shows it.
            vae.compile(optimizer=keras.optimizers.SGD(0.1))
        vae.fit(
            tf.data.Dataset.from_tensor_slices(images).batch(16),
            shuffle=False,
            verbose=0,
        )
        return [w.numpy() for w in vae.encoder.trainable_variables]

    one = weights_after_a_step(tf.distribute.get_strategy())
    two = weights_after_a_step(
        tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    )
    start = build_encoder(2).get_weights()
    for a, b, before in zip(one, two, start, strict=True):
        np.testing.assert_allclose(a - before, b - before, atol=1e-6, rtol=1e-3)
    assert (
        max(np.abs(a - s).max() for a, s in zip(one, start, strict=True)) > 1e-3
    )


@pytest.mark.parametrize("loss", ["mse", "bce", "gaussian"])
def test_images_of_three_channels_are_learned(loss):
    shape = (8, 8, 3)
    # Each channel has a value of its own, which one channel could not give.
    images = np.empty((256, *shape), np.float32)
    images[:] = [0.1, 0.5, 0.9]
    vae = VAE(
        build_encoder(2, shape),
        build_decoder(2, shape),
        reconstruction_loss=loss,
    )
    vae.compile(optimizer=keras.optimizers.Adam(0.01))
    vae.fit(images, batch_size=16, epochs=10, verbose=0)
    found = vae.predict(images[:4], verbose=0)
    np.testing.assert_allclose(found, images[:4], atol=0.1)


SIDE = 8
GOOD = np.random.default_rng(0).uniform(size=(16, SIDE, SIDE, 1)).astype("f")
WITH_NAN = np.where(np.arange(16)[:, None, None, None] == 9, np.nan, GOOD)
# What the message says of each.
BAD_IMAGES = {
    "uint8": ((255 * GOOD).astype(np.uint8), "pixels are uint8"),
    "int64": ((2 * GOOD).astype(np.int64), "pixels are int64"),
    "0 to 255": (255 * GOOD, "not all from 0 to 1"),
    "-1 to 1": (2 * GOOD - 1, "not all from 0 to 1"),
    "0 to 1.001": (np.where(GOOD > 0.5, 1.001, GOOD), "not all from 0 to 1"),
    "NaN": (WITH_NAN, "not all from 0 to 1"),
    "infinity": (GOOD + np.inf, "not all from 0 to 1"),
    "no channels": (GOOD[..., 0], "the encoder takes"),
    "3 channels": (np.repeat(GOOD, 3, axis=3), "the encoder takes"),
    "4x4": (GOOD[:, :4, :4], "the encoder takes"),
    "16x16": (np.tile(GOOD, (1, 2, 2, 1)), "the encoder takes"),
}
BATCHES = tf.data.Dataset.from_tensor_slices
WAYS = {
    "fit": ({}, lambda vae, x: vae.fit(x, batch_size=8, verbose=0)),
    "fit with labels": (
        {},
        lambda vae, x: vae.fit(x, np.zeros(16), batch_size=8, verbose=0),
    ),
    "fit a dataset": (
        {"steps_per_execution": 2},
        lambda vae, x: vae.fit(BATCHES(x).batch(8), shuffle=False, verbose=0),
    ),
    "fit eagerly": (
        {"run_eagerly": True},
        lambda vae, x: vae.fit(x, batch_size=8, verbose=0),
    ),
    "validate": (
        {},
        lambda vae, x: vae.fit(GOOD, validation_data=(x,), verbose=0),
    ),
    "evaluate": ({}, lambda vae, x: vae.evaluate(x, batch_size=8, verbose=0)),
}


def small_vae(**settings):
    shape = (SIDE, SIDE, 1)
    vae = VAE(build_encoder(2, shape), build_decoder(2, shape))
    vae.compile(optimizer="adam", **settings)
    return vae


@pytest.mark.parametrize(
    ("way", "bad"),
    [
        *(("fit eagerly", bad) for bad in BAD_IMAGES),
        *(
            (way, bad)
            for way in WAYS
            if way != "fit eagerly"
            for bad in ("uint8", "0 to 255")
        ),
        *(
            pytest.param(way, bad, marks=pytest.mark.slow)
            for way in WAYS
            if way != "fit eagerly"
            for bad in ("NaN", "no channels")
        ),
    ],
)
def test_images_that_fit_cannot_learn_from_are_refused(way, bad):
    settings, use = WAYS[way]
    images, message = BAD_IMAGES[bad]
    vae = small_vae(**settings)
    before = vae.get_weights()
    with pytest.raises(
        (ValueError, tf.errors.InvalidArgumentError), match=message
    ):
        use(vae, images)
    if way != "validate" and bad != "NaN":  # It is in the second batch.
        for weight, now in zip(before, vae.get_weights(), strict=True):
            np.testing.assert_array_equal(now, weight)
    assert all(np.isfinite(weight).all() for weight in vae.get_weights())


def test_a_model_that_refused_images_learns_from_others():
    vae = small_vae()
    for bad in (
        GOOD.astype(np.uint8),
        np.repeat(GOOD, 3, axis=3),
        255 * GOOD,
    ):
        for call in (vae.fit, vae.evaluate):
            with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
                call(bad, verbose=0)
    assert np.isfinite(vae.evaluate(GOOD, verbose=0)).all()
    (loss,) = vae.fit(GOOD, verbose=0).history["total_loss"]
    assert 0 < loss < SIDE * SIDE


@pytest.mark.parametrize("way", WAYS)
def test_images_from_0_to_1_are_learned_from(way):
    settings, use = WAYS[way]
    kinds = "float32", "float64", "float16", "bool"
    for kind in kinds if way == "fit eagerly" else kinds[:1]:
        assert use(small_vae(**settings), np.round(GOOD).astype(kind))


def test_xla_does_not_silence_the_check():
    """It compiles no assertion, and Keras uses it on a GPU unasked."""
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
        vae = small_vae(jit_compile=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="from 0 to 1"):
        vae.fit(255 * GOOD, verbose=0)


@pytest.mark.parametrize(
    ("encoder", "decoder", "message"),
    [
        ((2, (8, 8, 1)), (3, (8, 8, 1)), "build both for one latent_dim"),
        ((2, (8, 8, 3)), (2, (8, 8, 1)), "build both for one image_shape"),
        ((2, (8, 8, 1)), (2, (8, 12, 1)), "build both for one image_shape"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(
    encoder, decoder, message
):
    with pytest.raises(ValueError, match=message):
        VAE(build_encoder(*encoder), build_decoder(*decoder))


def test_an_encoder_of_one_output_is_refused():
    whole = build_encoder(2, (8, 8, 1))
    one = keras.Model(whole.inputs, whole.outputs[0])
    with pytest.raises(ValueError, match=r"\[z_mean, z_log_var\]"):
        VAE(one, build_decoder(2, (8, 8, 1)))
