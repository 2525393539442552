"""Command: a search for the best flags of a training, on this machine."""

import os
import sys

from trainer import places
from trainer.errors import ConfigError
from trainer.runtime.command import run_command
from trainer.runtime.flags import Flags, Usage
from trainer.runtime.training_flags import expand_flags, parse_flags

_USAGE = Usage(
    program="vae-tune",
    about="Searches for the flags of a training with the least held-out loss, "
    "one training after the other on this machine. After -- go the flags that "
    "all trainings have. The same command again goes on where it stopped.",
    example="""\
vae-tune --study_dir=runs/search --trials=12 \\
  --search=learning_rate=1e-4..1e-2:log --search=latent_dim=2,20,200 \\
  -- --epochs=20 --validation_share=0.1""",
    arguments="[flags] -- [flags of the training]",
)
_TRAINING = Usage(
    program="vae-tune [flags] --",
    about="What stands after -- are flags of the training. Each trial has a "
    "--job_dir of its own.",
    example="vae-tune --search=latent_dim=2,20,200 -- --epochs=20",
    arguments="[flags of the training]",
)
_MOST_TRIALS = 10_000


def main():
    """Searches for the best flags; the console script `vae-tune`.

    Returns:
        The exit code: 0 all trials are over, 2 wrong flags or the folder of
        another search, 75 interrupted with the state saved (run it again), 1
        too many trials have failed, or something is damaged.
    """
    return run_command(_parse, _search)


def _parse(words):
    """Returns the folder, the `Definition` and the number of trials."""
    ours, after = words, []
    if "--" in words:
        cut = words.index("--")
        ours, after = words[:cut], words[cut + 1 :]
    flags = _flags()
    try:
        if not flags.parse(ours):
            return None
    except ConfigError as error:
        raise ConfigError(
            f"{str(error).rstrip('.')}; flags of the training go after --."
        ) from error
    # Late, like all that follows: --help waits for nothing.
    from trainer.search import space, study, suggestions

    try:
        given = expand_flags(after, _TRAINING)
    except ConfigError as error:
        raise ConfigError(f"After --: {error}") from error
    if given is None:
        return None
    folder = places.parse_local(flags["study_dir"].value, "--study_dir")
    texts = flags["search"].value
    if not texts:
        raise ConfigError(
            "--search is missing; give for instance "
            "--search=learning_rate=1e-4..1e-2:log."
        )
    _refuse_what_a_trial_has(given)

    def try_out(*more):
        return _train_config([*given, *more], folder)

    parameters = space.parse(texts, "--search", given, try_out)
    config = try_out(
        *(f"--{each.name}={each.values[0]}" for each in parameters)
    )
    _refuse_several_machines(config)
    suggestions.optuna()
    definition = study.Definition.of(
        parameters,
        config,
        given,
        flags["seed"].value,
        not flags["no_pruning"].value,
    )
    return folder, definition, flags["trials"].value


def _search(parsed, stop, console):
    from trainer.search import run

    folder, definition, count = parsed
    run.search(folder, definition, count, stop, console)


def _flags():
    flags = Flags(_USAGE)
    flags.add(
        "study_dir",
        "runs/search",
        "folder of the search, on this machine: its trials are the job "
        "directories below trials/",
        unit="folder",
    )
    flags.add(
        "search",
        [],
        "search for the value of a flag with the least held-out loss: "
        "learning_rate=1e-4..1e-2, learning_rate=1e-4..1e-2:log or "
        "latent_dim=2,20,200; may be repeated",
        unit="name=values",
    )
    flags.add(
        "trials",
        20,
        "trainings that the search runs in all; more may be given later",
        unit="trainings",
        minimum=1,
        maximum=_MOST_TRIALS,
    )
    flags.add(
        "seed",
        0,
        "seed of what is tried; that of the training goes after --",
        minimum=0,
    )
    flags.add(
        "no_pruning",
        False,
        "train each to its end, also one whose held-out loss is worse than "
        "that of most others at the same epoch",
    )
    return flags


def _train_config(flags, folder):
    """Returns the `TrainConfig` of a trial.

    Raises:
        ConfigError: the training would refuse its flags.
    """
    try:
        return parse_flags([*flags, f"--job_dir={folder}/trials"], _TRAINING)
    except ConfigError as error:
        raise ConfigError(f"After --: {error}") from error


def _refuse_what_a_trial_has(given):
    for flag in given:
        if flag.startswith("--job_dir="):
            raise ConfigError(
                f"After --: {flag} is not for a trial, which has a folder of "
                "its own below --study_dir; leave it out."
            )
        if flag.startswith("--resume=") and flag != "--resume=auto":
            raise ConfigError(
                f"After --: with {flag} a trial could not be both started and "
                "resumed; leave it out."
            )


def _refuse_several_machines(config):
    from trainer.distributed import topology

    if topology.find(os.environ, config.strategy) is not None:
        raise ConfigError(
            "A search runs on one machine, but the environment (TF_CONFIG, "
            "Slurm's variables or WORKER_HOSTS) names several; remove that "
            "from it, or give --strategy=mirrored after --."
        )


if __name__ == "__main__":
    sys.exit(main())
