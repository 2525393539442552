"""What is exported runs where this package is not."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from trainer import randomness
from trainer.config import TrainConfig
from trainer.model import export, inference
from trainer.model.build import build_vae
from trainer.model.saved_model import save_saved_model
from trainer.model_flags import BUILT_IN

LATENT_DIM = 5
STRANGER = """
import sys

sys.modules["trainer"] = None  # It is installed, but nobody can import it.
import numpy as np
import tensorflow as tf

sys.modules["keras"] = None
served = tf.saved_model.load(sys.argv[1]).signatures
found = {"signatures": sorted(served)}
with np.load(sys.argv[2], allow_pickle=False) as given:
    for name, inputs in {
        "encode": ["images"],
        "decode": ["z"],
        "reconstruct": ["images"],
        "serving_default": ["images"],
        "generate": ["count", "seed"],
    }.items():
        values = served[name](**{i: tf.constant(given[i]) for i in inputs})
        found |= {f"{name} {key}": value for key, value in values.items()}
np.savez(sys.argv[3], **found)
"""


@pytest.fixture(scope="module")
def vae():
    """A model on two replicas, as a job has it when it ends."""
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        return build_vae(TrainConfig(latent_dim=LATENT_DIM), (28, 28, 1))


@pytest.fixture(scope="module")
def folder(vae, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "export"
    export.save_models(vae, folder)
    return folder


def test_a_stranger_gets_the_trainers_numbers(vae, folder, tmp_path):
    rng = np.random.default_rng(0)
    given = {
        "images": rng.integers(0, 256, (7, 28, 28, 1), dtype=np.uint8),
        "z": rng.normal(size=(7, LATENT_DIM)).astype(np.float32),
        "count": np.int32(7),
        "seed": np.int32(3),
    }
    np.savez(tmp_path / "given.npz", **given)
    subprocess.run(
        [
            *(sys.executable, "-I", "-c", STRANGER),
            *(folder / "saved_model" / "1", "given.npz", "found.npz"),
        ],
        cwd=tmp_path,
        check=True,
    )
    z_mean, z_log_var = vae.encoder(given["images"] / np.float32(255))
    drawn = randomness.normal(
        3, randomness.Tag.PICTURES, 0, 0, 7, LATENT_DIM
    ).numpy()
    expected = {"encode z_mean": z_mean, "encode z_log_var": z_log_var}
    for signature, z in {
        "decode": given["z"],
        "reconstruct": z_mean,
        "serving_default": z_mean,
        "generate": drawn,
    }.items():
        expected[f"{signature} images"] = vae.decoder(z)
        expected[f"{signature} pixels"] = inference.decode(vae, z)
    with np.load(tmp_path / "found.npz", allow_pickle=False) as found:
        assert list(found["signatures"]) == [
            *("decode", "encode", "generate", "reconstruct"),
            "serving_default",
        ]
        for name, value in expected.items():
            value = np.asarray(value)
            assert found[name].dtype == value.dtype, name
            assert found[name].shape == value.shape, name
            difference = np.abs(found[name].astype(float) - value).max()
            print(f"{name}: {difference:.1e}")
            assert difference <= (1 if "pixels" in name else 1e-5), name


# Of convolutions: the default ones would take a minute.
BLOCKS = ("conv", "hierarchy")


@pytest.mark.parametrize("model", BUILT_IN)
def test_a_saved_model_computes_what_its_model_does_to_the_bit(model, tmp_path):
    config = TrainConfig(
        model=model,
        model_options="width=16,depth=1" if model in BLOCKS else "",
        latent_dim=100,
        reconstruction_loss="logistic",
    )
    vae = build_vae(config, (28, 28, 1))
    save_saved_model(vae, tmp_path / "model")
    served = tf.saved_model.load(tmp_path / "model").signatures
    generator = np.random.default_rng(0)
    images = generator.integers(256, size=(5, 28, 28, 1), dtype=np.uint8)
    z = generator.normal(size=(5, 100)).astype(np.float32)
    z_mean, z_log_var = vae.encode(images)
    encoded = served["encode"](images=tf.constant(images))
    np.testing.assert_array_equal(encoded["z_mean"], z_mean)
    np.testing.assert_array_equal(encoded["z_log_var"], z_log_var)
    for found, expected in (
        (served["decode"](z=tf.constant(z)), vae.decode(z)),
        (
            served["reconstruct"](images=tf.constant(images)),
            vae.reconstruct(images),
        ),
        (
            served["generate"](count=tf.constant(5), seed=tf.constant(3)),
            vae.sample(5, seed=3),
        ),
    ):
        np.testing.assert_array_equal(found["images"], expected)


def test_equal_seeds_generate_equal_images(folder):
    served = tf.saved_model.load(folder / "saved_model" / "1")
    generate = served.signatures["generate"]
    one, same, other = (
        generate(count=tf.constant(4), seed=tf.constant(seed))["images"].numpy()
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_model_in_bfloat16_takes_and_gives_float32(tmp_path):
    config = TrainConfig(latent_dim=2, mixed_precision="bfloat16")
    vae = build_vae(config, (28, 28, 1))
    export.save_model_for_vertex(vae, tmp_path / "model")
    served = tf.saved_model.load(tmp_path / "model").signatures["decode"]
    z = tf.random.stateless_normal((3, 2), (0, 0))
    found = served(z=z)
    assert found["images"].dtype == tf.float32
    np.testing.assert_array_equal(found["pixels"], inference.decode(vae, z))


def test_an_export_again_replaces_the_first_and_leaves_nothing(vae, tmp_path):
    half = tmp_path / "saved_model" / ".unfinished-killed-1" / "variables"
    half.mkdir(parents=True)
    for bias in (0.0, 1.0):
        vae.decoder.layers[-1].bias.assign([bias])
        export.save_models(vae, tmp_path)
    served = tf.saved_model.load(tmp_path / "saved_model" / "1")
    z = tf.zeros((1, LATENT_DIM))
    np.testing.assert_allclose(
        served.signatures["decode"](z=z)["images"], vae.decoder(z), atol=1e-5
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "decoder.keras",
        "encoder.keras",
        "saved_model",
    ]
    assert [path.name for path in (tmp_path / "saved_model").iterdir()] == ["1"]
    vae.decoder.layers[-1].bias.assign([0.0])
