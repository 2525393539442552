"""What a job needs at least, from its settings and its model alone."""

import dataclasses
import math

from trainer.data import images
from trainer.model.weights import weights_of

# What TensorFlow itself takes on a GPU and on the host before any step: a CUDA
# context with the libraries' handles, and a process with the package loaded.
_CONTEXT_BYTES, _PROCESS_BYTES = 512 << 20, 600 << 20
# Pictures, curves and the exported model.
_RESULTS_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class Needs:
    """Lower bounds in bytes.

    Attributes:
        on_device: of a GPU's memory, for a replica.
        on_host: of the machine's memory where GPUs compute.
        in_all: of the machine's memory where its CPU computes.
        checkpoint: of a checkpoint on the disk.
        on_disk: of the job directory.
    """

    on_device: int
    on_host: int
    in_all: int
    checkpoint: int
    on_disk: int


def of(case):
    """Returns the `Needs` of a `Case`.

    A step holds at least the weights, their gradients, the moments of Adam and
    the average if there is one; the images of a slice and what the model makes
    of them; and what each layer gives, which the gradients are computed from.
    """
    config, facts = case.config, case.facts
    item = 8 if config.precision == "float64" else 4
    weights = item * sum(
        math.prod(weight.shape) for weight in weights_of(case.vae)
    )
    saved = weights * (4 if config.ema else 3)
    replicas = case.cluster.replica_count
    images_at_once = case.here.batch_size // replicas // config.microbatches
    step = saved + weights + images_at_once * _bytes_an_image(case)
    kept = facts.bytes if images.are_kept(facts.bytes) else 0
    keeps = min(config.keep_checkpoints, _checkpoints(case))
    return Needs(
        on_device=_CONTEXT_BYTES + step,
        on_host=_PROCESS_BYTES + kept,
        in_all=_PROCESS_BYTES + kept + replicas * step,
        checkpoint=saved,
        # The best one beside the newest, and the one that is being written.
        on_disk=_RESULTS_BYTES + saved * (keeps + 2),
    )


def _checkpoints(case):
    """Returns how many checkpoints the job makes."""
    schedule = case.schedule
    every = case.config.checkpoint_steps or schedule.steps_per_epoch
    return max(schedule.total_steps // every, 1)


def _bytes_an_image(case):
    """Returns the bytes that a step holds for an image."""
    values = 2 * math.prod(case.facts.image_shape)
    for model in (case.vae.encoder, case.vae.decoder):
        for layer in getattr(model, "layers", ()):
            output = getattr(layer, "output", None)
            shape = getattr(output, "shape", None)
            if shape and None not in shape[1:]:
                values += math.prod(shape[1:])
    if case.config.mixed_precision != "none":
        return 2 * values
    return values * (8 if case.config.precision == "float64" else 4)
