"""When a training ends before its last epoch: a function of its rows."""


class Patience:
    """Counts the epochs since the best held-out loss.

    All workers of a job count alike: each has the losses of all evaluations,
    and those from before it started.

    Args:
        epochs: int, after how many without a better loss the training ends; 0
            for never.
        losses: list of [epoch, loss], of the evaluations before.
    """

    def __init__(self, epochs, losses=()):
        self._epochs = epochs
        self._best = self._last = None
        for epoch, loss in losses:
            self.add(epoch, loss)

    def add(self, epoch, loss):
        """Adds an evaluation; those come in the order of their epochs."""
        self._last = epoch
        if self._best is None or loss < self._best[1]:
            self._best = epoch, loss

    @property
    def is_over(self):
        """Whether the training ends with the last evaluation."""
        return (
            self._epochs > 0
            and self._best is not None
            and self._last - self._best[0] >= self._epochs
        )

    def message(self):
        """Returns what to say of the end."""
        epoch, loss = self._best
        return (
            f"The training ends with epoch {self._last}: no held-out loss was "
            f"below the {loss:.2f} of epoch {epoch} for {self._epochs} epochs "
            "(--patience_epochs)."
        )


def losses_of(rows):
    """Returns [epoch, loss] of each held-out row, in their order."""
    return [
        [row["epoch"], row["total_loss"]]
        for row in rows
        if row["split"] != "train"
    ]
