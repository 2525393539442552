"""How much of everything a proof does: for a GPU, and to test the tool."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much a proof does.

    Attributes:
        job: of the trainer, strings: the flags of the jobs of the laws.
        steps: int, how many steps these flags make.
        law_2_steps: int, how many of them are compared between devices.
        kills: int.
        xla: tuple of bool, whether XLA compiles the step of a pair of jobs.
        replicas: tuple of int, numbers of virtual devices.
        memory_gib: float, what the virtual devices share of a GPU.
        models: tuple of str, names of `speed.MODELS`.
        precisions: tuple of str, names of `speed.PRECISIONS`.
        contenders: tuple of str, how the names of those begin that compute
            side by side; None for all.
        first_batch: int; None for that of each model.
        most_batch: int, the largest batch that is tried; None for as many
            images as there are.
        seconds: float, how long a batch size is measured.
        rounds: int, turns of each contender.
        turn_seconds: float, about how long a turn takes.
        product: int, rows of the square matrices that are multiplied.
        image_bytes: int, of the pictures in colour.
    """

    job: tuple
    steps: int
    law_2_steps: int
    kills: int
    xla: tuple
    replicas: tuple
    memory_gib: float
    models: tuple
    precisions: tuple
    contenders: tuple | None
    first_batch: int | None
    most_batch: int | None
    seconds: float
    rounds: int
    turn_seconds: float
    product: int
    image_bytes: int


_EVERY_STEP = ("--dataset=synthetic", "--summary_steps=1", "--steps_per_call=2")
SIZES = {
    "gpu": Sizes(
        job=(
            *_EVERY_STEP,
            "--train_examples=5120",
            "--test_examples=1000",
            "--batch_size=128",
            "--epochs=5",
            "--checkpoint_steps=15",
        ),
        steps=200,
        law_2_steps=40,
        kills=5,
        xla=(False, True),
        replicas=(2, 4),
        memory_gib=8,
        models=("notebook", "conv"),
        precisions=("TF32", "bfloat16"),
        contenders=None,
        first_batch=None,
        most_batch=None,
        seconds=1.0,
        rounds=5,
        turn_seconds=0.5,
        product=8192,
        image_bytes=96 << 20,
    ),
    "tiny": Sizes(
        job=(
            *_EVERY_STEP,
            "--train_examples=480",
            "--test_examples=50",
            "--batch_size=16",
            "--epochs=1",
            "--checkpoint_steps=7",
        ),
        steps=30,
        law_2_steps=30,
        kills=1,
        xla=(False,),
        replicas=(2,),
        memory_gib=4,
        models=("notebook",),
        precisions=("TF32",),
        contenders=("trainer",),
        first_batch=8,
        most_batch=8,
        seconds=0.05,
        rounds=1,
        turn_seconds=0.05,
        product=256,
        image_bytes=1 << 20,
    ),
}
