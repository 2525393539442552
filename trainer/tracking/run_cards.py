"""What TensorBoard shows of a job as a whole.

The Text tab has its settings, the HParams tab its row, and the Custom Scalars
tab its curves with the losses first. They stand in an event file of their own,
which each session writes anew, so that nothing is there twice.
"""

import datetime
import html
import io
import re
import time

import tensorflow as tf
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.custom_scalar import (
    layout_pb2,
    metadata as custom_scalar_metadata,
)
from tensorboard.plugins.hparams import (
    api_pb2,
    metadata as hparams_metadata,
    plugin_data_pb2,
)
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from trainer import files
from trainer.config import names_of
from trainer.model_flags import GROUPED
from trainer.tracking.summaries import CURVES, GROUP_CURVES, curve_tag
from trainer.tracking.tensorboard import event_file, next_event_file

SETTINGS_TAG = "job/settings"
# Event files before and after those of the sessions, which are called after
# hosts: no host has an underscore in its name.
_JOB, _END = "_job", "_end"
_UNFINISHED = f"{files.TEMPORARY_PREFIX}job"
# Said by a checksum.
_PATH, _DIGITS = "init_from", 12
# What Markdown would take for its own.
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!|])")


def write(job, held_out):
    """Writes what is known of a job when a session of it starts.

    Args:
        job: a claimed `JobDir` with its record.
        held_out: the split that the model is evaluated on, in whose run
            HParams finds the metrics.
    """
    record = job.record()
    folder = job.logs / held_out
    folder.mkdir(parents=True, exist_ok=True)
    # One that had finished, and has more epochs to do, goes on.
    for path in folder.glob(f"events.out.tfevents.*.{_END}"):
        path.unlink()
    started = datetime.datetime.fromisoformat(record["sessions"][0]["started"])
    # HParams finds a job's metrics in the run that has this. A group without
    # a name is called after its run, which is one job's alone.
    start = hparams_pb(
        hyperparameters(record),
        trial_id="",
        start_time_secs=started.timestamp(),
    )
    settings = text_pb(SETTINGS_TAG, settings_table(job.config(), record))
    _write_events(
        event_file(folder, 0, _JOB),
        [start, settings, _layout_pb(layout(_has_groups(record)))],
        started.timestamp(),
    )


def write_end(job, held_out):
    """Writes that a job is finished; `held_out` as for `write`."""
    now = time.time()
    end = summary_pb2.Summary()
    end.value.add(
        tag=hparams_metadata.SESSION_END_INFO_TAG,
        metadata=hparams_metadata.create_summary_metadata(
            plugin_data_pb2.HParamsPluginData(
                session_end_info=plugin_data_pb2.SessionEndInfo(
                    status=api_pb2.STATUS_SUCCESS, end_time_secs=now
                )
            )
        ),
        tensor=hparams_metadata.NULL_TENSOR,
    )
    _write_events(next_event_file(job.logs / held_out, _END), [end], now)


def hyperparameters(record):
    """Returns what may explain that one job came out better than another.

    Args:
        record: dict, as in `config.json`.

    Returns:
        dict of bool, int, float or str by name.
    """
    config, data = record["config"], record["data"]
    initial = record.get("initial_weights")
    return {
        **{
            name: config[name]
            for name in names_of("mathematics") + names_of("length")
            if name != _PATH
        },
        **({_PATH: initial["sha256"][:_DIGITS]} if initial else {}),
        "dataset": data["name"],
        "train_examples": data["train_examples"],
        "test_examples": data["test_examples"],
        "devices": record["sessions"][-1]["devices"],
    }


def settings_table(config, record):
    """Returns a job's settings, data, devices and versions as Markdown.

    Paths and addresses are left out: they say nothing of the result, and may
    hold a secret.

    Args:
        config: the `TrainConfig`.
        record: dict, as in `config.json`.
    """
    data = record["data"]
    parts = {
        "Data": {
            "name": data["name"],
            "training images": f"{data['train_examples']:,}",
            "test images": f"{data['test_examples']:,}",
            "image shape": " x ".join(map(str, data["image_shape"])),
            **{f"MD5 of {name}": md5 for name, md5 in data["md5"].items()},
        },
        "Model": model_of(record),
        "First weights": _first_weights(record),
        "Settings": {
            name: value
            for name, value in config.shared().items()
            if name != _PATH
        },
        "Devices": {
            "replicas": record["sessions"][-1]["devices"],
            "XLA": record["jit_compile"],
        },
        "Versions": record["versions"],
    }
    return "\n".join(
        f"| {title} | |\n|---|---|\n"
        + "".join(
            f"| {_plain(name)} | {_plain(value)} |\n"
            for name, value in part.items()
        )
        for title, part in parts.items()
        if part
    )


def _first_weights(record):
    """Returns which weights of another job a job began with, if it has."""
    initial = record.get("initial_weights")
    if not initial:
        return {}
    return {
        "step of the other job": f"{initial['step']:,}",
        "SHA-256": initial["sha256"],
    }


def model_of(record):
    """Returns what a job's record says of its model, by what it is.

    Args:
        record: dict, as in `config.json`. Jobs of the first arithmetic say
            nothing.
    """
    model = record.get("model")
    if not model:
        return {}
    options = {
        f"option {name}": value for name, value in model["options"].items()
    }
    shown = {"name": model["name"], **options}
    if model["source"]:
        shown["SHA-256 of its source"] = model["source"]
    return shown


def _has_groups(record):
    return record["config"].get("model") in GROUPED


def layout(has_groups=False):
    """Returns the layout of the Custom Scalars tab: the losses come first.

    A chart has the curves of all runs: of training and of the test set.

    Args:
        has_groups: whether the model has several groups of latent units.
    """
    charts = {}
    curves = CURVES | (GROUP_CURVES if has_groups else {})
    for name, group in curves.items():
        charts.setdefault(group, []).append(
            layout_pb2.Chart(
                title=name.replace("_", " ").replace("kl", "KL"),
                multiline=layout_pb2.MultilineChartContent(
                    tag=[f"^{curve_tag(name)}$"]
                ),
            )
        )
    return layout_pb2.Layout(
        category=[
            layout_pb2.Category(title=group.capitalize(), chart=of_group)
            for group, of_group in charts.items()
        ]
    )


def _layout_pb(layout):
    summary = summary_pb2.Summary()
    summary.value.add(
        tag=custom_scalar_metadata.CONFIG_SUMMARY_TAG,
        metadata=custom_scalar_metadata.create_summary_metadata(),
        tensor=tensor_util.make_tensor_proto(
            layout.SerializeToString(), dtype=tf.string
        ),
    )
    return summary


def _plain(value):
    """Returns Markdown that shows a value as it is."""
    text = html.escape(str(value), quote=False).replace("\n", " ")
    return _MARKUP.sub(r"\\\1", text)


def _write_events(path, summaries, wall_time):
    """Writes an event file of summaries at step 0, whole or not at all.

    No session starts in it, so that no step of another file is dropped.
    """
    content = io.BytesIO()
    writer = RecordWriter(content)
    events = [event_pb2.Event(file_version="brain.Event:2")]
    events += [event_pb2.Event(summary=summary) for summary in summaries]
    for event in events:
        event.wall_time = wall_time
        writer.write(event.SerializeToString())
    # TensorBoard reads all files with "tfevents" in their names.
    unfinished = path.with_name(_UNFINISHED)
    unfinished.write_bytes(content.getvalue())
    files.publish(unfinished, path)
