"""Ways in which a file of a job directory can be other than it was written."""

import hashlib
import io
import json
import os
import shutil
import zipfile

import numpy as np

from trainer.job_dir.checkpoint import _manifest_digest

NEWEST = "checkpoints/step-0000004"
# How often each is changed, among the others.
FILES = {
    "config.json": 6,
    "finished.json": 3,
    "evaluation.json": 2,
    "metrics.jsonl": 4,
    "goodput.json": 2,
    f"{NEWEST}/manifest.json": 5,
    f"{NEWEST}/state.npz": 4,
    "claim.lock": 1,
    "checkpoints": 1,
    NEWEST: 2,
    "checkpoints/step-0000003": 1,
    "logs": 1,
    "logs/train": 1,
    "logs/test": 1,
    "plots": 1,
    "export": 1,
    "damaged": 1,
    "unfinished": 1,
    "gallery.html": 1,
}
# What may stand in the place of a value of JSON.
ODD = (
    None, True, False, -1, 0, 1, 2, 7, 28, 1.5, -0.0, 10**18, 2**63, -(2**63),
    10**400, float("nan"), float("inf"), "", "a", "1", "\ud800", "\0",
    "\x1b[2J\n\u202e", "x" * 100_000, "../../outside", "/dev/zero", [], {},
    [[]], [1, 2, 3], [None], {"a": {}}, {"": 1}, ["evaluation"], "synthetic",
    "float64", "2026-11-25T00:00:00+00:00",
)  # fmt: skip


def change(job, rng, outside):
    """Changes one thing of a job directory.

    Args:
        job: `pathlib.Path` of the job directory.
        rng: a `random.Random`, which decides what.
        outside: a `pathlib.Path` with a file `precious`.

    Returns:
        (file, kind): str, the name of what was changed, and how.
    """
    name = rng.choices(tuple(FILES), FILES.values())[0]
    path = job / name
    kinds = [_replace] if "." not in name else [_replace, _bytes]
    if name.endswith(".json"):
        kinds += [_value] * 4
    if name.endswith("manifest.json"):
        kinds += [_forged_value] * 4
    if name.endswith(".jsonl"):
        kinds += [_row] * 4
    if name.endswith(".npz"):
        kinds += [_forged_state] * 3
    if name in ("checkpoints", NEWEST):
        kinds.append(_stranger)
    kind = rng.choice(kinds)
    if kind is not _replace and not path.exists():
        kind = _replace
    return name, kind(path, rng, outside)


def _write(path, content):
    """Writes bytes under a name that may share its file with another."""
    path.unlink()
    path.write_bytes(content)


def _replace(path, rng, outside):
    """Puts something else in the place of a file or folder."""
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()

    def file():
        path.write_text("a file")

    def full_folder():
        path.mkdir()
        (path / "note.txt").write_text("a note")

    kinds = {
        "nothing": lambda: None,
        "empty file": path.touch,
        "another file": file,
        "empty folder": path.mkdir,
        "full folder": full_folder,
        "link to nowhere": lambda: path.symlink_to(outside / "nothing"),
        "link to itself": lambda: path.symlink_to(path),
        "link to /dev/zero": lambda: path.symlink_to("/dev/zero"),
        "link to a file": lambda: path.symlink_to(outside / "precious"),
        "FIFO": lambda: os.mkfifo(path),
    }
    kind = rng.choice(tuple(kinds))
    path.parent.mkdir(exist_ok=True)
    kinds[kind]()
    return kind


def _bytes(path, rng, outside):
    """Changes the bytes of a file."""
    content = path.read_bytes()
    at = rng.randrange(len(content))
    kinds = {
        "empty": lambda: b"",
        "truncated": lambda: content[:at],
        "garbage": lambda: rng.randbytes(rng.randrange(1, 3000)),
        "flipped bit": lambda: _flipped(content, at, rng),
        "inserted bytes": lambda: (
            content[:at] + rng.randbytes(4) + content[at:]
        ),
        "doubled": lambda: content + content,
        "zeros": lambda: bytes(len(content)),
        "no UTF-8": lambda: content[:at] + b"\xff\xfe" + content[at:],
        "deep list": lambda: b"[" * rng.choice((50, 900, 100_000)),
        "deep object": lambda: b'{"a":' * rng.choice((50, 900, 100_000)),
        "closed deep list": lambda: b"[" * 900 + b"]" * 900,
        "large": lambda: content + b" " * 2**21,
        "very large": lambda: b"[" + b"1," * 2**23 + b"1]",
    }
    weights = [1 if "very" in kind else 10 for kind in kinds]
    kind = rng.choices(tuple(kinds), weights)[0]
    _write(path, kinds[kind]())
    return kind


def _flipped(content, at, rng):
    changed = bytearray(content)
    changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _places(value):
    """Yields (container, key) of each value within a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def _changed(value, rng):
    """Changes one thing of a JSON object; says what."""
    container, key = rng.choice(list(_places(value)))

    def odd():
        container[key] = rng.choice(ODD)

    def removed():
        del container[key]

    def deep():
        for _ in range(rng.choice((2, 60, 900))):
            container[key] = [container[key]]

    def nudged():
        if isinstance(container[key], (int, float)):
            container[key] += rng.choice((-1, 1, 0.5, 10**9))
        else:
            container[key] = str(container[key])[:-1]

    def other():
        source, name = rng.choice(list(_places(value)))
        container[key] = json.loads(json.dumps(source[name]))

    def renamed():
        if isinstance(container, dict):
            container[f"{key}_"] = container.pop(key)

    def added():
        if isinstance(container, dict):
            container[rng.choice(("warp", "", "\x1b[2J"))] = rng.choice(ODD)

    kinds = {
        "odd value": odd,
        "removed key": removed,
        "deep value": deep,
        "other number or text": nudged,
        "value of another key": other,
        "renamed key": renamed,
        "unknown key": added,
    }
    kind = rng.choices(tuple(kinds), (6, 2, 1, 3, 2, 1, 1))[0]
    kinds[kind]()
    return kind


def _value(path, rng, outside):
    """Changes what a JSON file says."""
    value = json.loads(path.read_bytes())
    if rng.random() < 0.05:
        value, kind = rng.choice(ODD), "odd file"
    else:
        kind = _changed(value, rng)
    _write(path, json.dumps(value).encode())
    return kind


def _forged_value(path, rng, outside):
    """As `_value`, with the checksum of what it says now."""
    value = json.loads(path.read_bytes())
    del value["sha256"]
    kind = _changed(value, rng)
    value["sha256"] = _manifest_digest(value)
    _write(path, json.dumps(value).encode())
    return f"forged {kind}"


def _row(path, rng, outside):
    """Changes a row of metrics."""
    lines = path.read_bytes().splitlines()
    at = rng.randrange(len(lines))

    def value():
        row = json.loads(lines[at])
        _changed(row, rng)
        lines[at] = json.dumps(row).encode()

    def long():
        lines[at] = lines[at][:-1] + b" " * 2**20 + b"}"

    kinds = {
        "row with a changed value": value,
        "row removed": lambda: lines.pop(at),
        "row twice": lambda: lines.insert(at, lines[at]),
        "rows in another order": lambda: rng.shuffle(lines),
        "empty line": lambda: lines.insert(at, b""),
        "long line": long,
        "line of another kind": lambda: lines.insert(
            at, json.dumps(rng.choice(ODD)).encode()
        ),
    }
    kind = rng.choices(tuple(kinds), (8, 1, 1, 1, 1, 1, 2))[0]
    kinds[kind]()
    _write(path, b"\n".join(lines) + b"\n" * (rng.random() < 0.9))
    return kind


def _forged_state(path, rng, outside):
    """Changes the arrays of a checkpoint, with checksums of what they are."""
    with np.load(path) as state:
        arrays = {name: state[name] for name in state.files}
    name = rng.choice(sorted(arrays))
    array, save = arrays[name], np.savez

    def not_finite():
        arrays[name] = np.full(array.shape, np.nan, np.float32)

    def compressed():
        nonlocal save
        save = np.savez_compressed
        arrays[name] = np.zeros(10**7)

    kinds = {
        "without an array": lambda: arrays.pop(name),
        "object array": lambda: arrays.update({name: np.array([{}, None])}),
        "other shape": lambda: arrays.update({name: array.reshape(-1)[:1]}),
        "other type": lambda: arrays.update({name: array.astype(">f8")}),
        "complex": lambda: arrays.update({name: array.astype(complex)}),
        "texts": lambda: arrays.update({name: array.astype("U3")}),
        "structured": lambda: arrays.update({name: np.zeros(2, "i4,f4")}),
        "not finite": not_finite,
        "compressed": compressed,
        "array of another name": lambda: arrays.update({"../a": array}),
        "no arrays": arrays.clear,
    }
    raw = {
        "no ZIP file": lambda content: b"nonsense",
        "flipped bits": lambda content: _flipped(
            content, rng.randrange(len(content)), rng
        ),
        "truncated": lambda content: content[: rng.randrange(len(content))],
        "no NumPy files": lambda content: _zip(rng.randbytes(100)),
        "claims a large array": lambda content: _zip(_header((10**12,))),
        "claims a strange shape": lambda content: _zip(
            _header(rng.choice(((-1,), (2**63, 2**63), (0,), ()))),
        ),
        "deep header": lambda content: _zip(_npy("(" * 5000)),
    }
    kind = rng.choice((*kinds, *raw))
    if kind in kinds:
        kinds[kind]()
        content = io.BytesIO()
        save(content, **arrays)
        content = content.getvalue()
    else:
        content = raw[kind](path.read_bytes())
    _write(path, content)
    resign(path)
    return f"forged state: {kind}"


def resign(path):
    """Gives the manifest of a checkpoint the checksums of its state file."""
    content, manifest_path = path.read_bytes(), path.with_name("manifest.json")
    manifest = json.loads(manifest_path.read_bytes())
    manifest["files"][path.name] = {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    manifest["sha256"] = _manifest_digest(manifest)
    manifest_path.write_text(json.dumps(manifest))


def _zip(content):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as state:
        state.writestr("encoder/z_mean/kernel.npy", content)
    return archive.getvalue()


def _header(shape):
    return _npy(repr({"descr": "<f4", "fortran_order": False, "shape": shape}))


def _npy(header):
    """Returns the bytes of a NumPy file with a header, and without numbers."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _stranger(path, rng, outside):
    """Puts something beside the files of a job."""
    folder = path if path.name == "checkpoints" else path.parent
    name = rng.choice(
        (
            "step-00000040", "step-00000004", "step-0000099",
            "step-٠٠٠٠٠١٢", "step-1",
            "step-0000004.copy", "step-99999999999999999999", "step-0000005\n",
            "note.txt", "\x1b[2J",
        )
    )  # fmt: skip
    if rng.random() < 0.5:
        shutil.copytree(folder / "step-0000003", folder / name)
    else:
        (folder / name).mkdir()
    return f"stranger {name!a}"
