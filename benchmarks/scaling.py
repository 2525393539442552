"""On paper: what many GPUs would do with this model. See scaling.md.

python -m benchmarks.scaling
python -m benchmarks.scaling --constants=runs/gpu-proof.json
"""

import argparse
import dataclasses
import json
import math
import pathlib
import sys

from benchmarks import flops

REPLICAS = (1, 2, 4, 8, 16, 64, 256, 1024)
# A step all-reduces the gradients and three losses, in float32.
BYTES = 4 * (flops.of_config().parameters + 3)
_MEASURED_PART = "speed: notebook, TF32"


class ConstantsError(Exception):
    """A file does not tell what a step takes on a GPU."""


@dataclasses.dataclass(frozen=True)
class Constants:
    """What the compute of a step is worked out from.

    Attributes:
        utilisation: float, share of a GPU's peak rate that the work reaches.
        overhead_seconds: float, below which no step gets.
        told: str, where they come from.
    """

    utilisation: float
    overhead_seconds: float
    told: str

    @classmethod
    def of_file(cls, path):
        """Returns those that `make gpu-proof` measured.

        A step of b images takes overhead + b x work / rate: the line through
        the smallest and the largest batch. The rate is given as a share of
        the matrix product that was measured on the same GPU.

        Args:
            path: `pathlib.Path` of its JSON file.

        Raises:
            ConstantsError: it does not tell.
        """
        try:
            found = json.loads(path.read_text())
            model = (found["machine"].get("gpu") or {}).get("model")
            batches = sorted(
                (row["figures"] for row in found["rows"] if _is_batch(row)),
                key=lambda figures: figures["batch"],
            )
        except OSError as error:
            raise ConstantsError(
                f"--constants={path} cannot be read ({error.strerror}); give "
                "the file that make gpu-proof wrote."
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConstantsError(
                f"--constants={path} is not what make gpu-proof writes; give "
                "its file."
            ) from error
        if not model:
            raise ConstantsError(
                f"--constants={path} was measured on a CPU, which says nothing "
                "of GPUs; give one that was measured on a GPU."
            )
        if len(batches) < 2:
            raise ConstantsError(
                f"--constants={path} has {len(batches)} batch sizes of the "
                "notebook's model, and 2 are needed; run make gpu-proof with "
                "more --budget_s."
            )
        few, many = batches[0], batches[-1]
        seconds = [
            one["batch"] / one["images_per_second"] for one in (few, many)
        ]
        slope = (seconds[1] - seconds[0]) / (many["batch"] - few["batch"])
        if slope <= 0:
            raise ConstantsError(
                f"--constants={path} has a larger batch that took no longer; "
                "the overhead is all that it shows. Measure larger batches."
            )
        share = many["step_flops"] / slope / many["product_flops"]
        overhead = max(seconds[0] - slope * few["batch"], 0.0)
        return cls(
            utilisation=share,
            overhead_seconds=overhead,
            told=(
                f"Measured on {model} ({path}): {1e3 * overhead:.2f} ms and "
                f"{share:.2f} of a matrix product, which is put in the place "
                "of the peak below."
            ),
        )


def _is_batch(row):
    """Whether a row of a proof is of a batch size that fits the memory."""
    return (
        row["part"] == _MEASURED_PART
        and row["name"].startswith("batch ")
        and row["figures"].get("images_per_second") is not None
    )


# Of the peak: on 2 CPU cores the step reaches 0.44 of a matrix product; on a
# GPU these layers are small and bound by memory. And kernel launches of a step,
# about 150 at 5 us: a step is never shorter.
ASSUMED = Constants(
    utilisation=0.25,
    overhead_seconds=0.75e-3,
    told="Assumed, not measured: 0.75 ms and 0.25 of the peak.",
)


@dataclasses.dataclass(frozen=True)
class Machine:
    """GPUs of one kind and their links.

    Attributes:
        name: of the machine.
        flops: peak rate of a GPU, per second.
        gpus: in one machine.
        near: (seconds, bytes per second) of a link within the machine.
        far: the same between two machines, of each machine.
    """

    name: str
    flops: float
    gpus: int
    near: tuple[float, float]
    far: tuple[float, float]


MACHINES = (
    Machine("8 x L4, PCIe, 100 Gb/s", 60e12, 8, (10e-6, 16e9), (30e-6, 12.5e9)),
    Machine(
        "8 x A100, NVLink, 4 x 100 Gb/s EFA",
        156e12,
        8,
        (5e-6, 300e9),
        (20e-6, 50e9),
    ),
    Machine(
        "8 x H100, NVLink, 3,200 Gb/s EFA",
        495e12,
        8,
        (5e-6, 450e9),
        (20e-6, 400e9),
    ),
)


def ring_seconds(machine, replicas):
    """Seconds of a ring all-reduce (Patarasuk & Yuan 2009).

    2 (n - 1) messages of BYTES / n one after another, each at the pace of the
    ring's slowest link: alpha + bytes x beta.
    """
    latency, rate = _slowest_link(machine, replicas)
    return 2 * (replicas - 1) * (latency + BYTES / replicas / rate)


def tree_seconds(machine, replicas):
    """Seconds of a pipelined tree (Sanders et al. 2009): up, and down again.

    log2(n) latencies each way, and all bytes twice over a link.
    """
    latency, rate = _slowest_link(machine, replicas)
    if replicas == 1:
        return 0.0
    return 2 * (math.ceil(math.log2(replicas)) * latency + BYTES / rate)


def _slowest_link(machine, replicas):
    return machine.near if replicas <= machine.gpus else machine.far


def compute_seconds(machine, images, constants=ASSUMED):
    """Seconds of a step's forward and backward pass on one GPU."""
    work = images * flops.of_config().step_flops
    rate = constants.utilisation * machine.flops
    return constants.overhead_seconds + work / rate


def rows(machine, images_of, constants=ASSUMED):
    """Returns a row for each number of GPUs.

    Args:
        machine: a `Machine`.
        images_of: function from replicas to each one's images of a step.
        constants: a `Constants`.

    Returns:
        List of (replicas, images of each, seconds of compute, of a ring, of
        a tree, images/s over one GPU's with a ring, and with a tree).
    """
    alone = images_of(1) / compute_seconds(machine, images_of(1), constants)
    result = []
    for replicas in REPLICAS:
        images = images_of(replicas)
        compute = compute_seconds(machine, images, constants)
        exchanges = [
            exchange(machine, replicas)
            for exchange in (ring_seconds, tree_seconds)
        ]
        gains = [
            replicas * images / (compute + exchange) / alone
            for exchange in exchanges
        ]
        result.append((replicas, images, compute, *exchanges, *gains))
    return result


def main(arguments=None):
    """Prints the tables in Markdown."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.scaling", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--constants",
        type=pathlib.Path,
        help="the JSON file of make gpu-proof; assumptions if not given",
    )
    options = parser.parse_args(arguments)
    constants = ASSUMED
    if options.constants:
        try:
            constants = Constants.of_file(options.constants)
        except ConstantsError as error:
            parser.error(str(error))
    print(constants.told)
    print("Latencies and rates of the links are assumed.")
    print(f"{BYTES:,} bytes all-reduced a step;")
    print(f"{flops.of_config().step_flops / 1e6:.2f} MFLOP an image of a step.")
    for title, images_of in (
        ("Global batch 4,096", lambda replicas: 4096 // replicas),
        ("512 images a GPU", lambda replicas: 512),
    ):
        for machine in MACHINES:
            print(f"\n**{title}, {machine.name}**\n")
            print(
                "| GPUs | images each | compute ms | ring ms | tree ms | "
                "speed-up, ring | tree |"
            )
            print("|---:|---:|---:|---:|---:|---:|---:|")
            for replicas, images, *seconds, by_ring, by_tree in rows(
                machine, images_of, constants
            ):
                times = " | ".join(f"{1e3 * value:.2f}" for value in seconds)
                print(
                    f"| {replicas:,} | {images:,} | {times} | "
                    f"{by_ring:,.1f} | {by_tree:,.1f} |"
                )


if __name__ == "__main__":
    sys.exit(main())
