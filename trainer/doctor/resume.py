"""A check of the job: a new one, or one that these flags go on with."""

import contextlib
import pathlib

from trainer import places
from trainer.data import manifest
from trainer.doctor import rows
from trainer.job_dir import layout
from trainer.job_dir.open import JobDir
from trainer.model import build


def job(case):
    """Whether the flags and the data are those of the job that is there."""
    with _opened(case) as (found, is_empty):
        if not found.exists:
            return _new(case, is_empty)
        if case.config.resume == "never":
            return _not_empty(case)
        # Each raises what would end the job, in its own words.
        found.check_settings(case.config)
        found.check_model(build.description(case.config))
        recorded = found.record()
        was = recorded["data"].get("sha256", {}).get(manifest.NAME)
        if case.facts.digest and was and was != case.facts.digest:
            return rows.failure(
                f"{found.location} was trained on a dataset with the digest "
                f"{was[:12]}, and this one has {case.facts.digest[:12]}.",
                "Give that dataset with --data_dir, or another --job_dir.",
            )
        sessions = len(recorded["sessions"])
        told = (
            f"goes on with a job of {sessions} session{'s' * (sessions != 1)}"
        )
        reason = found.check_exact(case.cluster.gpu, case.config.require_exact)
    if reason:
        return rows.warning(
            f"{told}. {reason}", "Use a machine like the earlier one."
        )
    return rows.ok(told)


def _new(case, is_empty):
    if case.config.resume == "must":
        return rows.failure(
            f"--resume=must, but {case.config.job_dir} holds no job.",
            "Check --job_dir, or use --resume=auto to start one.",
        )
    if not is_empty and case.config.resume == "never":
        return _not_empty(case)
    return rows.ok("a new job")


def _not_empty(case):
    return rows.failure(
        f"--resume=never, but {case.config.job_dir} is not empty.",
        "Give another --job_dir, or --resume=auto to go on with it.",
    )


@contextlib.contextmanager
def _opened(case):
    """Yields a `JobDir` that may have its record alone, and if it is empty."""
    location = case.config.job_dir
    if not places.parse(location).in_bucket:
        root = pathlib.Path(location)
        is_empty = not root.is_dir() or not any(root.iterdir())
        yield JobDir(root), is_empty
        return
    # Which waits for a bucket that is out of reach less long than the copy.
    is_empty = not case.bucket[1]
    from trainer.job_dir.bucket import session

    with session.copied(
        location, case.console, case.stop, layout.CONFIG.__eq__
    ) as (root, store):
        yield JobDir(root, store.url, store=store), is_empty
