"""What is said of data that is other than a record of data says."""

_LABELS = {"name": "data"}
_KINDS = {"md5": "MD5", "sha256": "SHA-256"}
_DIGITS = 12  # Of a checksum, enough to find it in config.json.


def phrases(recorded, found, said="was"):
    """Returns a phrase for each difference of data from what is recorded.

    An earlier version may have recorded less; what it did not say is no
    difference.

    Args:
        recorded: dict, the "data" of a record.
        found: dict of the same form, as `Dataset.description` returns it.
        said: str, how the recorded value is introduced.
    """
    values = [
        f"{_LABELS.get(name, name)} {value} ({said} {recorded[name]})"
        for name, value in found.items()
        if name not in _KINDS and recorded.get(name, value) != value
    ]
    return values + [
        f"{kind} of {file} {_shown(now)} ({said} {_shown(was)})"
        for name, kind in _KINDS.items()
        if name in recorded
        for file, was, now in _pairs(
            recorded[name], found.get(name, {}), name == "md5"
        )
        if was != now
    ]


def _pairs(recorded, found, is_whole):
    """Yields (file, recorded checksum, found checksum); None where missing.

    Args:
        recorded: dict of checksums by file.
        found: the same.
        is_whole: bool, whether all files have always been recorded.
    """
    for file in sorted(recorded.keys() | (found.keys() if is_whole else ())):
        yield file, recorded.get(file), found.get(file)


def _shown(checksum):
    return f"{str(checksum)[:_DIGITS]}..." if checksum else "missing"
