"""On paper: what many GPUs would do with this model. See scaling.md.

python -m benchmarks.scaling
"""

import dataclasses
import math
import sys

from benchmarks import flops

REPLICAS = (1, 2, 4, 8, 16, 64, 256, 1024)
# A step all-reduces the gradients and three losses, in float32.
BYTES = 4 * (flops.of_config().parameters + 3)
# Of the peak. On 2 CPU cores the step reaches 0.44 of a matrix product; on a
# GPU these layers are small and bound by memory. An assumption.
UTILISATION = 0.25
# Kernel launches of a step, about 150 at 5 us: a step is never shorter.
OVERHEAD_SECONDS = 0.75e-3


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


def compute_seconds(machine, images):
    """Seconds of a step's forward and backward pass on one GPU."""
    work = images * flops.of_config().step_flops
    return OVERHEAD_SECONDS + work / (UTILISATION * machine.flops)


def rows(machine, images_of):
    """Returns a row for each number of GPUs.

    Args:
        machine: a `Machine`.
        images_of: function from replicas to each one's images of a step.

    Returns:
        List of (replicas, images of each, seconds of compute, of a ring, of
        a tree, images/s over one GPU's with a ring, and with a tree).
    """
    alone = images_of(1) / compute_seconds(machine, images_of(1))
    result = []
    for replicas in REPLICAS:
        images = images_of(replicas)
        compute = compute_seconds(machine, images)
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


def main():
    """Prints the tables in Markdown."""
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
                machine, images_of
            ):
                times = " | ".join(f"{1e3 * value:.2f}" for value in seconds)
                print(
                    f"| {replicas:,} | {images:,} | {times} | "
                    f"{by_ring:,.1f} | {by_tree:,.1f} |"
                )


if __name__ == "__main__":
    sys.exit(main())
