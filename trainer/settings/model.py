"""Settings of the model and of what it minimises."""

from trainer.settings.declaration import (
    MOST_IN_SHAPE,
    OTHER_LOSS,
    declared,
    setting,
)

# Of a VampPrior, as in the experiments of Tomczak & Welling 2018.
PRIOR_COMPONENTS = 500


@declared
class ModelSettings:
    """Settings of the model and of what it minimises."""

    model: str = setting(
        "notebook",
        "notebook: two convolutions and 16 hidden units; mlp: gated dense "
        "layers; conv: residual blocks, for pictures; hierarchy and "
        "mlp_hierarchy: conv and mlp with groups of latent units; or a "
        "function of yours, package.module:function. With --help, its options "
        "are listed",
        group="Model and objective",
        role="mathematics",
        not_tuned="a search varies numbers, and models have options of their "
        "own",
        unit="name",
        common=True,
    )
    model_options: str = setting(
        "",
        "options of the model, for instance width=64,depth=2",
        group="Model and objective",
        role="mathematics",
        not_tuned="a search varies numbers, and this is a list",
        unit="name=value",
    )
    latent_dim: int = setting(
        200,
        "number of latent units",
        group="Model and objective",
        role="mathematics",
        not_tuned="",
        unit="units",
        minimum=1,
        maximum=MOST_IN_SHAPE,
        common=True,
    )
    # A resume may leave it out: that is for `JobDir.check_settings` to say.
    init_from: str = setting(
        "",
        "job whose weights a new job begins with, local or gs://: those that "
        "fit by name and shape. @last (if nothing is said), @best or @STEP "
        "names the checkpoint. A resume reads it no more, and may leave it out",
        group="Model and objective",
        role="mathematics",
        not_tuned="a search varies numbers, and this is a job",
        unit="folder[@checkpoint]",
    )
    initial_units: int = setting(
        0,
        "latent units that the training starts with; the weights of the others "
        "start at zero; 0: all",
        group="Model and objective",
        role="mathematics",
        not_tuned="",
        unit="units",
        minimum=0,
    )
    reconstruction_loss: str = setting(
        "mse",
        "mse: squared error summed over pixels; bce: Bernoulli; gaussian: "
        "with one learned variance; gaussian_by_channel: with one a channel; "
        "laplace: with one learned scale; logistic: of 8-bit levels, for bits "
        "per dimension",
        group="Model and objective",
        role="mathematics",
        not_tuned=OTHER_LOSS,
        choices=(
            "mse",
            "bce",
            "gaussian",
            "gaussian_by_channel",
            "laplace",
            "logistic",
        ),
        common=True,
    )
    prior: str = setting(
        "standard",
        "standard: N(0, 1) in each latent unit; vamp: the mean posterior of "
        "--prior_components trained images (VampPrior), whose KL is estimated "
        "from one sample",
        group="Model and objective",
        role="mathematics",
        not_tuned="one KL is exact and the other an estimate; compare the best "
        "of each by log p(x), with vae-evaluate",
        choices=("standard", "vamp"),
    )
    prior_components: int = setting(
        PRIOR_COMPONENTS,
        "pseudo-inputs of --prior=vamp; a step encodes them beside its batch",
        group="Model and objective",
        role="mathematics",
        not_tuned="",
        minimum=1,
        maximum=65536,
    )
    condition: str = setting(
        "none",
        "labels: the encoder and the decoder are given the class of an image, "
        "so that images of a class can be drawn; for --model=mlp, conv and "
        "those of yours that take classes, on data with labels",
        group="Model and objective",
        role="mathematics",
        not_tuned=OTHER_LOSS,
        choices=("none", "labels"),
    )
    beta: float = setting(
        1.0,
        "weight of the KL divergence",
        group="Model and objective",
        role="mathematics",
        not_tuned=OTHER_LOSS,
        minimum=0,
        common=True,
    )
    kl_warmup_epochs: float = setting(
        2.0,
        "time over which the weight of the KL divergence rises from 0 to "
        "--beta; 0: none, as in the notebook, which collapses",
        group="Model and objective",
        role="mathematics",
        not_tuned="",
        unit="epochs",
        minimum=0,
    )
    free_bits: float = setting(
        0.0,
        "how much of the KL divergence is not penalised in each latent unit",
        group="Model and objective",
        role="mathematics",
        not_tuned="",
        unit="nats",
        minimum=0,
    )
    seed: int = setting(
        0,
        "seed of the weights, the data order and the noise",
        group="Model and objective",
        role="mathematics",
        not_tuned="the trial with the least test loss would be the luckiest, "
        "not the best; train the best again with other seeds",
        minimum=0,
        common=True,
    )
