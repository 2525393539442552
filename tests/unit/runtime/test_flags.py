"""The command line of a training, its help, and flag files."""

import dataclasses
import pathlib
import re
import subprocess
import sys

import hypothesis
import pytest
from hypothesis import strategies as st

import trainer
from trainer.commands import evaluate, export, gallery, generate
from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.runtime import flags as flags_lib
from trainer.runtime.training_flags import expand_flags, flag_file, parse_flags
from trainer.settings.declaration import MOST

CONFIGS = sorted(
    (pathlib.Path(__file__).parents[3] / "configs").rglob("*.flags")
)
FIELDS = dataclasses.fields(TrainConfig)


def test_every_setting_is_a_flag_with_the_default_of_the_config():
    assert parse_flags([]) == TrainConfig()


def test_every_flag_reaches_its_setting():
    changed = {
        str: lambda field: (field.metadata["choices"] or ["", "1,2"])[1],
        int: lambda field: field.default + 3,
        float: lambda field: field.default + 0.5,
        bool: lambda field: not field.default,
    }
    values = {"model": "mlp", "model_options": "width=3"}
    together = {
        "dataset": [],
        "binarize": ["--reconstruction_loss=bce"],
        "prior_components": ["--prior=vamp"],
        "condition": ["--model=mlp"],
        "train_examples": ["--batch_size=1"],
        "virtual_devices": ["--batch_size=3"],
    }
    for field in FIELDS:
        value = values.get(field.name) or changed[field.type](field)
        extra = together.get(field.name, [])
        config = parse_flags([f"--{field.name}={value}", *extra])
        assert getattr(config, field.name) == value


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
        (["--nodeterministic=1"], "does not take an argument"),
        (["--epochs=0"], "--epochs=0 is too small; the least is 1"),
        (["--batch_size=0"], "--batch_size=0 is too small"),
        (["--learning_rate=0"], "--learning_rate=0.0 must be above 0"),
        (["--learning_rate=nan"], "is not a finite number"),
        (["--beta=-1"], "--beta=-1.0 is too small"),
        (["--dataset=imagenet"], "should be one of"),
        (["--dataset=idx"], "--dataset=idx needs --data_dir"),
        (["--dataset=synthetic", "--data_dir=d"], "reads no files"),
        (["--job_dir="], "--job_dir is empty"),
        (["--strategy=none", "--virtual_devices=2"], "uses one device"),
        (["--virtual_devices=3"], "use --batch_size=126 or 129"),
        (["--train_examples=100"], "use at most --batch_size=100"),
        (["--initial_units=201"], "more than --latent_dim=200"),
        (["--profile_steps=9"], "is not FIRST,LAST"),
        (["--profile_steps=20,10"], "is not FIRST,LAST"),
        (["--free_bits=1", "--jit_compile=true"], "does not work with"),
        (["--free_bits=1", "--prior=vamp"], "needs the KL of each latent unit"),
        (["--prior_components=9"], "is for --prior=vamp"),
        (["--prior=vamp", "--model=hierarchy"], "priors of their own"),
        (["--prior=vamp", "--model=mlp_hierarchy"], "=mlp_hierarchy has sev"),
        (
            ["--condition=labels"],
            "for --model=mlp, --model=conv and functions of yours that take "
            "classes, but --model=notebook",
        ),
        (["--condition=labels", "--model=hierarchy"], "=hierarchy takes no la"),
        (
            ["--condition=labels", "--model=conv", "--prior=vamp"],
            "images without labels",
        ),
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
        (["--flagfile=/proc/self/exe"], "--flagfile is not UTF-8 text"),
        ([f"--seed={2**63}"], f"is too large; the most is {2**63 - 1}"),
        ([f"--epochs={10**30}"], f"is too large; the most is {2**63 - 1}"),
        ([f"--latent_dim={2**31}"], "is too large; the most is 2147483647"),
        ([f"--batch_size={2**31}"], "is too large; the most is 2147483647"),
        ([f"--steps_per_call={2**31}"], "is too large; the most is"),
        (["--virtual_devices=1025"], "is too large; the most is 1024"),
        ([f"--keep_checkpoints={10**30}"], "is too large; the most is"),
        ([f"--profile_steps=1,{2**63}"], "is not FIRST,LAST"),
    ],
)
def test_bad_flag_is_refused_with_the_reason(arguments, message, capsys):
    for more in ([], ["--print_config"]):
        with pytest.raises(ConfigError) as error:
            parse_flags([*arguments, *more])
        assert message in str(error.value)
        assert error.value.exit_code == 2
    assert capsys.readouterr().out == ""


# The help.


def help_of(parse, capsys):
    capsys.readouterr()
    assert parse(["--help"]) is None
    return capsys.readouterr().out


def sections(text):
    """Returns the flags under each title, and what they say, in order."""
    found = {}
    for line in text.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            section = found[line[:-1]] = {}
        elif line.startswith("  --"):
            section[line.split()[0]] = line
    return found


def test_help_begins_with_the_usage_a_sentence_and_an_example(capsys):
    text = help_of(parse_flags, capsys)
    usage, about, example = text.split("\n\n")[:3]
    assert usage == "usage: vae-train [flags]"
    assert about.startswith("Trains a variational autoencoder.")
    first, command = example.splitlines()
    assert first == "Example:"
    program, *arguments = command.split()
    assert program == "vae-train"
    assert parse_flags(arguments) != TrainConfig()


def test_help_has_what_people_use_first_and_then_the_rest_by_group(capsys):
    found = sections(help_of(parse_flags, capsys))
    assert list(found) == [
        "Example",
        "Common",
        "Data",
        "Length",
        "Model and objective",
        "Optimizer",
        "Precision and speed",
        "Devices",
        "Job directory",
        "Checkpoints and logs",
        "Other",
    ]
    names = [re.match(r"--(\w+)", flag)[1] for flag in found["Common"]]
    assert names == [
        "job_dir",
        "dataset",
        "data_dir",
        "model",
        "latent_dim",
        "reconstruction_loss",
        "beta",
        "seed",
        "epochs",
        "batch_size",
        "learning_rate",
    ]
    assert list(found["Other"]) == [
        "--flagfile=FILE",
        "--[no]print_config",
        "--version",
        "--help",
    ]


def test_help_has_every_setting_once(capsys):
    text = help_of(parse_flags, capsys)
    for field in FIELDS:
        shown = f"[no]{field.name}" if field.type is bool else f"{field.name}="
        pattern = rf"^  --{re.escape(shown)}"
        assert len(re.findall(pattern, text, re.MULTILINE)) == 1, field.name
        if choices := field.metadata["choices"]:
            assert text.count("|".join(choices)) == 1


def test_help_has_choices_units_defaults_and_bounds(capsys):
    lines = help_of(parse_flags, capsys).splitlines()
    for line in (
        "  --binarize=none|dynamic  (default none)",
        "  --[no]deterministic  (default on)",
        "  --free_bits=NATS  (default 0, at least 0)",
        "  --cluster_timeout_seconds=SECONDS  (default 600, above 0)",
        "  --adam_epsilon=X  (default 1e-07, above 0)",
        "  --data_dir=FOLDER",
    ):
        assert line in lines


JOB_COMMANDS = {
    "vae-evaluate": evaluate._parse,
    "vae-export": export._parse,
    "vae-gallery": gallery._parse,
    "vae-generate": generate._parse,
}


@pytest.mark.parametrize("program", JOB_COMMANDS)
def test_every_command_has_a_help_with_an_example_that_it_takes(
    program, capsys
):
    parse = JOB_COMMANDS[program]
    text = help_of(parse, capsys)
    assert text.startswith(f"usage: {program} [flags]\n\n")
    command = re.search(r"^Example:\n  (.*)$", text, re.MULTILINE)[1]
    assert command.split()[0] == program
    assert parse(command.split()[1:]) is not None
    assert "  --checkpoint=STEP  (default last)\n" in text


@pytest.mark.parametrize("parse", [parse_flags, *JOB_COMMANDS.values()])
def test_help_fits_80_columns(parse, capsys):
    assert max(map(len, help_of(parse, capsys).splitlines())) <= 80


# The version.


@pytest.mark.parametrize("parse", [parse_flags, *JOB_COMMANDS.values()])
def test_every_command_says_its_version(parse, capsys):
    assert parse(["--version"]) is None
    assert capsys.readouterr().out == f"vae-trainer {trainer.__version__}\n"


ANSWERED = """
import os, runpy, sys
leave = os._exit
def end(code=0):
    loaded = {"tensorflow", "keras", "matplotlib"} & {*sys.modules}
    leave(99 if loaded else code)
os._exit = end
module, *sys.argv[1:] = sys.argv[1:]
try:
    runpy.run_module(module, run_name="__main__")
except SystemExit as ending:
    sys.stdout.flush()
    end(ending.code)
"""


@pytest.mark.parametrize(
    ("module", "flag"),
    [
        ("task", "--help"),
        ("task", "--version"),
        ("task", "--print_config"),
        ("submit", "--version"),
        ("commands.data", "--help"),
        ("commands.data", "--version"),
        *(
            (f"commands.{name.removeprefix('vae-')}", "--version")
            for name in JOB_COMMANDS
        ),
    ],
)
def test_it_is_answered_without_tensorflow(module, flag):
    done = subprocess.run(
        [sys.executable, "-c", ANSWERED, f"trainer.{module}", flag],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


# Flag files.


def read_back(text, folder):
    path = folder / "printed.flags"
    path.write_text(text)
    return parse_flags([f"--flagfile={path}"])


def printed(arguments, capsys):
    capsys.readouterr()
    assert parse_flags([*arguments, "--print_config"]) is None
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--nodeterministic", "--learning_rate=1e-4", "--beta=0.1"],
        ["--data_dir=/a folder/ of # -- é=日'\"$HOME\\n"],
        ["--job_dir=--job_dir=//x", "--data_url="],
        ["--profile_steps= 10, 20"],
    ],
)
def test_the_printed_config_is_a_flag_file_of_the_same_config(
    arguments, capsys, tmp_path
):
    text = printed(arguments, capsys)
    assert read_back(text, tmp_path) == parse_flags(arguments)


def test_the_printed_config_has_every_setting(capsys):
    first, *lines = printed([], capsys).splitlines()
    assert first == f"# vae-trainer {trainer.__version__}"
    names = [
        re.match(r"--(no(?=require_exact))?(\w+)", line)[2] for line in lines
    ]
    assert names == [field.name for field in FIELDS]


def test_the_printed_config_is_what_a_flag_file_and_the_rest_make(
    capsys, tmp_path
):
    path = tmp_path / "some.flags"
    path.write_text("--epochs=30\n")
    text = printed(["--epochs=3", f"--flagfile={path}"], capsys)
    assert "--epochs=30\n" in text


def test_on_vertex_the_printed_config_has_the_folder_of_the_job(
    monkeypatch, capsys
):
    monkeypatch.setenv("AIP_MODEL_DIR", "gs://bucket/base/model/")
    assert "--job_dir=gs://bucket/base\n" in printed([], capsys)


@pytest.mark.parametrize(
    "value",
    ["blank at its end ", "another\u3000", "two\nlines", "two\rtoo", "\udcff"],
)
def test_a_value_that_a_flag_file_cannot_hold_is_refused(value, capsys):
    with pytest.raises(ConfigError, match=r"--data_url=.*in a flag file"):
        printed([f"--data_url={value}"], capsys)
    assert capsys.readouterr().out == ""


@hypothesis.given(
    data_url=st.text(),
    numbers=st.tuples(
        *[st.floats(0, allow_nan=False, allow_infinity=False)] * 3
    ),
    seed=st.integers(0, MOST),
    deterministic=st.booleans(),
)
@hypothesis.settings(
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_any_config_comes_back_or_is_refused(
    tmp_path, data_url, numbers, seed, deterministic
):
    beta, free_bits, kl_warmup_epochs = numbers
    config = TrainConfig(
        data_url=data_url,
        beta=beta,
        free_bits=free_bits,
        kl_warmup_epochs=kl_warmup_epochs,
        seed=seed,
        deterministic=deterministic,
    )
    try:
        text = flag_file(config)
    except ConfigError:
        assert data_url != data_url.rstrip() or {*data_url} & {*"\r\n"}
        return
    assert read_back(text, tmp_path) == config


def test_flags_of_a_command_are_held_to_their_bounds():
    usage = flags_lib.Usage("program", "Does it.", "program --count=1")
    for value, fault in (("0", "small; the least"), ("10", "large; the most")):
        flags = flags_lib.Flags(usage)
        flags.add("count", 3, "how many", minimum=1, maximum=9)
        with pytest.raises(ConfigError, match=f"={value} is too {fault}"):
            flags.parse([f"--count={value}"])
    assert "--count=N  (default 3, at least 1, at most 9)" in flags.help()
