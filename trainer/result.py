"""What came out of a job: what `trainer.train` returns."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Result:
    """What came out of a job, as `finished.json` has it.

    Attributes:
        step: the last step.
        test_metrics: the last row of held-out images, as in `metrics.jsonl`:
            losses in nats an image.
        collapsed: whether the posterior has collapsed.
        seconds: wall time of the session that ended the job.
        checkpoint_blocked_seconds: of those, how long the training thread
            copied state and waited for an earlier checkpoint.
    """

    step: int
    test_metrics: dict[str, Any]
    collapsed: bool
    seconds: float
    checkpoint_blocked_seconds: float
