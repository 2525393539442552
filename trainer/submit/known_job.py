"""A job that was sent, as its engine tells of it."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownJob:
    """What an engine knows of a job.

    Attributes:
        name: str, by which the engine and the verbs of `vae-submit` find it.
        title: str, what people called it.
        state: str, the engine's own word for how it stands.
        has_ended: bool, whether it will not change any more.
        has_succeeded: bool, whether it has ended well.
        job_dir: str, `--job_dir` of the training; "" where that is not told.
        is_search: bool, whether it is many trainings; `details` has those.
        kind: str, what the engine calls such a job, where it has several.
        created: str, when it was sent: ISO 8601, of one engine alike.
        details: tuple of str, lines that say more.
    """

    name: str
    title: str
    state: str
    has_ended: bool = False
    has_succeeded: bool = False
    job_dir: str = ""
    is_search: bool = False
    kind: str = ""
    created: str = ""
    details: tuple = ()
