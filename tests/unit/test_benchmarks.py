"""The benchmark: it counts right, compares the same model, and runs."""

import collections
import dataclasses
import importlib.util
import json
import random

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import (
    __main__ as bench,
    contenders,
    evaluating,
    flops,
    intervals,
    keras_fit,
    models,
    overheads,
    profile_ops,
    pytorch,
    pytorch_conv,
    scaling,
    setup as setup_lib,
    throughput,
    time_to_quality,
    turns,
)
from trainer.config import TrainConfig
from trainer.model.build import build_vae
from trainer.runtime.training_flags import parse_flags

WORK = flops.of_config()
LAYERS = [layer.name for layer in WORK.layers]
GOAL = intervals.Goal(1.5, 1.15, more_is_better=True)


@pytest.fixture
def setup(tmp_path, console):
    """Turns of a few steps on drawn images."""
    return setup_lib.Setup(
        console=console,
        folder=tmp_path,
        threads=1,
        data_flags=(
            "--dataset=synthetic",
            "--train_examples=1280",
            "--test_examples=32",
        ),
        rounds=2,
        steps=2,
        epoch_steps=2,
        warm_up_steps=1,
        matmul_size=64,
        matmul_products=2,
    )


def weights_by_layer(seed=1):
    """Random weights of Keras's shapes: [kernel, bias] by layer's name."""
    vae = build_vae(TrainConfig(), (28, 28, 1))
    rng = np.random.default_rng(seed)
    return {
        layer.name: [
            rng.normal(0, 0.05, weight.shape).astype("float32")
            for weight in layer.weights
        ]
        for model in (vae.encoder, vae.decoder)
        for layer in model.layers
        if layer.weights
    }


def batch():
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (8, 28, 28, 1), dtype=np.uint8)
    return images, rng.normal(size=(8, 200)).astype("float32")


def reference_loss():
    """The loss of the trainer's model at those weights, images, noise."""
    vae = build_vae(TrainConfig(), (28, 28, 1))
    for name, values in weights_by_layer().items():
        model = vae.decoder if name.startswith("decoder") else vae.encoder
        model.get_layer(name).set_weights(values)
    images, noise = batch()
    reconstruction, kl, _ = vae.terms(images.astype("float32") / 255, noise)
    return float(tf.reduce_mean(reconstruction + tf.reduce_sum(kl, axis=1)))


def test_the_operations_equal_a_count_by_hand():
    multiply_adds = {
        "encoder_conv_1": 14 * 14 * 3 * 3 * 1 * 32,
        "encoder_conv_2": 7 * 7 * 3 * 3 * 32 * 64,
        "encoder_dense": 3136 * 16,
        "z_mean": 16 * 200,
        "z_log_var": 16 * 200,
        "decoder_dense": 200 * 3136,
        "decoder_conv_1": 7 * 7 * 3 * 3 * 64 * 64,
        "decoder_conv_2": 14 * 14 * 3 * 3 * 64 * 32,
        "decoder_conv_3": 28 * 28 * 3 * 3 * 32 * 1,
    }
    assert list(multiply_adds) == LAYERS
    forward = 2 * sum(multiply_adds.values())
    assert WORK.forward_flops == forward == 14_576_384
    # Twice as much backward, but no gradient of the images.
    first = 2 * multiply_adds["encoder_conv_1"]
    assert WORK.step_flops == 3 * forward - first == 43_616_256


def test_tensorflow_counts_the_same_operations_forward():
    model = keras_fit.build_vae()

    @tf.function
    def forward(images, noise):
        return model.losses_of(images, noise)

    graph = forward.get_concrete_function(
        tf.TensorSpec([1, 28, 28, 1]), tf.TensorSpec([1, 200])
    ).graph
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    counted = tf.compat.v1.profiler.profile(
        graph,
        cmd="op",
        options=builder(builder.float_operation()).with_empty_output().build(),
    ).total_float_ops
    # Beside the products TensorFlow counts biases, activations and the loss:
    # at most a dozen operations an activation.
    activations = 14 * 14 * 32 + 7 * 7 * 64 * 2 + 14 * 14 * 64 + 28 * 28 * 33
    assert 0 <= counted - WORK.forward_flops < 12 * activations


def test_the_interval_of_a_median_is_that_of_the_binomial():
    # 9 samples: 1 - 2 x (1 + 9) / 512 = 0.961 from the 2nd to the 8th.
    samples = [5, 3, 8, 1, 9, 2, 7, 4, 6]
    estimate = intervals.Estimate.of(samples)
    assert (estimate.low, estimate.median, estimate.high) == (2, 5, 8)
    assert estimate.confidence == 1 - 20 / 512
    # Five samples cannot give 95%: 1 - 2 / 32.
    few = intervals.Estimate.of([1, 2, 3, 4, 5])
    assert (few.low, few.high, few.confidence) == (1, 5, 0.9375)
    assert intervals.Estimate.of([7.0]).confidence == 0


def test_the_interval_covers_the_median_as_often_as_it_says():
    rng = random.Random(0)
    covered = 0
    for _ in range(2000):
        estimate = intervals.Estimate.of(
            [rng.lognormvariate(0, 1) for _ in range(9)]
        )
        covered += estimate.low <= 1.0 <= estimate.high
    # Four standard deviations of 2,000 draws at 0.961 are 0.017.
    assert abs(covered / 2000 - estimate.confidence) < 0.018


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.2, 1.6, "meets the target"),
        (1.0, 1.4, "passes"),
        (0.9, 1.1, "missed"),
    ],
)
def test_a_goal_is_missed_only_by_the_whole_interval(low, high, verdict):
    estimate = intervals.Estimate((low + high) / 2, low, high, 0.96, 9)
    assert GOAL.verdict(estimate) == verdict
    less = intervals.Goal(-1.5, -1.15, more_is_better=False)
    mirrored = intervals.Estimate(-(low + high) / 2, -high, -low, 0.96, 9)
    assert less.verdict(mirrored) == verdict


def test_too_few_samples_are_said():
    estimate = intervals.Estimate.of([1.0, 2.0])
    text = intervals.table([intervals.Figure("speed", estimate, GOAL)])
    assert "meets the target, but only 2 samples" in text


def test_a_contender_with_another_model_is_refused():
    with pytest.raises(ValueError, match="has 761,824 parameters"):
        turns.check_parameters("X", 761_824, WORK.parameters)
    assert sum(layer.parameters for layer in WORK.layers) == 761_825


def test_fit_has_the_loss_of_the_trainers_step():
    model = keras_fit.build_vae()
    layers = [
        layer
        for part in (model.encoder, model.decoder)
        for layer in part.layers
        if layer.weights
    ]
    weights = weights_by_layer()
    for name, layer in zip(LAYERS, layers, strict=True):
        layer.set_weights(weights[name])
    images, noise = batch()
    total, _, _ = model.losses_of(images.astype("float32") / 255, noise)
    assert float(total) == pytest.approx(reference_loss(), rel=1e-6)


def test_pytorch_has_the_loss_of_the_trainers_step():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is optional (pip install torch)"
    )
    vae = pytorch.build_vae()
    for name, (kernel, bias) in weights_by_layer().items():
        if kernel.ndim == 4:
            # Its convolutions are Keras's in the mirror. Keras has (height,
            # width, in, out), and in a transposed one out before in.
            kernel = kernel[::-1, ::-1].transpose(3, 2, 0, 1)
        else:
            kernel = kernel.T
        if name == "encoder_dense":
            kernel = kernel.reshape(16, 7, 7, 64)[:, ::-1, ::-1]
            kernel = kernel.transpose(0, 3, 1, 2).reshape(16, -1)
        if name == "decoder_dense":
            kernel = kernel.reshape(7, 7, 64, 200)[::-1, ::-1]
            kernel = kernel.transpose(2, 0, 1, 3).reshape(-1, 200)
            bias = bias.reshape(7, 7, 64)[::-1, ::-1]
            bias = bias.transpose(2, 0, 1).reshape(-1)
        with torch.no_grad():
            vae[name].weight.copy_(torch.from_numpy(kernel.copy()))
            vae[name].bias.copy_(torch.from_numpy(bias.copy()))
    images, noise = batch()
    mirrored = images[:, ::-1, ::-1].astype("float32") / 255
    loss = pytorch.total_loss(
        vae,
        torch.from_numpy(mirrored.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(noise),
    )
    assert loss.item() == pytest.approx(reference_loss(), rel=1e-6)


@pytest.mark.parametrize(
    ("model", "options"), [("mlp", ""), ("conv", "width=16,depth=2")]
)
def test_the_work_of_a_model_is_read_from_its_layers(model, options):
    config = TrainConfig(model=model, model_options=options, latent_dim=8)
    work = flops.of_config(config, (16, 16, 3))
    vae = build_vae(config, (16, 16, 3))
    assert work.parameters == sum(
        weight.shape.num_elements()
        for weight in (*vae.encoder.weights, *vae.decoder.weights)
    )

    @tf.function
    def forward(images, z):
        return vae.encoder(images), vae.decoder(z)

    # The products alone, as TensorFlow counts them.
    graph = forward.get_concrete_function(
        tf.TensorSpec([1, 16, 16, 3]), tf.TensorSpec([1, 8])
    ).graph
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    counted = sum(
        tf.compat.v1.profiler.profile(
            graph,
            cmd="op",
            options=builder(builder.float_operation())
            .with_empty_output()
            .with_accounted_types([operation])
            .build(),
        ).total_float_ops
        for operation in ("MatMul", "Conv2D")
    )
    assert counted == work.forward_flops
    # Only the first layer needs no gradient of what it is given: images.
    assert [
        layer.name for layer in work.layers if not layer.needs_data_gradient
    ] == [work.layers[0].name]


CONV = {"side": 16, "channels": 3, "widths": [8, 16, 32]}


def conv_case():
    """A model of those widths, images, noise, and the trainer's loss of them.

    Its weights are not the first ones, of which some are 0.
    """
    config = TrainConfig(model="conv", model_options="width=16", latent_dim=6)
    vae = build_vae(config, (16, 16, 3))
    rng = np.random.default_rng(4)
    for part in (vae.encoder, vae.decoder):
        part.set_weights([rng.normal(0, 0.1, w.shape) for w in part.weights])
    images = rng.uniform(size=(4, 16, 16, 3)).astype("float32")
    noise = rng.normal(size=(4, 6)).astype("float32")
    reconstruction, kl, _ = vae.terms(images, noise)
    loss = float(tf.reduce_mean(reconstruction + tf.reduce_sum(kl, axis=1)))
    return vae, images, noise, loss


def test_fit_has_the_loss_of_the_trainers_conv():
    vae, images, noise, loss = conv_case()
    fit = keras_fit.build_vae(6, CONV)
    fit.encoder.set_weights(vae.encoder.get_weights())
    fit.decoder.set_weights(vae.decoder.get_weights())
    total, _, _ = fit.losses_of(tf.constant(images), noise)
    assert float(total) == pytest.approx(loss, rel=1e-5)


def test_pytorch_has_the_loss_of_the_trainers_conv():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is optional (pip install torch)"
    )
    vae, images, noise, loss = conv_case()
    other = pytorch_conv.build_vae(6, **CONV)
    # Both name their layers in the order in which they compute.
    theirs = [
        module
        for module in other.modules()
        if list(module.parameters(recurse=False))
    ]
    ours = [
        layer
        for part in (vae.encoder, vae.decoder)
        for layer in part.layers
        if layer.weights
    ]
    for layer, module in zip(ours, theirs, strict=True):
        weight, bias = layer.get_weights()
        if layer.name in ("z_mean", "z_log_var"):
            weight = weight.reshape(4, 4, 32, 6)[::-1, ::-1]
            weight = weight.transpose(3, 2, 0, 1).reshape(6, -1)
        elif layer.name == "decoder_dense":
            weight = weight.reshape(6, 4, 4, 32)[:, ::-1, ::-1]
            weight = weight.transpose(3, 1, 2, 0).reshape(-1, 6)
            bias = bias.reshape(4, 4, 32)[::-1, ::-1].transpose(2, 0, 1)
            bias = bias.reshape(-1)
        elif weight.ndim == 4:
            weight = weight[::-1, ::-1].transpose(3, 2, 0, 1)
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(weight.copy()))
            module.bias.copy_(torch.from_numpy(bias.copy()))
    mirrored = images[:, ::-1, ::-1].transpose(0, 3, 1, 2)
    found = pytorch_conv.total_loss(
        other, torch.from_numpy(mirrored.copy()), torch.from_numpy(noise)
    )
    assert found.item() == pytest.approx(loss, rel=1e-5)


def test_a_profile_is_summed_by_layer():
    milliseconds = collections.Counter(
        {
            ("while/body/_1/while/decoder_1/decoder_conv_2_1/conv", "A"): 3.0,
            ("gradient_tape/while/decoder/decoder_conv_2/conv/F", "B"): 5.0,
            ("while/decoder/decoder_conv_23/conv", "A"): 7.0,
        }
    )
    ((name, spent, rate),) = profile_ops.by_layer(
        WORK.layers, milliseconds, 2, 128
    )
    assert (name, spent) == ("decoder_conv_2", 4.0)
    # 3 x 7,225,344 operations an image, 128 images in 4 ms.
    assert rate == pytest.approx(3 * 7_225_344 * 128 / 4e-3 / 1e9)


def test_all_bytes_cross_a_ring_twice_but_for_one_share():
    machine = scaling.Machine("", 1e12, 8, (0.0, 1e9), (0.0, 1e9))
    assert scaling.BYTES == 3_047_312
    for replicas, share in ((1, 0), (2, 1 / 2), (8, 7 / 8)):
        assert scaling.ring_seconds(machine, replicas) == pytest.approx(
            2 * share * scaling.BYTES / 1e9
        )


def test_the_tables_on_paper_are_those_of_the_script(capsys):
    scaling.main([])
    printed = capsys.readouterr().out
    text = (contenders.ROOT / "benchmarks" / "scaling.md").read_text()
    tables = [line for line in printed.splitlines() if line[:1] in ("|", "*")]
    assert tables == [
        line for line in text.partition("## Tables")[2].splitlines() if line
    ]


def test_time_to_quality_takes_the_first_epoch_that_is_good_enough(tmp_path):
    config = TrainConfig(job_dir=str(tmp_path), learning_rate=0.002)
    record = {"config": config.to_json(), "data": {"train_examples": 60_000}}
    rows = [
        {"step": 468 * epoch, "epoch": epoch, "split": "test", "total_loss": x}
        for epoch, x in enumerate((30.0, 27.0, 27.5, 26.0), start=1)
    ]
    (tmp_path / "config.json").write_text(json.dumps(record))
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(FileNotFoundError, match="no finished job"):
        time_to_quality.Recipe.of(tmp_path)
    (tmp_path / "finished.json").write_text("{}")
    recipe = time_to_quality.Recipe.of(tmp_path)
    assert (recipe.epochs_to(27.0), recipe.epochs_to(25.0)) == (2, None)
    assert recipe.steps_per_epoch == 468
    found = parse_flags(recipe.flags)
    assert dataclasses.replace(found, job_dir=config.job_dir) == config


def test_an_ended_contender_says_why(setup):
    job = setup.job("broken", "--batch_size=9999")
    with (
        pytest.raises(contenders.ContenderError, match="more than the 1280"),
        contenders.started(job),
    ):
        pass


def test_wrong_flags_are_refused(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--only=throughput,speed"])
    assert "--only has speed; give some of" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.main(["--rounds=0"])
    assert "must be 1 or more" in capsys.readouterr().err


@pytest.mark.slow
def test_it_measures_the_throughput_and_what_is_around_it(
    setup, monkeypatch, capsys
):
    # The other modes take a minute to compile, and a turn 32 steps.
    monkeypatch.setattr(
        throughput,
        "FIT_MODES",
        {"fit": False},
    )
    monkeypatch.setattr(
        throughput,
        "PYTORCH_MODES",
        {"PyTorch": {"channels_last": False, "compile": False}},
    )
    figures = throughput.measure(setup)
    has_pytorch = importlib.util.find_spec("torch") is not None
    assert [figure.name for figure in figures] == [
        "throughput over fit",
        *(["throughput over PyTorch"] if has_pytorch else []),
        "share of the roofline",
    ]
    assert all(figure.estimate.low > 0 for figure in figures)
    assert ("PyTorch is not installed" in capsys.readouterr().out) != (
        has_pytorch
    )
    base = setup.job("job")
    with contenders.started(base):
        base.run(1)
        outside, cpu = overheads.around(setup, base)
    assert 0 < outside.estimate.low <= outside.estimate.high < 1
    assert cpu.estimate.low > -1


def a_second_a_sample(seconds_of):
    """Returns it with evaluations that take so long; the long one does not run.

    What a small one takes is hidden by its start.
    """

    def found(command, threads):
        samples = [
            int(flag.partition("=")[2])
            for flag in command
            if flag.startswith("--importance_samples=")
        ]
        if samples != [evaluating.MANY]:
            seconds_of(command, threads)
        return tuple(map(float, samples * 2))

    return found


@pytest.mark.slow
def test_it_measures_other_models(setup, monkeypatch):
    # As above.
    monkeypatch.setattr(throughput, "FIT_MODES", {"fit": False})
    monkeypatch.setattr(
        throughput,
        "PYTORCH_MODES",
        {"PyTorch": {"channels_last": False, "compile": False}},
    )
    monkeypatch.setattr(models, "SHAPE", (16, 16, 3))
    monkeypatch.setattr(models, "CONV", CONV)
    monkeypatch.setattr(
        models,
        "CONV_FLAGS",
        ("--model=conv", "--model_options=width=16", "--latent_dim=8"),
    )
    monkeypatch.setattr(models, "CONV_BYTES", 64 * 16 * 16 * 3)
    monkeypatch.setattr(
        contenders, "seconds_of", a_second_a_sample(contenders.seconds_of)
    )
    setup = dataclasses.replace(setup, pairs=1)
    has_pytorch = importlib.util.find_spec("torch") is not None
    found = models.measure(setup)
    assert [figure.name for figure in found] == [
        "conv over fit",
        *(["conv over PyTorch"] if has_pytorch else []),
        "conv, share of the roofline",
        "bfloat16 over fit, float32",
        "bfloat16 over fit, mixed_bfloat16",
        "vae-evaluate, mlp, 5,000 samples",
    ]
    # 30 samples of 32 images took 30 s, and 10,000 images want 312.5 times
    # what the other 4,970 take.
    minutes = (30 + 10_000 / 32 * 4970) / 60
    assert found[-1].estimate.median == pytest.approx(minutes)
