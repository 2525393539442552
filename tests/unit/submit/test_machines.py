import pytest
from google.cloud import aiplatform_v1

from trainer.errors import ConfigError
from trainer.submit import machines


def test_every_accelerator_is_one_of_the_api():
    known = aiplatform_v1.AcceleratorType.__members__
    assert set(machines.ACCELERATORS) <= set(known)
    assert set(machines.FLEX_START) <= set(machines.ACCELERATORS)


def test_every_count_has_a_machine_type_that_passes_the_check():
    for accelerator in machines.ACCELERATORS:
        for gpus in machines.gpu_counts(accelerator):
            for machine_type in machines.machine_types(accelerator, gpus):
                assert machines.check(machine_type, accelerator, gpus) is None


# Rows of the table in Google's documentation, which `machines` cites.
@pytest.mark.parametrize(
    ("machine_type", "accelerator", "gpus"),
    [
        ("a3-megagpu-8g", "NVIDIA_H100_MEGA_80GB", 8),
        ("a2-megagpu-16g", "NVIDIA_TESLA_A100", 16),
        ("g2-standard-32", "NVIDIA_L4", 1),
        ("n1-standard-4", "NVIDIA_TESLA_V100", 8),
        ("n1-highmem-2", "NVIDIA_TESLA_T4", 4),
        ("n1-standard-16", "NVIDIA_TESLA_V100", 2),
        ("n1-standard-96", "NVIDIA_TESLA_T4", 4),
        ("n1-highcpu-32", "NVIDIA_TESLA_P4", 2),
        ("c2-standard-60", "", 0),
    ],
)
def test_what_exists_is_accepted(machine_type, accelerator, gpus):
    assert machines.check(machine_type, accelerator, gpus) is None


@pytest.mark.parametrize(
    ("machine_type", "accelerator", "gpus", "message"),
    [
        ("n1-standard-16", "NVIDIA_TESLA_V100", 1, "use one of n1-standard-8"),
        ("n1-standard-32", "NVIDIA_TESLA_T4", 1, "does not go with 1"),
        ("g2-standard-8", "NVIDIA_L4", 4, "use one of g2-standard-48."),
        ("a2-highgpu-1g", "", 0, "does not go with no GPU"),
        ("n2-standard-8", "NVIDIA_L4", 8, "use one of g2-standard-96."),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_choices(
    machine_type, accelerator, gpus, message
):
    with pytest.raises(ConfigError) as error:
        machines.check(machine_type, accelerator, gpus)
    assert message in str(error.value)
    assert f"table of machines ({machines.DATE}, " in str(error.value)


@pytest.mark.parametrize(
    ("machine_type", "accelerator", "gpus", "what", "meant"),
    [
        (
            *("c4-standard-8", "", 0, "--machine_type=c4-standard-8"),
            " (the nearest in it: n4-standard-8, c2-standard-8, "
            "n4-standard-80)",
        ),
        ("metal", "", 0, "--machine_type=metal", ""),
        (
            *("n1-standard-8", "NVIDIA_T4", 1),
            "--accelerator=NVIDIA_T4 with --gpus=1",
            " (the nearest in it: NVIDIA_TESLA_T4, NVIDIA_TESLA_P4, NVIDIA_L4)",
        ),
        (
            *("n1-standard-8", "NVIDIA_TESLA_T4", 3),
            "--accelerator=NVIDIA_TESLA_T4 with --gpus=3",
            " (the nearest in it: 1 or 2 or 4 NVIDIA_TESLA_T4)",
        ),
    ],
)
def test_what_the_table_does_not_have_is_a_warning_with_what_is_like_it(
    machine_type, accelerator, gpus, what, meant
):
    assert machines.check(machine_type, accelerator, gpus) == (
        f"{what} is not in this version's table of machines{meant}, so it is "
        "not checked; Vertex AI decides."
    )


@pytest.mark.parametrize(
    ("accelerator", "gpus", "message"),
    [
        ("NVIDIA_L4", 3, "or --gpus=1 or 2 or 4 or 8."),
        ("NVIDIA_T4", 1, "--machine_type as well, or one of NVIDIA_TESLA_T4, "),
    ],
)
def test_no_machine_is_chosen_for_gpus_that_the_table_does_not_have(
    accelerator, gpus, message
):
    with pytest.raises(ConfigError, match=message):
        machines.choose(accelerator, gpus)


@pytest.mark.parametrize(
    ("accelerator", "gpus", "machine_type"),
    [
        ("", 0, "n2-standard-8"),
        ("NVIDIA_L4", 1, "g2-standard-8"),
        ("NVIDIA_H100_80GB", 8, "a3-highgpu-8g"),
        ("NVIDIA_TESLA_T4", 4, "n1-standard-32"),
        ("NVIDIA_TESLA_V100", 1, "n1-standard-8"),
        ("NVIDIA_TESLA_V100", 8, "n1-standard-64"),
    ],
)
def test_a_machine_is_chosen_for_the_gpus(accelerator, gpus, machine_type):
    assert machines.choose(accelerator, gpus) == machine_type
