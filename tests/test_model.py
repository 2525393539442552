import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.model import VAE, Sampler, build_decoder, build_encoder, build_vae
from trainer.train_step import weights_of


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
