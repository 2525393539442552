import dataclasses
import pathlib

import pytest

from trainer.config import TrainConfig, expand_flags, parse_flags
from trainer.errors import ConfigError

CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").iterdir())


def test_every_setting_is_a_flag_with_the_default_of_the_config():
    assert parse_flags([]) == TrainConfig()


def test_every_flag_reaches_its_setting():
    changed = {
        str: lambda field: (field.metadata["choices"] or ["", "1,2"])[1],
        int: lambda field: field.default + 3,
        float: lambda field: field.default + 0.5,
        bool: lambda field: not field.default,
    }
    for field in dataclasses.fields(TrainConfig):
        value = changed[field.type](field)
        extra = ["--data_dir=d"] if value in ("idx",) else []
        if field.name == "dataset":
            value, extra = "idx", ["--data_dir=d"]
        if field.name == "binarize":
            extra = ["--reconstruction_loss=bce"]
        config = parse_flags([f"--{field.name}={value}", *extra])
        assert getattr(config, field.name) == value


def test_config_survives_json():
    config = TrainConfig(epochs=3, beta=0.5, deterministic=False)
    assert TrainConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_flag_files_parse(path):
    assert parse_flags([f"--flagfile={path}"]) != TrainConfig()


def test_seed_notebook_flags_are_the_notebooks_recipe():
    path = next(path for path in CONFIGS if path.stem == "seed_notebook")
    config = parse_flags([f"--flagfile={path}"])
    assert (config.latent_dim, config.batch_size, config.epochs) == (
        200,
        128,
        100,
    )
    assert config.kl_warmup_epochs == 0


def test_expanded_flags_need_no_file_and_mean_the_same(tmp_path):
    path = tmp_path / "some.flags"
    path.write_text("# a comment\n--epochs=30\n--nodeterministic\n")
    arguments = ["--epochs=3", f"--flagfile={path}", "--data_dir", "a b"]
    expanded = expand_flags(arguments)
    assert expanded == ["--data_dir=a b", "--epochs=30", "--nodeterministic"]
    assert parse_flags(expanded) == parse_flags(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epoch=3"], "Unknown command line flag 'epoch'"),
        (["train"], "'train' is not a flag"),
        (["--epochs=three"], "invalid literal"),
        (["--epochs=0"], "--epochs=0 is too small; the least is 1"),
        (["--batch_size=0"], "--batch_size=0 is too small"),
        (["--learning_rate=0"], "--learning_rate=0.0 must be above 0"),
        (["--learning_rate=nan"], "is not a finite number"),
        (["--beta=-1"], "--beta=-1.0 is too small"),
        (["--dataset=mnist"], "should be one of"),
        (["--dataset=idx"], "--dataset=idx needs --data_dir"),
        (["--dataset=synthetic", "--data_dir=d"], "reads no files"),
        (["--job_dir="], "--job_dir is empty"),
        (["--strategy=none", "--virtual_devices=2"], "uses one device"),
        (["--initial_units=201"], "more than --latent_dim=200"),
        (["--profile_steps=9"], "is not FIRST,LAST"),
        (["--profile_steps=20,10"], "is not FIRST,LAST"),
        (["--free_bits=1", "--jit_compile=true"], "does not work with"),
        (
            ["--precision=float64", "--mixed_precision=bfloat16"],
            "keeps float32 weights",
        ),
        (["--binarize=dynamic"], "use --reconstruction_loss=bce"),
        (
            ["--binarize=dynamic", "--reconstruction_loss=gaussian"],
            "--reconstruction_loss=gaussian is not for such",
        ),
        (["--binarize=static"], "should be one of"),
        (["--flagfile=/no/such/file"], "/no/such/file"),
    ],
)
def test_bad_flag_is_refused_with_the_reason(arguments, message):
    with pytest.raises(ConfigError) as error:
        parse_flags(arguments)
    assert message in str(error.value)
    assert error.value.exit_code == 2


def test_wrong_type_in_python_is_refused():
    with pytest.raises(ConfigError, match="is a str; expected int"):
        TrainConfig(epochs="3")
    with pytest.raises(ConfigError, match="is a bool; expected int"):
        TrainConfig(epochs=True)


def test_help_lists_every_flag(capsys):
    assert parse_flags(["--help"]) is None
    text = capsys.readouterr().out
    for field in dataclasses.fields(TrainConfig):
        assert f"--{field.name} " in text
