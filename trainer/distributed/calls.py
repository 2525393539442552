"""What all workers do alike: calls of the same length, and when to stop.

Each worker measures another speed, and a signal comes to one of them, but
all must run the same steps, or they would wait for each other forever. So the
chief proposes, and an all-reduce inside of each call tells the others.
"""

import time

import numpy as np
import tensorflow as tf

from trainer.errors import InterruptedJobError

_TARGET_SECONDS = 1.0
_MAX_GROWTH = 4


class Workers:
    """All workers of a job, as one of them sees them: what they agree on.

    On one machine that is what its own `StopSignal` says; on several it is
    what the chief's said when the last call began.

    Args:
        stop: the `StopSignal` of this process.
        peers: the `peers.Peers` of this process; None for one machine.
    """

    def __init__(self, stop, peers=None):
        self._stop = stop
        self._peers = peers
        self._agreed = False

    @property
    def stopping(self):
        """True once all workers should stop."""
        return self._agreed if self._peers else self._stop.requested

    def check(self):
        """Raises what ends the job: the stop signal, or the loss of a peer."""
        if self._peers:
            self._peers.check()
        if self.stopping:
            raise InterruptedJobError(self.message("nothing was lost"))

    def message(self, what):
        """Returns the sentence that ends an interrupted job."""
        return self._stop.message(what)

    def propose(self, steps):
        """Returns what this process would do next: float64 of shape (2,).

        Args:
            steps: how many steps it would give the next call.
        """
        return np.array([self._stop.requested, steps], np.float64)

    def settle(self, agreed, steps):
        """Takes over what `agree` returned; returns the steps of the next call.

        Args:
            agreed: float64 tensor or array of shape (2,).
            steps: how many this process would give it by now.
        """
        if not self._peers:
            return steps
        stop, chiefs_steps = np.asarray(agreed)
        self._agreed = self._agreed or bool(stop)
        return int(chiefs_steps)


class Calls:
    """Calls of a compiled function, each of some steps that all workers run.

    Long calls save overhead; but a stop signal waits for the call to end,
    and so does the progress bar. So a call takes about a second.

    Args:
        function: takes a number of steps, int32 tensor of shape (), a
            proposal, float64 tensor of shape (2,), and what `run` is given
            beside; returns its result and the proposal of the chief, which
            `agree` gives it.
        workers: the `Workers`.
        fixed_steps: always this many steps; 0 = find out.

    Attributes:
        seconds: float, how long the last call took.
    """

    def __init__(self, function, workers, fixed_steps=0):
        self._function = function
        self._workers = workers
        self._fixed = fixed_steps
        self._measured = 1
        self._calls = 0
        self._next = fixed_steps or 1
        self.seconds = 0.0

    def size(self, most):
        """Returns how many steps the next call has, at most `most`."""
        return min(self._next, most)

    def run(self, steps, *args):
        """Runs a call of `steps` steps; returns what the function returns.

        Raises:
            InterruptedJobError: the stop signal came before.
            PeerLostError: a peer was lost.
        """
        self._workers.check()
        proposal = self._workers.propose(self._preferred)
        started = time.monotonic()
        result, agreed = self._function(
            tf.constant(steps), tf.constant(proposal), *args
        )
        self.seconds = time.monotonic() - started
        self._learn(steps)
        self._next = self._workers.settle(agreed, self._preferred)
        return result

    @property
    def _preferred(self):
        return self._fixed or self._measured

    def _learn(self, steps):
        self._calls += 1
        # The first call is mostly tracing.
        if self._calls > 1:
            fitting = int(_TARGET_SECONDS * steps / max(self.seconds, 1e-6))
            self._measured = max(1, min(fitting, _MAX_GROWTH * self._measured))


def agree(strategy, proposal):
    """Returns the chief's proposal, on all workers; for a `tf.function`.

    Args:
        strategy: a `tf.distribute.Strategy`.
        proposal: a tensor; this worker's own.
    """
    if strategy.cluster_resolver is None:
        return proposal

    def of_replica():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.where(tf.equal(replica, 0), proposal, 0)

    return strategy.reduce("SUM", strategy.run(of_replica), axis=None)
