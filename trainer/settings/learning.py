"""Settings of the training's length and of its optimizer."""

from trainer.settings.declaration import MOST_IN_SHAPE, declared, setting


@declared
class LearningSettings:
    """Settings of the training's length and of its optimizer."""

    epochs: int = setting(
        100,
        "passes over the training images",
        group="Length",
        role="length",
        not_tuned="",
        unit="epochs",
        minimum=1,
        common=True,
    )
    max_steps: int = setting(
        0,
        "stop after this many steps if --epochs has not; 0: no such limit",
        group="Length",
        role="length",
        not_tuned="",
        unit="steps",
        minimum=0,
    )
    patience_epochs: int = setting(
        0,
        "end the training when the held-out loss has not been better for so "
        "many epochs; 0: never",
        group="Length",
        role="length",
        not_tuned="trials would end at other steps by luck",
        unit="epochs",
        minimum=0,
    )
    batch_size: int = setting(
        128,
        "images in a training step, over all replicas together",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        unit="images",
        minimum=1,
        maximum=MOST_IN_SHAPE,
        common=True,
    )
    learning_rate: float = setting(
        0.001,
        "step size of Adam",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        above=0,
        common=True,
    )
    adam_epsilon: float = setting(
        1e-7,
        "epsilon of Adam: gradients smaller than it make smaller steps",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        above=0,
    )
    learning_rate_schedule: str = setting(
        "constant",
        "cosine: the learning rate falls to 0 at the last step",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        choices=("constant", "cosine"),
    )
    warmup_steps: int = setting(
        0,
        "steps over which the learning rate rises from 0 to --learning_rate",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        unit="steps",
        minimum=0,
    )
    clip_norm: float = setting(
        0.0,
        "longest gradient, over all weights together: a longer one is scaled "
        "down; 0: any length",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        minimum=0,
    )
    weight_decay: float = setting(
        0.0,
        "part of each kernel that a step takes away, times the learning rate "
        "(AdamW); biases and scales keep theirs",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        minimum=0,
    )
    ema: float = setting(
        0.0,
        "decay of an average of the weights, for instance 0.999, which is "
        "what is evaluated, drawn, exported and loaded; 0: no average",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        minimum=0,
        maximum=0.999999,
    )
