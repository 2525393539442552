"""Which objects under a job's prefix are the job's: those that carry its id.

A prefix may hold more than a job: the objects of people, and other jobs below
it. So each object that a job writes has the job's id in its metadata, and a
name that jobs give. Whatever has not is left alone.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import re

from trainer.errors import JobDirError
from trainer.job_dir.bucket.answers import printable
from trainer.job_dir.bucket.object_info import OWNER

_CONFIG = "config.json"
_FOLDERS = ("checkpoints", "logs", "plots", "export", "model")
_PARALLEL_MARKS = 8
# That of a job of many sessions has some 100 KB.
_CONFIG_BYTES = 16 * 1024 * 1024
# The names of a job's files, without those that start with a dot.
_FILES = re.compile(
    r"(config|finished|evaluation|goodput)\.json|metrics\.jsonl|gallery\.html"
    r"|checkpoints/step-\d{7,}/(state\.npz|manifest\.json)"
    r"|hangs/steps-\d{7,}-\d{7,}\.\d+\.txt"
    r"|plots/(step-\d{7,}/)?[a-z0-9_]+\.(png|npy|gif)"
    r"|(logs/(train|test|validation)|export|model)(/[^/.][^/]*)+"
)
# Those that the training itself writes, sooner or later, if it has none yet.
_OF_ANY_TRAINING = re.compile(
    r"(config|finished|goodput)\.json|metrics\.jsonl"
    r"|checkpoints/step-\d{7,}/(state\.npz|manifest\.json)"
    r"|plots/(generated|reconstructions|losses)\.png"
    r"|export/((en|de)coder\.keras|saved_model/1/.+)"
)
# What is left of an append that was killed: `ObjectStore.append`.
_TAIL = re.compile(r"(?P<name>.+)\.tail-[0-9a-f]{8}")
_NAMED = 3


def is_file(name):
    """Whether a job gives this name to one of its files."""
    return _FILES.fullmatch(name) is not None and not is_tail(name)


def is_tail(name):
    """Whether this is the name of a part that an append leaves when killed."""
    tail = _TAIL.fullmatch(name)
    return tail is not None and is_file(tail["name"])


def find(store, remote):
    """Returns the id of the job whose objects are listed; None without one.

    Args:
        store: an `ObjectStore`.
        remote: dict of `ObjectInfo` by name, as listed.

    Raises:
        JobDirError: what says so is too large to be read.
    """
    config = remote.get(_CONFIG)
    if config is None:
        return None
    if config.size > _CONFIG_BYTES:
        raise JobDirError(
            f"{store.url}/{_CONFIG} has {config.size:,} bytes, which is not "
            "the record of a job; restore it, or give another place."
        )
    if config.owner is not None:
        return config.owner
    # That of an earlier version, or one that was copied there by hand. A start
    # that is killed while it marks the objects is followed by one that must
    # find the same id.
    content = store.read(_CONFIG, config)
    try:
        recorded = json.loads(content).get("id")
    except (ValueError, AttributeError, RecursionError):
        recorded = None
    if isinstance(recorded, str) and recorded:
        return recorded
    return hashlib.sha256(content).hexdigest()[:32]


def split(remote, job_id):
    """Splits a listing into what is the job's and what is not.

    Args:
        remote: dict of `ObjectInfo` by name.
        job_id: str, as `find` returns it.

    Returns:
        (ours, others), two dicts.
    """
    every_file = is_unmarked(remote)
    ours = {
        name: info
        for name, info in remote.items()
        if (is_file(name) or is_tail(name))
        and (every_file or info.owner == job_id)
    }
    return ours, {n: info for n, info in remote.items() if n not in ours}


def is_unmarked(remote):
    """Whether a listing has a job whose objects do not say so.

    An earlier version wrote them, or somebody has copied them there; then each
    object with the name of a job's file is the job's.
    """
    return _CONFIG in remote and remote[_CONFIG].owner is None


def mark(store, ours, console):
    """Gives the objects of an earlier version's job the id of the store.

    Args:
        store: an `ObjectStore` with an owner.
        ours: dict of `ObjectInfo` by name.
        console: shows the progress.

    Returns:
        dict as `ours`, with the owner.
    """
    console.line(f"Marking {len(ours)} objects of {store.url} as this job's.")
    names = [name for name in ours if name != _CONFIG]
    with concurrent.futures.ThreadPoolExecutor(_PARALLEL_MARKS) as pool:
        list(pool.map(lambda n: store.mark(n, ours[n].generation), names))
    # The last of all, since it says that the others are marked.
    store.mark(_CONFIG, ours[_CONFIG].generation)
    return {
        name: dataclasses.replace(info, owner=store.owner)
        for name, info in ours.items()
    }


def refuse_clashes(store, ours, others):
    """Refuses a prefix where the job would come upon what is not its own.

    Raises:
        JobDirError: it names what is in the way.
    """
    clashes = sorted(filter(_OF_ANY_TRAINING.fullmatch, others))
    if not clashes:
        return
    if _CONFIG not in ours:
        raise JobDirError(
            f"{store.url} holds {_listed(clashes)} but no {_CONFIG} to say of "
            "which job; restore it, or give another --job_dir."
        )
    raise JobDirError(
        f"{store.url} holds {_listed(clashes)}, which this job has not written "
        "and would come upon; move it away, or give it to the job (gcloud "
        f"storage objects update --update-custom-metadata={OWNER}="
        f"{store.owner} URL)."
    )


def others_sentence(store, others):
    """Returns what to say of the objects that are not the job's."""
    # A folder stands for all that lies in it.
    tops = sorted(
        {
            name if top in _FOLDERS or not below else f"{top}/"
            for name in others
            for top, below, _ in [name.partition("/")]
        }
    )
    return (
        f"{store.url} also holds {_listed(tops)}, which "
        f"{'is' if len(others) == 1 else 'are'} not of this job, and left "
        "alone."
    )


def clash(store, name):
    """Returns the error of a write upon an object that is not the job's."""
    place = printable(f"{store.url}/{name}")
    return JobDirError(
        f"{place} is not of this job, and was left alone; move it away, and "
        "run the same command again."
    )


def _listed(names):
    listed = ", ".join(printable(name) for name in names[:_NAMED])
    more = len(names) - _NAMED
    return f"{listed} and {more} more" if more > 0 else listed
