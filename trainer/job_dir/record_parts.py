"""The parts of `config.json`, and what may be wrong with each."""

import re

from trainer import stored

_SHOWN = 100  # Characters of a value in a message.
# What every version has written, with its type and what to call that.
_PARTS = {
    "config": (dict, "an object"),
    "data": (dict, "an object"),
    "jit_compile": (bool, "true or false"),
    "versions": (dict, "an object"),
    "sessions": (list, "a list"),
}
# What is written beside; an earlier version did not write all of it.
_OTHER_PARTS = (
    "format",
    "id",
    "arithmetic",
    "model",
    "initial_weights",
    "classes",
)
_NO_WEIGHTS = {"job": "", "step": 0, "sha256": ""}


def fault_of_format(record):
    """Returns why a JSON value does not say in which format it is, or None."""
    if not isinstance(record, dict) or "format" not in record:
        return 'it has no "format"'
    if not stored.is_count(record["format"], least=1):
        return f'its "format" is {shown(record["format"])}, expected a number'
    return None


def missing(record):
    """Returns which part a record lacks, or has in another type; or None."""
    for name, (kind, expected) in _PARTS.items():
        if name not in record:
            return f'it has no "{name}"'
        if not isinstance(record[name], kind):
            return (
                f'its "{name}" is a {type(record[name]).__name__}, '
                f"expected {expected}"
            )
    return None


def unknown(record):
    """Returns the names of parts that this version does not know, sorted."""
    return sorted(record.keys() - {*_PARTS, *_OTHER_PARTS})


def fault_of(record):
    """Returns what is wrong within the parts of a record, or None.

    Args:
        record: dict in which nothing is `missing`.
    """
    faults = (
        _of_id(record.get("id", "id")),
        _of_data(record["data"]),
        _of_model(record.get("model", {})),
        _of_initial_weights(record.get("initial_weights", _NO_WEIGHTS)),
        _of_classes(record.get("classes", [])),
        *map(_of_session, record["sessions"]),
    )
    return next(filter(None, faults), None)


def shown(value):
    """Returns a value for a message, on one line and not long."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _of_id(identity):
    # It becomes part of an object's metadata in a bucket.
    if isinstance(identity, str) and re.fullmatch(r"\w+", identity, re.ASCII):
        return None
    return f'its "id" is {shown(identity)}, expected a word'


def _of_data(data):
    if not isinstance(data.get("name"), str):
        return 'its "data" has no "name"'
    for name in ("train_examples", "test_examples"):
        if name in data and not stored.is_count(data[name]):
            return f'its "{name}" is {shown(data[name])}, expected a number'
    if "image_shape" in data and not _is_shape(data["image_shape"]):
        return (
            f'its "image_shape" is {shown(data["image_shape"])}, expected '
            "height, width and channels"
        )
    for name in ("md5", "sha256"):
        sums = data.get(name, {})
        if not isinstance(sums, dict) or not _are_texts(sums.values()):
            return (
                f'its "{name}" is {shown(sums)}, expected a text for each file'
            )
    return None


def _of_model(model):
    if isinstance(model, dict) and isinstance(model.get("options", {}), dict):
        return None
    return f'its "model" is {shown(model)}, expected an object'


def _of_initial_weights(initial):
    if (
        isinstance(initial, dict)
        and _are_texts([initial.get("job"), initial.get("sha256")])
        and stored.is_count(initial.get("step"))
    ):
        return None
    return (
        f'its "initial_weights" are {shown(initial)}, expected a job, a step '
        "and a checksum"
    )


def _of_classes(classes):
    if isinstance(classes, list) and _are_texts(classes):
        return None
    return f'its "classes" are {shown(classes)}, expected a list of names'


def _of_session(session):
    if not isinstance(session, dict) or not stored.is_time(
        session.get("started")
    ):
        return f"one of its sessions is {shown(session)}, without a start"
    if not isinstance(session.get("gpu", {}), dict):
        return f'its "gpu" is {shown(session["gpu"])}, expected an object'
    return None


def _are_texts(values):
    return all(isinstance(value, str) for value in values)


def _is_shape(value):
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(stored.is_count(side, least=1) for side in value)
    )
