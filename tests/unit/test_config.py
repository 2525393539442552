import itertools
import time

import pytest

from trainer import config as config_lib
from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.settings.declaration import ROLES, declared, setting

# What a resume may not change, in the order in which a refusal names it.
MATHEMATICS = (
    "train_examples",
    "test_examples",
    "validation_share",
    "batch_size",
    "model",
    "model_options",
    "latent_dim",
    "init_from",
    "initial_units",
    "reconstruction_loss",
    "binarize",
    "prior",
    "prior_components",
    "condition",
    "beta",
    "kl_warmup_epochs",
    "free_bits",
    "learning_rate",
    "adam_epsilon",
    "learning_rate_schedule",
    "warmup_steps",
    "clip_norm",
    "weight_decay",
    "ema",
    "seed",
    "precision",
    "mixed_precision",
    "deterministic",
    "tf32",
)
# What each worker of a job may have otherwise.
OF_EACH_WORKER = (
    "job_dir",
    "resume",
    "data_dir",
    "data_url",
    "cache_gib",
    "dataset_fallback",
    "gpu_memory_limit_gib",
    "cluster_timeout_seconds",
    "cluster_secret",
    "cluster_token_file",
    "hang_seconds",
    "storage_timeout_seconds",
    "log_format",
    "metrics_port",
    "metrics_host",
)
# What a search may tune, in the order in which a refusal names it.
TUNABLE = (
    "adam_epsilon",
    "batch_size",
    "clip_norm",
    "ema",
    "epochs",
    "free_bits",
    "initial_units",
    "kl_warmup_epochs",
    "latent_dim",
    "learning_rate",
    "learning_rate_schedule",
    "max_steps",
    "mixed_precision",
    "prior_components",
    "warmup_steps",
    "weight_decay",
)


def test_roles_say_what_a_resume_and_a_worker_may_have_otherwise():
    assert sorted(config_lib.names_of("mathematics")) == sorted(MATHEMATICS)
    assert config_lib.names_of("length") == (
        "epochs",
        "max_steps",
        "patience_epochs",
    )
    assert sorted(config_lib.names_of("worker")) == sorted(OF_EACH_WORKER)


def test_every_setting_has_one_role():
    names = itertools.chain(*map(config_lib.names_of, ROLES))
    assert sorted(names) == sorted(TrainConfig().to_json())


def test_an_unknown_role_has_no_settings_but_an_error():
    with pytest.raises(ValueError, match="'maths' is not one of mathematics"):
        config_lib.names_of("maths")


def test_a_search_tunes_what_leaves_the_test_loss_comparable():
    assert config_lib.tunable() == TUNABLE


def test_the_workers_of_a_job_share_all_settings_but_their_own():
    shared = TrainConfig().shared()
    assert {*shared, *OF_EACH_WORKER} == {*TrainConfig().to_json()}
    assert not {*shared} & {*OF_EACH_WORKER}


WHOLE = {"group": "Data", "role": "run"}


def test_a_setting_that_is_declared_in_full_is_accepted():
    @declared
    class Settings:
        depth: int = setting(3, "layers", **WHOLE)

    assert Settings(depth=4).depth == 4


@pytest.mark.parametrize(
    ("missing", "message"),
    [("group", "'group'"), ("role", "'role'")],
)
def test_a_setting_without_a_group_or_a_role_does_not_import(missing, message):
    whole = {name: WHOLE[name] for name in WHOLE if name != missing}
    with pytest.raises(TypeError, match=message):

        @declared
        class Settings:
            depth: int = setting(3, "layers", **whole)


@pytest.mark.parametrize(
    ("kind", "field", "message"),
    [
        (int, 3, r"depth is not declared with setting\(\)"),
        (int, setting(3, "", group="Maths", role="run"), "the group 'Maths'"),
        (int, setting(3, "", group="Data", role="maths"), "the role 'maths'"),
        (int, setting(3, "", group="Data", role=None), "the role None"),
        (list, setting(3, "", **WHOLE), "the type <class 'list'>"),
        (
            int,
            setting(3, "", group="Data", role="mathematics"),
            "depth does not say whether a search may tune it",
        ),
    ],
)
def test_a_setting_that_is_not_declared_in_full_does_not_import(
    kind, field, message
):
    with pytest.raises(TypeError, match=message):

        @declared
        class Settings:
            depth: kind = field


def test_config_survives_json():
    config = TrainConfig(epochs=3, beta=0.5, deterministic=False)
    assert TrainConfig.from_json(config.to_json()) == config


def test_wrong_type_in_python_is_refused():
    with pytest.raises(ConfigError, match="is a str; expected int"):
        TrainConfig(epochs="3")
    with pytest.raises(ConfigError, match="is a bool; expected int"):
        TrainConfig(epochs=True)


def test_wrong_choice_in_python_is_refused():
    with pytest.raises(ConfigError, match="is not one of auto, never, must"):
        TrainConfig(resume="always")


def test_a_batch_that_is_too_large_to_be_split_is_said_at_once():
    begun = time.process_time()
    with pytest.raises(ConfigError, match="cannot be split evenly among 2"):
        TrainConfig(batch_size=2**31 - 1).check_replicas(2)
    assert time.process_time() - begun < 10
