import pytest

from tests.tools.submit_command import SUBMIT, vae_submit
from trainer.errors import ConfigError
from trainer.submit import job as job_lib

GPUS = ("--gpus=4", "--accelerator=NVIDIA_L4")


@pytest.mark.parametrize(
    ("ours", "after", "message"),
    [
        ((), ["--epoch=3"], "After --: Unknown command line flag 'epoch'"),
        ((), ["train"], "After --: 'train' is not a flag"),
        ((), ["--epochs=0"], "After --: --epochs=0 is too small"),
        ((), ["--free_bits=1", "--jit_compile=true"], "does not work with"),
        (GPUS, ["--batch_size=130"], "among 4 replicas; use --batch_size=128"),
        (
            (*GPUS, "--workers=3"),
            ["--batch_size=128"],
            "among 12 replicas; use --batch_size=120 or 132",
        ),
        (("--workers=3",), [], "--batch_size=128 cannot be split evenly among"),
        ((), ["--virtual_devices=3"], "evenly among 3 replicas"),
        ((), ["--job_dir=gs://my-bucket/x"], "--job_dir stands after --"),
        ((), ["--doctor"], "--doctor stands after --, where the settings"),
        ((), ["--data_dir=/data"], "is a folder of this machine"),
        ((), ["--init_from=runs/a@best"], "is a folder of this machine"),
        ((), ["--batch_size=60001"], "is more than the 60000 training images"),
        (
            (),
            ["--train_examples=64"],
            "--batch_size=128 is more than the 64 training images",
        ),
        (
            (),
            ["--dataset=cifar10", "--batch_size=50001"],
            "is more than the 50000 training images",
        ),
        (
            (),
            [
                "--dataset=mnist",
                "--data_dir=gs://my-bucket/mnist",
                "--train_examples=60001",
            ],
            "--train_examples=60001 is more than the 60000 training images",
        ),
        (
            (),
            ["--dataset=synthetic", "--train_examples=60001"],
            "--train_examples=60001 is more than the 60000 training images",
        ),
        (
            (),
            [
                "--dataset=prepared",
                "--data_dir=gs://my-bucket/photos",
                "--train_examples=64",
            ],
            "--batch_size=128 is more than the 64 training images",
        ),
        ((), ["--resume=never"], "--resume=never makes a job refuse its own"),
        (GPUS, ["--strategy=none"], "asks for 4"),
        (("--workers=2",), ["--strategy=mirrored"], "is for one machine"),
        (GPUS, ["--virtual_devices=4"], "splits the CPU of one machine"),
        (("--gpus=4",), [], "does not say which"),
        (("--accelerator=NVIDIA_L4",), [], "does not say how many"),
        (("--timeout_hours=nan",), [], "--timeout_hours=nan is not a finite"),
        (
            ("--workers=0",),
            [],
            "--workers=0 is too small; the least",
        ),
        (("--epochs=3",), [], "flag 'epochs'; flags of the training go after"),
        (("train",), [], "'train' is not a flag"),
    ],
)
def test_what_cannot_work_fails_before_it_is_sent(ours, after, message):
    outcome = vae_submit(*SUBMIT, *ours, "--dry_run", "--", *after)
    assert message in outcome.err
    assert outcome.exit_code == 2
    assert outcome.out == ""


@pytest.mark.parametrize(
    "flags",
    [
        ["--dataset=prepared", "--data_dir=gs://my-bucket/photos"],
        ["--dataset=idx", "--data_dir=gs://my-bucket/idx"],
        ["--data_dir=gs://my-bucket/anything"],
    ],
)
def test_how_much_lies_in_a_folder_is_not_guessed(flags):
    outcome = vae_submit(
        *SUBMIT, "--dry_run", "--", *flags, "--batch_size=1000000"
    )
    assert (outcome.exit_code, outcome.err) == (0, "")


@pytest.mark.parametrize("name", ["image", "job_dir"])
def test_what_is_missing_is_named(name):
    words = [word for word in SUBMIT if not word.startswith(f"--{name}=")]
    outcome = vae_submit(*words, "--dry_run")
    assert outcome.err == f"ERROR: --{name} is missing.\n"
    assert outcome.exit_code == 2


@pytest.mark.parametrize("folder", ["gs://my-bucket/data", "/gcs/b/data"])
def test_data_in_a_bucket_is_accepted(folder):
    words = ("--dry_run", "--", "--dataset=idx", f"--data_dir={folder}")
    assert vae_submit(*SUBMIT, *words).exit_code == 0


@pytest.mark.parametrize(
    "image",
    [
        "vae-trainer",
        "vae-trainer:gpu",
        "localhost/vae-trainer:1",
        "localhost:5000/vae-trainer:1",
        "europe-docker.pkg.dev/p/r/vae trainer:1",
        "europe-docker.pkg.dev/p/r/vae-trainer:",
    ],
)
def test_an_image_that_others_cannot_find_is_refused(image):
    with pytest.raises(ConfigError, match="no registry that other machines"):
        job_lib.image_warning(image)


@pytest.mark.parametrize("tag", ["", ":latest"])
def test_an_image_that_may_change_is_a_warning(tag):
    warning = job_lib.image_warning(f"docker.io/me/vae-trainer{tag}")
    assert "can be another image when the job is restarted" in warning


@pytest.mark.parametrize("tag", [":1", f"@sha256:{'0' * 64}"])
def test_an_image_that_stays_is_no_warning(tag):
    assert job_lib.image_warning(f"docker.io/me/vae-trainer{tag}") is None


KUBERNETES = ("kubernetes", *SUBMIT[3:])
ENGINES = {
    "vertex": SUBMIT,
    "vertex, a search": (
        *SUBMIT,
        "--tune=latent_dim=2,20",
        "--trials=2",
    ),
    **{
        kind: (*KUBERNETES, f"--kind={kind}")
        for kind in ("job", "jobset", "trainjob", "tfjob")
    },
    "slurm": ("slurm", "--job_dir=/shared/vae", "--venv=/shared/venv"),
}


@pytest.mark.parametrize("words", ENGINES.values(), ids=ENGINES)
def test_each_machine_is_examined_first_where_that_is_asked_for(words):
    after = ("--", "--epochs=3")
    plain = vae_submit(*words, "--dry_run", *after)
    asked = vae_submit(*words, "--doctor", "--dry_run", *after)
    assert plain.exit_code == asked.exit_code == 0, asked.err
    lines = asked.out.splitlines()
    # What is sent differs by that word, behind the flags of the training.
    (index,) = [n for n, line in enumerate(lines) if "--doctor" in line]
    assert "--epochs=3" in lines[index - 1]
    del lines[index]
    without = [line.rstrip(" ,\\") for line in plain.out.splitlines()]
    assert [line.rstrip(" ,\\") for line in lines] == without
