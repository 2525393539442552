import json

import pytest

from tests.tools.submit_command import SUBMIT, vae_submit

SEARCH = (*SUBMIT, "--dry_run", "--trials=20", "--parallel_trials=4")


def study(*words):
    outcome = vae_submit(*SEARCH, *words)
    assert outcome.exit_code == 0, outcome.err
    return json.loads(outcome.out)


def test_a_range_and_a_list_take_the_form_of_their_flag():
    spec = study(
        "--tune=learning_rate=1e-4..1e-2:log",
        "--tune=free_bits=0.25,0",
        "--tune=latent_dim=2,20,200",
        "--tune=epochs=10..30",
        "--tune=mixed_precision=none,bfloat16",
    )
    assert spec["studySpec"] == {
        "metrics": [{"metricId": "total_loss", "goal": "MINIMIZE"}],
        "parameters": [
            {
                "parameterId": "learning_rate",
                "doubleValueSpec": {"minValue": 1e-4, "maxValue": 1e-2},
                "scaleType": "UNIT_LOG_SCALE",
            },
            {
                "parameterId": "free_bits",
                "discreteValueSpec": {"values": [0.0, 0.25]},
            },
            # Discrete values arrive as 20.0, which an integer flag refuses.
            {
                "parameterId": "latent_dim",
                "categoricalValueSpec": {"values": ["2", "20", "200"]},
            },
            {
                "parameterId": "epochs",
                "integerValueSpec": {"minValue": 10, "maxValue": 30},
                "scaleType": "UNIT_LINEAR_SCALE",
            },
            {
                "parameterId": "mixed_precision",
                "categoricalValueSpec": {"values": ["none", "bfloat16"]},
            },
        ],
    }
    assert (spec["maxTrialCount"], spec["parallelTrialCount"]) == (20, 4)
    assert spec["maxFailedTrialCount"] == 10


def test_trials_never_share_a_job_directory():
    spec = study("--tune=latent_dim=2..9", "--", "--epochs=3")
    trial = spec["trialJobSpec"]
    assert trial["workerPoolSpecs"][0]["containerSpec"]["args"] == [
        "--epochs=3"
    ]
    # Vertex AI puts each trial into a folder of its own below this one.
    assert trial["baseOutputDirectory"] == {
        "outputUriPrefix": "gs://my-bucket/runs/vae"
    }


def test_trials_run_on_the_machines_of_a_job():
    words = ("--workers=2", "--gpus=4", "--accelerator=NVIDIA_L4", "--spot")
    trial = study(*words, "--tune=latent_dim=2..9")["trialJobSpec"]
    job = json.loads(vae_submit(*SUBMIT, *words, "--dry_run").out)["jobSpec"]
    for spec in (trial, job):
        for pool in spec["workerPoolSpecs"]:
            del pool["containerSpec"]["args"]
    assert trial == job


def test_batch_sizes_that_the_replicas_can_split_are_accepted():
    study(
        "--workers=3",
        "--tune=learning_rate=1e-4..1e-2:log",
        "--tune=latent_dim=2,20",
        "--tune=batch_size=96,192",
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--tune=batch_size=32,64", "--", "--train_examples=64"],
        ["--tune=latent_dim=300,400", "--", "--initial_units=250"],
        ["--tune=batch_size=30,60", "--", "--virtual_devices=3"],
    ],
)
def test_what_only_a_default_contradicts_is_accepted(words):
    study(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--tune=lerning_rate=1..2"],
            "lerning_rate cannot be tuned, since it is no",
        ),
        (["--tune=beta=0.5..2"], "could not be compared by their test loss"),
        (["--tune=reconstruction_loss=mse,bce"], "cannot be tuned"),
        (["--tune=dataset=idx,synthetic"], "compared on other data"),
        (["--tune=job_dir=gs://a,gs://b"], "cannot be tuned"),
        (["--tune=deterministic=true,false"], "how a result is computed, not"),
        (["--tune=summary_steps=1,2"], "the test loss does not depend on it"),
        (["--tune=latent_dim=2,20.5"], "invalid literal"),
        (["--tune=latent_dim=0..20"], "--latent_dim=0 is too small"),
        (["--tune=learning_rate=1e-4..high"], "could not convert"),
        (["--tune=mixed_precision=none,float16"], "should be one of"),
        (["--tune=learning_rate=1e-2..1e-4"], "write the smaller first"),
        (["--tune=free_bits=0..1:log"], "begin above 0"),
        (["--tune=free_bits=0..1:ln"], "could not convert"),
        (["--tune=learning_rate=1e-4"], "neither a range nor a list"),
        (["--tune=latent_dim=2,2"], "neither a range nor a list"),
        (["--tune=latent_dim=2,"], "neither a range nor a list"),
        (["--tune=latent_dim=2,20:log"], "invalid literal"),
        (["--tune=mixed_precision=a..b"], "neither a range nor a list"),
        (["--tune=seed=0..9"], "would be the luckiest, not the best"),
        (["--tune=seed=1,2,3"], "seed cannot be tuned, since"),
        (["--tune=train_examples=1000..60000"], "compared on other data"),
        (["--tune=train_examples=0,30000"], "train_examples cannot be tuned"),
        (["--tune=test_examples=0,1000"], "test_examples cannot be tuned"),
        (
            ["--tune=epochs=1..9", "--tune=epochs=1,2"],
            "--tune=epochs is given twice",
        ),
        (
            ["--tune=epochs=1..9", "--", "--epochs=3"],
            "is tuned, and given after",
        ),
        (
            ["--workers=3", "--tune=batch_size=96,128"],
            "--batch_size=128 cannot be split evenly among 3 replicas",
        ),
        (
            ["--workers=3", "--tune=batch_size=96..192"],
            "write a list, for instance batch_size=48,96,192.",
        ),
        (
            ["--tune=free_bits=0,1", "--", "--jit_compile=true"],
            "does not work with",
        ),
        (
            ["--tune=batch_size=64,256", "--", "--train_examples=128"],
            "--batch_size=256 is more than the 128 training images",
        ),
        (
            ["--tune=initial_units=5,50", "--tune=latent_dim=200,20"],
            "--initial_units=50 is more than --latent_dim=20",
        ),
        (
            ["--tune=epochs=1..9", "--trials=1", "--parallel_trials=1"],
            "--tune needs --trials=N",
        ),
        (["--tune=epochs=1..9", "--trials=2"], "is more than --trials=2"),
        ([], "--trials=20 needs at least one --tune"),
    ],
)
def test_a_search_that_cannot_work_fails_before_it_is_sent(words, message):
    outcome = vae_submit(*SEARCH, *words)
    assert message in outcome.err
    assert outcome.exit_code == 2
    assert outcome.out == ""
