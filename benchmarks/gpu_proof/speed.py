"""How fast the trainer is by batch size, and of the card's matrix product."""

import dataclasses
import json
import subprocess
import sys
import tempfile
import threading

from benchmarks.contenders import ROOT, ContenderError
from benchmarks.gpu_proof import proof as proof_lib, sweep

# Of the trainer, by what is computed in.
PRECISIONS = {
    "TF32": ("--tf32=on",),
    "bfloat16": ("--tf32=on", "--mixed_precision=bfloat16"),
}
_DTYPES = {"TF32": "float32", "bfloat16": "bfloat16"}


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that is measured.

    Attributes:
        flags: of the trainer, strings.
        shape: (height, width, channels) of an image.
        first_batch: int, the batch that its recipe has.
        conv: dict of what `keras_conv` and `pytorch_conv` take; None for the
            notebook's model.
    """

    flags: tuple
    shape: tuple
    first_batch: int
    conv: dict | None = None


MODELS = {
    "notebook": Model(("--dataset=synthetic",), (28, 28, 1), 128),
    # As benchmarks/models.py has it.
    "conv": Model(
        ("--model=conv", "--model_options=width=48", "--latent_dim=128"),
        (64, 64, 3),
        32,
        {"side": 64, "channels": 3, "widths": [24, 48, 96, 192, 192]},
    ),
}


def by_batch(proof, name, precision):
    """Yields the rows of a model: images/s by batch size up to the knee."""
    proof.require_start()
    sizes, model = proof.sizes, MODELS[name]
    flags, count = data_of(proof, name)
    flags = (*flags, *PRECISIONS[precision])
    settings = {
        "flags": flags,
        "first": sizes.first_batch or model.first_batch,
        "most": min(sizes.most_batch or count, count),
        "seconds": sizes.seconds,
        "product": sizes.product,
        "dtype": _DTYPES[precision],
    }
    speeds, facts = {}, None
    for report in _reports(proof, settings):
        if facts is None:
            facts = report
            proof.known[name, precision] = found = {"facts": facts}
            rate = facts["product_flops"] / 1e12
            yield proof_lib.measured(
                "matrix product",
                f"{rate:,.2f} TFLOP/s, {sizes.product}^3 in "
                f"{precision if proof.has_gpu else settings['dtype']}",
                product_flops=facts["product_flops"],
            )
            continue
        batch, speed = report["batch"], report["images_per_second"]
        if speed is not None:
            speeds[batch] = speed
            found["knee"] = sweep.knee(speeds)
            found["speeds"] = dict(speeds)
        yield _of_batch(report, facts)
    if knee := sweep.knee(speeds):
        yield proof_lib.measured(
            "knee", f"batch {knee}: {speeds[knee]:,.0f} images/s", batch=knee
        )


def _of_batch(report, facts):
    """Returns the row of a batch size."""
    title, speed = f"batch {report['batch']}", report["images_per_second"]
    last = f"; the last, since {report['last']}" if report["last"] else ""
    if speed is None:
        return proof_lib.measured(title, report["last"], **report)
    share = speed * facts["step_flops"] / facts["product_flops"]
    peak = report.get("peak_bytes")
    memory = f", peak of {peak / 2**20:,.0f} MiB on the GPU" if peak else ""
    return proof_lib.measured(
        title,
        f"{speed:,.0f} images/s, steps alone, {share:.1%} of the matrix "
        f"product{memory}, first call {report['first_seconds']:.1f} s{last}",
        share=share,
        step_flops=facts["step_flops"],
        product_flops=facts["product_flops"],
        **report,
    )


def _reports(proof, settings):
    """Yields what a process of `sweep` says, and ends it in time.

    Raises:
        OutOfTimeError: the time of the part was over.
        ContenderError: it failed.
    """
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.gpu_proof.sweep"),
                json.dumps(settings),
            ],
            cwd=ROOT,
            env=proof.environ,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        timer = threading.Timer(proof.seconds_left(), process.kill)
        timer.daemon = True
        timer.start()
        try:
            for line in process.stdout:
                yield json.loads(line)
            code = process.wait()
        finally:
            timer.cancel()
            process.kill()
        proof.seconds_left()
        if code:
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip()
            raise ContenderError(f"It ended with exit code {code}:\n{text}")


def data_of(proof, name):
    """Returns the flags of a model and its data, and how many images it has.

    The pictures in colour are drawn at the first call.
    """
    model = MODELS[name]
    if model.conv is None:
        from trainer.data.synthetic import TRAIN_EXAMPLES

        return model.flags, TRAIN_EXAMPLES
    folder = proof.folder / "pictures"
    size = model.shape[0] * model.shape[1] * model.shape[2]
    if not folder.exists():
        from benchmarks import drawn

        drawn.write_dataset(
            folder, model.shape, proof.sizes.image_bytes, sparse=False
        )
    return (*model.flags, f"--data_dir={folder}"), (
        proof.sizes.image_bytes // size
    )
