"""Settings of the data: which images, how many, and what is held out."""

from trainer import named_datasets
from trainer.settings.declaration import OTHER_LOSS, declared, setting

# Why a search leaves the data alone.
_OTHER_DATA = "trials would be compared on other data"


@declared
class DataSettings:
    """Settings of the data: which images, how many, and what is held out."""

    # A resume may ask by another name for the data that it has; that it is
    # the same data is for `JobDir.check_settings` to say.
    dataset: str = setting(
        "auto",
        "what to train on; auto: what lies in --data_dir, or "
        f"{named_datasets.DEFAULT} if it is not given; prepared: what vae-data "
        "prepare made; idx: any folder of IDX files; synthetic: drawn by the "
        "program, needs nothing; others: the published dataset of that name",
        group="Data",
        role="run",
        not_tuned=_OTHER_DATA,
        choices=(
            "auto",
            *named_datasets.NAMED,
            "prepared",
            "idx",
            "synthetic",
        ),
        common=True,
    )
    data_dir: str = setting(
        "",
        "folder of the data, local or gs://; if given, only it is looked at, "
        "else the Keras cache, else download",
        group="Data",
        role="worker",
        not_tuned=_OTHER_DATA,
        unit="folder",
        common=True,
    )
    data_url: str = setting(
        "",
        "folder on the web that a dataset with a name is downloaded from; if "
        "not given, the address at which it is published",
        group="Data",
        role="worker",
        unit="url",
    )
    cache_gib: float = setting(
        0.0,
        "how much of this machine's disk a dataset in a bucket may take; 0: "
        "what is free",
        group="Data",
        role="worker",
        unit="gib",
        minimum=0,
    )
    dataset_fallback: str = setting(
        "none",
        "what a new job without --data_dir trains on when the data cannot be "
        "had",
        group="Data",
        role="worker",
        not_tuned=_OTHER_DATA,
        choices=("none", "synthetic"),
    )
    train_examples: int = setting(
        0,
        "how many training images to use, the first ones; 0: all",
        group="Data",
        role="mathematics",
        not_tuned=f"{_OTHER_DATA}: with --binarize=dynamic it decides which "
        "images are held out, and how the test set is drawn",
        unit="images",
        minimum=0,
    )
    test_examples: int = setting(
        0,
        "how many test images to use, the first ones; 0: all",
        group="Data",
        role="mathematics",
        not_tuned=_OTHER_DATA,
        unit="images",
        minimum=0,
    )
    validation_share: float = setting(
        0.0,
        "share of the training images that is held out, by what is in them: "
        "the best checkpoint is chosen on these, and the test set is for "
        "vae-evaluate alone; 0: none, unless the data has a validation set",
        group="Data",
        role="mathematics",
        not_tuned=_OTHER_DATA,
        minimum=0,
        maximum=0.9,
    )
    binarize: str = setting(
        "none",
        "dynamic: pixels are 0 or 1, drawn anew at each step; needs "
        "--reconstruction_loss=bce, and evaluates on a sixth of the training "
        "images",
        group="Data",
        role="mathematics",
        not_tuned=OTHER_LOSS,
        choices=("none", "dynamic"),
    )
