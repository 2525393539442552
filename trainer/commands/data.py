"""Command `vae-data`: makes a dataset of any images, looks at it, checks it."""

import pathlib
import sys

from trainer import files, places
from trainer.config import TrainConfig
from trainer.errors import ConfigError, DataError
from trainer.runtime.command import loading_tensorflow, run_command
from trainer.runtime.flags import Flags, Usage

_USAGE = Usage(
    program="vae-data",
    about="Makes a dataset of any images, shows what is in one, and checks "
    "one. WHAT is prepare, show, verify or cache; --help after it lists its "
    "flags.",
    example="""\
vae-data prepare --from=photos --to=data/photos --size=64
vae-data show --data_dir=data/photos --output=contact.png
vae-data verify --data_dir=data/photos
vae-data cache --clear""",
    arguments="WHAT [flags]",
)
_PREPARE = Usage(
    program="vae-data prepare",
    about="Makes a dataset of a folder, an archive or a file of images. The "
    "same command again goes on where it stopped.",
    example="vae-data prepare --from=photos --to=data/photos --size=64",
)
_SHOW = Usage(
    program="vae-data show",
    about="Prints what is in a dataset, and draws some images of each class.",
    example="vae-data show --data_dir=data/photos --output=contact.png",
)
_VERIFY = Usage(
    program="vae-data verify",
    about="Reads all of a dataset, and says what is damaged.",
    example="vae-data verify --data_dir=data/photos",
)
_CACHE = Usage(
    program="vae-data cache",
    about="Lists the datasets that this machine keeps: images that were "
    "prepared when a training began, and what was fetched from buckets. A "
    "training that needs one makes it again.",
    example="vae-data cache --clear",
)
_COLUMNS = 10
_DAMAGE_SHOWN = 20


def main():
    """Prepares, shows, checks or clears datasets; console script `vae-data`.

    Returns:
        The exit code, as `run_command`.
    """
    return run_command(_parse, _run)


def _parse(words):
    if words in ([], ["--help"]):
        print(Flags(_USAGE).help())
        for flags in (
            _prepare_flags(),
            *map(_dataset_flags, (_SHOW, _VERIFY)),
            _cache_flags(),
        ):
            print(f"\n{flags.help()}")
        return None
    if words == ["--version"]:
        return Flags(_USAGE).parse(words)
    if words[0] not in _PARTS:
        raise ConfigError(
            f"{words[0]!a} is not one of {', '.join(_PARTS)}; write vae-data "
            "prepare --from=photos --to=data/photos."
        )
    parse, run = _PARTS[words[0]]
    parsed = parse(words[1:])
    return parsed and (run, parsed)


def _run(parsed, stop, console):
    run, values = parsed
    run(values, stop, console)


def _prepare_flags():
    flags = Flags(_PREPARE)
    flags.add(
        "from",
        "",
        "the images: a folder whose sub-folders are classes, a zip or tar "
        "file of one, .npy, .npz, a folder of IDX files, CIFAR's own files, "
        "or Parquet",
        unit="source",
    )
    flags.add(
        "to", "", "the dataset: a folder or gs://bucket/folder", unit="dataset"
    )
    flags.add("size", "64", "a side in pixels, or HEIGHTxWIDTH", unit="pixels")
    flags.add(
        "channels",
        "auto",
        "1: grey, 3: colour, auto: grey if each image is",
        choices=("auto", "1", "3"),
    )
    flags.add(
        "fit",
        "crop",
        "how an image of another shape gets that size: crop its middle, pad "
        "it with the background, or stretch it",
        choices=("crop", "pad", "stretch"),
    )
    flags.add(
        "background",
        "#ffffff",
        "what is behind transparent images, and beside padded ones",
        unit="#rrggbb",
    )
    flags.add(
        "test_share",
        0.1,
        "of the training images, where the source has no test images",
        minimum=0,
    )
    flags.add(
        "validation_share",
        0.0,
        "of the training images, where the source has no validation images",
        minimum=0,
    )
    flags.add(
        "on_bad",
        "refuse",
        "what to do when images cannot be read: name them and stop, or leave "
        "them out",
        choices=("refuse", "skip"),
    )
    flags.add(
        "pixel_limit",
        100_000_000,
        "the pixels that an image may have before it is made smaller",
        unit="pixels",
        minimum=1,
    )
    flags.add(
        "processes", 0, "that decode at once; 0: one for each core", minimum=0
    )
    return flags


def _dataset_flags(usage):
    flags = Flags(usage)
    flags.add(
        "data_dir",
        "",
        "the dataset: a folder or gs://bucket/folder",
        unit="dataset",
    )
    if usage is _SHOW:
        flags.add(
            "output",
            "",
            "where a picture of the first images of each class goes; none if "
            "not given",
            unit="file.png",
        )
    return flags


def _cache_flags():
    flags = Flags(_CACHE)
    flags.add("clear", False, "remove those that no process uses")
    return flags


def _parse_cache(words):
    flags = _cache_flags()
    # A tuple: what is parsed is there, whatever it says.
    return (flags["clear"].value,) if flags.parse(words) else None


def _parse_prepare(words):
    from trainer.data.preparing import settings

    flags = _prepare_flags()
    if not flags.parse(words):
        return None
    chosen = settings.Settings(
        size=settings.parse_size(flags["size"].value),
        channels={"auto": 0, "1": 1, "3": 3}[flags["channels"].value],
        fit=flags["fit"].value,
        background=settings.parse_colour(flags["background"].value),
        test_share=flags["test_share"].value,
        validation_share=flags["validation_share"].value,
        on_bad=flags["on_bad"].value,
        pixel_limit=flags["pixel_limit"].value,
    )
    source = places.parse_local(flags["from"].value, "--from")
    target = places.parse(flags["to"].value, "--to")
    return source, target, chosen, flags["processes"].value


def _parse_dataset(usage):
    def parse(words):
        flags = _dataset_flags(usage)
        if not flags.parse(words):
            return None
        places.parse(flags["data_dir"].value, "--data_dir")
        output = ""
        if usage is _SHOW and flags["output"].value:
            output = places.parse_local(flags["output"].value, "--output")
            if output.suffix.lower() != ".png":
                raise ConfigError(
                    f"--output={output} does not end in .png; give the name "
                    "of a picture."
                )
        return flags["data_dir"].value, output

    return parse


def _prepare(parsed, stop, console):
    from trainer.data import description, manifest
    from trainer.data.preparing import run, upload

    source, target, settings, processes = parsed
    if target.in_bucket:
        from trainer.job_dir.bucket.object_store import ObjectStore

        store = ObjectStore(
            str(target), TrainConfig.storage_timeout_seconds, stop
        )
        prepared = upload.prepare(
            source, store, settings, processes, console, stop
        )
    else:
        folder = pathlib.Path(target.path)
        prepared = run.prepare(
            source, folder, settings, processes, console, stop
        )
    promised = manifest.decode(prepared.content, manifest.NAME)
    if not prepared.is_new:
        console.line(
            f"{target} is there already, of the same flags and of a source "
            "with the same names and sizes; nothing was done."
        )
    if prepared.bad_count:
        console.warning(
            "Images that could not be used, and are left out: "
            f"{prepared.bad_count:,}; dataset.json names them."
        )
    for line in description.lines(promised, prepared.content):
        console.line(line)
    console.line(f"Dataset: {target}")


def _show(parsed, stop, console):
    from trainer.data import description, manifest, stored_files

    data_dir, output = parsed
    source = stored_files.find(data_dir, stop)
    content = source.manifest_bytes()
    promised = manifest.decode(content, f"{source.place}/{manifest.NAME}")
    for line in (
        *description.lines(promised, content),
        *description.origin(promised),
    ):
        console.line(line)
    if output:
        _draw(source, promised, output, stop, console)
        console.line(f"Pictures: {output}")


def _draw(source, promised, output, stop, console):
    """Draws a row of images for each class."""
    from trainer.data import examples

    images, names = examples.by_class(source, promised, _COLUMNS)
    stop.check()
    with loading_tensorflow(console):
        from trainer.pictures import grids, sheet
    count = promised.splits["train"].count
    of = " of each class" if names else ""
    drawn = sheet.draw(
        sheet.Sheet(
            grids.tile(images, _COLUMNS),
            promised.image_shape,
            f"Training images of {source.place}",
            f"The first{of}, of {count:,}.",
            names,
        )
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(output, drawn.encode())


def _verify(parsed, stop, console):
    from trainer.data import manifest, stored_files, verification

    data_dir, _ = parsed
    source = stored_files.find(data_dir, stop)
    content = source.manifest_bytes()
    promised = manifest.decode(content, f"{source.place}/{manifest.NAME}")
    damaged = verification.verify(source, promised, console, stop)
    if damaged:
        more = len(damaged) - _DAMAGE_SHOWN
        lines = damaged[:_DAMAGE_SHOWN]
        if more > 0:
            lines.append(f"and {more:,} more files.")
        raise DataError(
            f"{len(damaged):,} of {len(promised.files):,} files of "
            f"{source.place} are damaged; fetch them again, or prepare the "
            "dataset again.\n  " + "\n  ".join(lines)
        )
    console.line(
        f"All {len(promised.files):,} files of {source.place} are whole "
        f"({promised.total_bytes:,} bytes)."
    )


def _cache(parsed, stop, console):
    from trainer.data import cache

    (clear,) = parsed
    freed = removed = 0
    kept = cache.contents()
    for each in kept:
        stop.check()
        if not clear:
            console.line(each.line())
        elif each.remove():
            console.line(f"Removed {each.line()}")
            removed += 1
            freed += each.bytes
        else:
            console.line(f"Left, since a process uses it: {each.line()}")
    total = sum(each.bytes for each in kept) - freed
    count = len(kept) - removed
    are_kept = "dataset is kept" if count == 1 else "datasets are kept"
    console.line(f"{count:,} {are_kept}, {total:,} bytes.")


_PARTS = {
    "prepare": (_parse_prepare, _prepare),
    "show": (_parse_dataset(_SHOW), _show),
    "verify": (_parse_dataset(_VERIFY), _verify),
    "cache": (_parse_cache, _cache),
}


if __name__ == "__main__":
    sys.exit(main())
