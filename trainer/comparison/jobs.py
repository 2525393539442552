"""What can be told of a job from its directory alone, without TensorFlow."""

import contextlib
import dataclasses
import datetime
import math
import statistics

from trainer import stored
from trainer.comparison import sizes
from trainer.config import names_of
from trainer.errors import ConfigError, JobDirError
from trainer.job_dir import checkpoint, layout, lock
from trainer.tracking import goodput as goodput_lib, rows as rows_lib
from trainer.tracking.goodput import Goodput

_RECORDS = (
    layout.CONFIG,
    layout.METRICS,
    layout.FINISHED,
    layout.EVALUATION,
    layout.PRUNED,
    layout.GOODPUT,
)
_PICTURES = (
    f"{layout.PLOTS}/generated.png",
    f"{layout.PLOTS}/reconstructions.png",
)
# What decides whether two losses are of the same kind.
_OF_THE_LOSS = ("reconstruction_loss", "beta", "binarize", "condition")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A job as its directory tells it; None is what it does not tell.

    Attributes:
        name: str, what the user calls its directory.
        state: str: running, finished, pruned (a search has stopped it),
            interrupted (nobody works on it, and it is neither), not finished
            (whether it runs is not known), damaged, or unknown (it could not
            be looked at).
        faults: tuple of str, a sentence for each thing that cannot be read.
        settings: dict of what may make jobs differ, by name.
        kind: tuple: only losses of jobs of the same kind compare.
        batch_size: int.
        rows: list of dicts, as in `metrics.jsonl`.
        evaluation: dict, as in `evaluation.json`.
        goodput: a `Goodput`.
        parameters: int, trained numbers of the model.
        pictures: the `Pictures` that it has.
    """

    name: str
    state: str
    faults: tuple = ()
    settings: dict = dataclasses.field(default_factory=dict)
    kind: tuple = ()
    batch_size: int | None = None
    rows: list = dataclasses.field(default_factory=list)
    evaluation: dict = dataclasses.field(default_factory=dict)
    goodput: Goodput | None = None
    parameters: int | None = None
    pictures: object = None

    @property
    def held_out(self):
        """The rows of evaluations whose loss is a finite number."""
        return [
            row
            for row in self.rows
            if row["split"] != "train" and math.isfinite(row["total_loss"])
        ]

    @property
    def best(self):
        """The row of the evaluation with the least loss."""
        return min(
            self.held_out, key=lambda row: row["total_loss"], default=None
        )

    @property
    def step(self):
        """The last step that is known."""
        return max((row["step"] for row in self.rows), default=None)

    @property
    def epoch(self):
        """The epoch of that step, from 1."""
        return max((row["epoch"] for row in self.rows), default=None)

    @property
    def images_per_second(self):
        """The median of the rows of training."""
        found = [
            row["images_per_second"]
            for row in self.rows
            if row["split"] == "train"
            and math.isfinite(row.get("images_per_second", math.nan))
        ]
        return statistics.median(found) if found else None

    @property
    def log_likelihood(self):
        """Log p(x) in nats an image, as `vae-evaluate` estimated it last."""
        found = self.evaluation.get("log_likelihood")
        mean = found.get("mean") if isinstance(found, dict) else None
        if stored.is_number(mean) and math.isfinite(mean):
            return mean
        return None


def is_read(name, with_pictures):
    """Whether a file of a job is looked at, by its name in the directory."""
    return name in _RECORDS or (
        (name.startswith("checkpoints/") and name.endswith("/manifest.json"))
        or (with_pictures and name in _PICTURES)
    )


def why_none(root):
    """Returns why a folder is no job; None if it is one.

    Args:
        root: `pathlib.Path`.

    Raises:
        OSError: it could not be looked at.
    """
    if not stored.is_there(root):
        return "there is no such folder"
    if not root.is_dir():
        return "it is no folder"
    if not stored.is_there(root / layout.CONFIG):
        return "there is no config.json"
    return None


def read(job, name, with_pictures):
    """Returns the `Job` of a directory, or what kept it from being read.

    Args:
        job: a `JobDir`, where there is a job.
        name: str, what the user calls it.
        with_pictures: whether its pictures are wanted.
    """
    try:
        return _read_all(job, name, with_pictures)
    except OSError as error:
        # The others are shown all the same.
        return Job(
            name=name,
            state="unknown",
            faults=(
                f"It could not be looked at ({error.strerror or error}: "
                f"{error.filename}).",
            ),
        )


def _read_all(job, name, with_pictures):
    """As `read`.

    Raises:
        OSError: something could not be looked at.
    """
    faults = []

    def tried(function, *args, otherwise=None):
        try:
            return function(*args)
        except (JobDirError, ConfigError) as error:
            faults.append(str(error))
            return otherwise

    record = tried(job.record)
    config = tried(job.config) if record else None
    if config is None:
        return Job(name=name, state="damaged", faults=tuple(faults))
    finished = tried(job.finished)
    # Before what it does is read: it may end in between.
    is_held = _is_held(job)
    rows = tried(rows_lib.read_rows, job.metrics_path, otherwise=[])
    steps = tried(checkpoint.list_steps, job, otherwise=[])
    faults += _damaged_checkpoints(job, steps)
    evaluation = _read(job.evaluation_path, stored.read_json, faults)
    if not isinstance(evaluation or {}, dict):
        faults.append(f"{job.evaluation_path} is not a JSON object.")
        evaluation = None
    goodput = _read(job.goodput_path, goodput_lib.read, faults)
    shape = record["data"].get("image_shape")
    return Job(
        name=name,
        state=_state(
            faults, finished, is_held, stored.is_there(job.pruned_path)
        ),
        # A copy of a bucket's has another name.
        faults=tuple(
            fault.replace(str(job.root), job.location) for fault in faults
        ),
        settings=_settings(config, record),
        kind=(
            record["data"]["name"],
            *(getattr(config, each) for each in _OF_THE_LOSS),
        ),
        batch_size=config.batch_size,
        rows=rows,
        evaluation=evaluation or {},
        goodput=goodput,
        parameters=sizes.parameters(job, steps),
        pictures=(
            _pictures(job, shape, len(record.get("classes", ())))
            if with_pictures and shape
            else None
        ),
    )


def _state(faults, finished, is_held, is_pruned):
    if faults:
        return "damaged"
    if is_held:
        return "running"
    if finished:
        return "finished"
    if is_pruned:
        return "pruned"
    return "not finished" if is_held is None else "interrupted"


def _pictures(job, shape, class_count):
    from trainer.comparison import pictures

    return pictures.read(job, shape, class_count)


def _is_held(job):
    """Whether a process works on a job; None where one cannot know."""
    if job.store is None:
        try:
            return lock.is_held(job.root)
        except OSError:
            return None
    # It takes as long to import as all the rest.
    from trainer.job_dir.bucket import claim

    info = job.store.info(claim.NAME)
    if info is None:
        return False
    now = datetime.datetime.now(datetime.timezone.utc)
    return (now - info.updated).total_seconds() < claim.STALE_SECONDS


def _damaged_checkpoints(job, steps):
    """Yields a sentence for each checkpoint whose manifest is not whole."""
    for step in steps:
        try:
            checkpoint.read_manifest(job.checkpoint(step))
        except checkpoint.DamagedCheckpointError as error:
            # A job that runs may have removed it in the meantime.
            if job.checkpoint(step).exists():
                yield f"The checkpoint of step {step} is damaged ({error})."


def _read(path, read_file, faults):
    """Returns what a file says; None without one, or with a fault."""
    with contextlib.suppress(FileNotFoundError):
        try:
            return read_file(path)
        except stored.UnreadableError as error:
            faults.append(f"{path} {error}.")
    return None


def _settings(config, record):
    """Returns what may make one job come out other than another, by name."""
    settings = config.to_json()
    left_out = {*names_of("worker"), "dataset"}
    model = record.get("model") or {}
    return {
        "data": record["data"]["name"],
        **{
            name: value
            for name, value in settings.items()
            if name not in left_out
        },
        "model_source": str(model.get("source") or "")[:12],
        "images": record["data"].get("train_examples"),
        "data_files": _digest(record["data"]),
        "devices": str(_last(record["sessions"]).get("devices", "")),
        "xla": record["jit_compile"],
        **{
            f"{name}_version": str(version)
            for name, version in record["versions"].items()
        },
    }


def _last(sessions):
    return sessions[-1] if sessions else {}


def _digest(data):
    """Returns some digits that tell one set of files from another."""
    sums = {**(data.get("md5") or {}), **(data.get("sha256") or {})}
    return " ".join(sorted(value[:6] for value in sums.values()))
