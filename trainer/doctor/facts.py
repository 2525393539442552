"""What is to be known of the data without fetching or preparing any."""

import dataclasses
import math
import pathlib

import requests

from trainer import places
from trainer.data import idx, manifest, named, records, sources, synthetic
from trainer.doctor import rows
from trainer.errors import (
    ConfigError,
    DataError,
    DataUnavailableError,
    TrainerError,
)
from trainer.named_datasets import DEFAULT, NAMED

_DIGITS = 12  # Of a checksum, enough to find it in config.json.
_SECONDS = 10
_GONE = (404, 410)
_HELD_OUT_OF_BINARY = 6


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of the data of a job.

    Attributes:
        told: str, for the table.
        image_shape: (height, width, channels); None where only a preparation
            tells.
        train_examples: int, how many images an epoch goes over, to a few
            where some are held out by what is in them; None as above.
        bytes: int, of the pixels of all images; 0 where it is not known.
        digest: str, the SHA-256 of `dataset.json`; None without one.
        folder: `pathlib.Path` of the files on this machine; None without.
        advice: str, what to do; empty where all could be looked at.
    """

    told: str
    image_shape: tuple | None = None
    train_examples: int | None = None
    bytes: int = 0
    digest: str | None = None
    folder: pathlib.Path | None = None
    advice: str = ""


class OutOfReachError(TrainerError):
    """Something does not answer for now."""

    exit_code = 75


def check(case):
    """Whether the data is there, whole as far as sizes tell."""
    facts = case.facts
    if facts.advice:
        return rows.warning(facts.told, facts.advice)
    return rows.ok(facts.told)


def find(case):
    """Returns the `Facts` of the data of a `Case`.

    Raises:
        TrainerError: it is not there, or not what it should be.
    """
    config = case.config
    if config.dataset == "synthetic":
        return _counted(
            config,
            Facts("drawn by the program", (28, 28, 1)),
            synthetic.TRAIN_EXAMPLES,
            synthetic.TEST_EXAMPLES,
        )
    if not config.data_dir:
        return _published(case)
    if places.parse(config.data_dir).in_bucket:
        return _in_bucket(case)
    folder = pathlib.Path(config.data_dir)
    is_prepared = (folder / manifest.NAME).exists() or (
        folder / manifest.UNFINISHED
    ).exists()
    if config.dataset == "prepared" or (
        config.dataset == "auto" and is_prepared
    ):
        stored = records.open_dataset(folder)
        return _prepared(config, stored.manifest, stored.digest, folder)
    if not folder.exists():
        raise DataUnavailableError(
            f"There is no folder {folder}; give that of the data with "
            "--data_dir."
        )
    name = config.dataset
    if name in NAMED and NAMED[name].is_archive:
        return _archive(config, name, str(folder), folder)
    if name in ("idx", *NAMED) or any(
        idx.find(folder, f"{split}-{idx.IMAGES}") for split in ("train", "t10k")
    ):
        return _read(case, folder)
    return Facts(
        f"{folder} holds images that vae-train prepares at its start; they "
        "were not looked at.",
        folder=folder,
        advice="Run vae-data prepare first, and give its folder with "
        "--data_dir.",
    )


def _published(case):
    """Returns the facts of a dataset with a name, from Keras's cache."""
    config = case.config
    name = DEFAULT if config.dataset == "auto" else config.dataset
    dataset, cache = NAMED[name], named.keras_cache(name)
    kept = [named.keras_cache() / file for file in dataset.npz]
    if not dataset.is_archive and (
        named.is_cached(name) or any(path.is_file() for path in kept)
    ):
        return _read(case, cache)
    if dataset.is_archive and any(
        (cache / file).is_file() for file in dataset.files
    ):
        return _archive(config, name, str(cache), cache)
    url = config.data_url or dataset.url
    file = next(iter(dataset.files))
    # IDX files are published packed.
    _knock(f"{url.rstrip('/')}/{file}{'' if dataset.is_archive else '.gz'}")
    return _of_name(
        config,
        name,
        Facts(
            f"{dataset.title} is not on this machine; the job downloads it "
            f"from {url} when it starts.",
            advice="Nothing, if each machine may reach that address; else "
            "fetch it before, and give its folder with --data_dir.",
        ),
    )


def _knock(url):
    """Raises unless an address answers, and has something."""
    try:
        answer = requests.head(url, timeout=_SECONDS, allow_redirects=True)
    except requests.RequestException as error:
        raise OutOfReachError(
            f"The data is not on this machine, and {url} does not answer "
            f"({type(error).__name__}); give a folder with --data_dir, or "
            "mend the network."
        ) from error
    # Some servers refuse such a question, and answer the one for the file.
    if answer.status_code in _GONE:
        raise DataUnavailableError(
            f"The data is not on this machine, and {url} does not exist "
            f"(status {answer.status_code}); give a folder with --data_dir, or "
            "another --data_url."
        )


def _read(case, folder):
    """Returns the facts of IDX files, all of which are read and checked."""
    # What is held out is counted below, and nothing is drawn.
    config = dataclasses.replace(
        case.config, validation_share=0.0, binarize="none"
    )
    data = sources.load(config, case.console, case.stop)
    return _counted(
        case.config,
        Facts(
            f"{data.called} in {folder}: {len(data.train_images):,} training "
            "images, each file checked",
            tuple(data.image_shape),
            folder=folder,
        ),
        len(data.train_images),
        len(data.test_images),
    )


def _archive(config, name, place, folder):
    return _of_name(
        config,
        name,
        Facts(
            f"{NAMED[name].title} in {place}; the archive was not unpacked.",
            folder=folder,
            advice="Nothing: vae-train checks and prepares it when it starts.",
        ),
    )


def _of_name(config, name, facts):
    dataset = NAMED[name]
    return _counted(
        config,
        dataclasses.replace(facts, image_shape=dataset.image_shape),
        dataset.train_examples,
        dataset.test_examples,
    )


def _in_bucket(case):
    """Returns the facts of a folder of a bucket, none of which is fetched."""
    from trainer.doctor import bucket
    from trainer.job_dir.bucket.answers import printable

    config = case.config
    store = bucket.open_store(config.data_dir, case)
    listed = store.list()
    if config.dataset == "prepared" or (
        config.dataset == "auto" and manifest.NAME in listed
    ):
        if manifest.NAME not in listed:
            raise DataUnavailableError(
                f"{store.url} holds no {manifest.NAME}; give the folder that "
                "vae-data prepare wrote."
            )
        content = store.read(manifest.NAME, listed[manifest.NAME])
        promised = manifest.decode(content, f"{store.url}/{manifest.NAME}")
        for name, info in promised.files.items():
            size = listed[name].size if name in listed else None
            if size != info.bytes:
                found = "is missing" if size is None else f"has {size:,} bytes"
                raise DataError(
                    f"{printable(f'{store.url}/{name}')} {found}, but "
                    f"dataset.json promises {info.bytes:,}; upload the "
                    "dataset again."
                )
        return _prepared(config, promised, manifest.digest(content), store.url)
    if config.dataset in NAMED:
        wanted = NAMED[config.dataset].names
    else:
        kinds = (idx.IMAGES, idx.LABELS)
        wanted = {
            f"{split}-{kind}{end}"
            for split in ("train", "t10k")
            for kind in kinds
            for end in ("", ".gz")
        }
    found = sorted(wanted & listed.keys())
    if not found:
        raise DataUnavailableError(
            f"{store.url} holds none of the files of the dataset; give the "
            "folder that has them with --data_dir."
        )
    facts = Facts(
        f"{store.url} has {', '.join(found)}; they were not fetched.",
        advice="Nothing: vae-train fetches and checks them when it starts.",
    )
    if config.dataset in NAMED:
        return _of_name(config, config.dataset, facts)
    return facts


def _prepared(config, promised, digest, place):
    """Returns the facts of a prepared dataset, from its `dataset.json`."""
    if "test" not in promised.splits:
        raise DataError(
            f"{place} has no test set, on which a model could be judged; "
            "prepare it again with --test_share=0.1."
        )
    shape = tuple(promised.image_shape)
    counts = {name: split.count for name, split in promised.splits.items()}
    facts = Facts(
        f"{place}: {counts['train']:,} training images of "
        f"{' x '.join(map(str, shape))}, {len(promised.files):,} files of "
        f"{promised.total_bytes / 2**30:.2f} GiB have their sizes, digest "
        f"{digest[:_DIGITS]}",
        shape,
        digest=digest,
        folder=place if isinstance(place, pathlib.Path) else None,
    )
    return _counted(
        config,
        facts,
        counts["train"],
        counts["test"],
        has_validation="validation" in counts,
    )


def _counted(config, facts, train, test, has_validation=False):
    """Returns facts with the number of images that a job trains on.

    Raises:
        ConfigError: more were asked for than there are.
    """
    for split, count in (("train", train), ("test", test)):
        wanted = getattr(config, f"{split}_examples")
        if wanted > count:
            raise ConfigError(
                f"--{split}_examples={wanted} is more than the {count} {split} "
                "images that there are; give at most that, or 0 for all."
            )
    train = config.train_examples or train
    total = (train + (config.test_examples or test)) * math.prod(
        facts.image_shape
    )
    if config.validation_share:
        train = round(train * (1 - config.validation_share))
    elif config.binarize == "dynamic" and not has_validation:
        train -= train // _HELD_OUT_OF_BINARY
    return dataclasses.replace(facts, train_examples=train, bytes=total)
