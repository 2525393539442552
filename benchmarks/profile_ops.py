"""Where a training step's time goes, by operation and by layer.

python -m benchmarks.profile_ops --data_dir=FOLDER
python -m benchmarks.profile_ops --job_dir=DIR     # of a job that has one
"""

import argparse
import collections
import contextlib
import json
import pathlib
import re
import sys
import tempfile

from benchmarks import flops
from trainer.config import TrainConfig
from trainer.runtime.command import quiet_tensorflow
from trainer.runtime.training_flags import parse_flags

_FIRST, _LAST = 31, 40
# Operations are traced as "path/of/the/node:Type"; what else is traced
# are the runtime's own functions, which contain them.
_OPERATION = re.compile(r"^(?P<path>[^:]+):(?P<type>[A-Z_]\w*)$")
_LOOP_PREFIX = re.compile(r"(while/body/_\d+/|while/|gradient_tape/)+")


def operations(job_dir):
    """Returns the profiled operations of a job.

    Args:
        job_dir: `pathlib.Path` of a job that ran with `--profile_steps`.

    Returns:
        Counter of milliseconds by (path, type), all threads together, over
        all steps of the newest profile.

    Raises:
        FileNotFoundError: the job has no profile.
    """
    with quiet_tensorflow():
        from tensorflow.tsl.profiler.protobuf import xplane_pb2
    files = sorted(job_dir.glob("logs/train/plugins/profile/*/*.xplane.pb"))
    if not files:
        raise FileNotFoundError(
            f"{job_dir} holds no profile; run the job with --profile_steps."
        )
    space = xplane_pb2.XSpace.FromString(files[-1].read_bytes())
    milliseconds = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if match := _OPERATION.match(name):
                    key = match["path"], match["type"]
                    milliseconds[key] += event.duration_ps / 1e9
    return milliseconds


def by_layer(layers, milliseconds, steps, batch_size):
    """Returns rows (layer, ms a step, GFLOP/s), the slowest first.

    Args:
        layers: `flops.Layer`s.
        milliseconds: of `operations`.
        steps: int, how many were profiled.
        batch_size: int, images of a step.
    """
    rows = []
    for layer in layers:
        # Keras appends _1 to a layer's name when it is called again.
        name = re.compile(rf"(^|/){layer.name}(_\d+)?(/|$)")
        spent = sum(
            value
            for (path, _), value in milliseconds.items()
            if name.search(path)
        )
        if spent:
            rate = layer.step_flops * batch_size * steps / (spent * 1e6)
            rows.append((layer.name, spent / steps, rate))
    return sorted(rows, key=lambda row: -row[1])


def report(layers, milliseconds, steps, batch_size, top):
    """Returns the tables as text; the arguments are those of `by_layer`."""
    total = sum(milliseconds.values())
    types = collections.Counter()
    for (_, kind), value in milliseconds.items():
        types[kind] += value
    lines = [
        f"{total / steps:.1f} ms of operations a step, all threads together.",
    ]
    for title, rows in (
        ("type", types.most_common(top)),
        (
            "operation",
            [
                (f"{_direction(path)} {_short(path)}:{kind}", value)
                for (path, kind), value in milliseconds.most_common(top)
            ],
        ),
    ):
        lines.append(f"\n{'ms':>7} {'share':>6}  {title}")
        lines += [
            f"{value / steps:7.2f} {value / total:6.1%}  {name}"
            for name, value in rows
        ]
    lines.append(f"\n{'ms':>7} {'GFLOP/s':>8}  layer, forward and backward")
    lines += [
        f"{spent:7.2f} {rate:8.0f}  {name}"
        for name, spent, rate in by_layer(
            layers, milliseconds, steps, batch_size
        )
    ]
    return "\n".join(lines)


def _direction(path):
    return "backward" if "gradient_tape/" in path else "forward "


def _short(path):
    return _LOOP_PREFIX.sub("", path)


def main(arguments=None):
    """Profiles a short job, or reads the profile of one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job_dir", default="", help="of a profiled job")
    parser.add_argument("--top", type=int, default=15, help="rows of a table")
    options, flags = parser.parse_known_args(arguments)
    with contextlib.ExitStack() as stack:
        if options.job_dir:
            job_dir = pathlib.Path(options.job_dir)
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            job_dir = pathlib.Path(folder) / "job"
            _run_profiled(job_dir, flags)
        record = json.loads((job_dir / "config.json").read_text())
        found = operations(job_dir)
    config = TrainConfig.from_json(record["config"])
    # Jobs of early versions have images of this shape, and do not say so.
    image_shape = tuple(record["data"].get("image_shape", (28, 28, 1)))
    layers = flops.of_config(config, image_shape).layers
    first, last = config.profile_range()
    print(
        report(layers, found, last - first + 1, config.batch_size, options.top)
    )


def _run_profiled(job_dir, flags):
    """Runs a short job of these flags with a profile."""
    config = parse_flags(
        [
            f"--job_dir={job_dir}",
            f"--max_steps={_LAST}",
            f"--profile_steps={_FIRST},{_LAST}",
            *flags,
        ]
    )
    with quiet_tensorflow():
        from trainer.job import train_and_evaluate
    train_and_evaluate(config)


if __name__ == "__main__":
    sys.exit(main())
