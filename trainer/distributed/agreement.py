"""What all workers do alike: the length of a call, and when to stop.

Each worker measures another speed, and a signal comes to one of them, but
all must run the same steps, or they would wait for each other forever. So the
chief proposes, and an all-reduce inside of each call tells the others.
"""

import numpy as np
import tensorflow as tf

from trainer.errors import InterruptedJobError


class Agreement:
    """The stop signal and the pace that all workers share.

    Stands in for a `StopSignal` in the loop. On one machine it is that
    signal; on several it is what the chief's was when the last call began.

    Args:
        stop: the `StopSignal` of this process.
        peers: the `peers.Peers` of this process; None for one machine.
    """

    def __init__(self, stop, peers=None):
        self._stop = stop
        self._peers = peers
        self._agreed = False

    @property
    def requested(self):
        """True once the job should stop."""
        return self._agreed if self._peers else self._stop.requested

    def check(self):
        """Raises what ends the job: the stop signal, or the loss of a peer."""
        if self._peers:
            self._peers.check()
        if self.requested:
            raise InterruptedJobError(self.message("nothing was lost"))

    def message(self, what):
        """Returns the sentence that ends an interrupted job."""
        return self._stop.message(what)

    def propose(self, pacer):
        """Returns what this process would do next: float64 of shape (2,)."""
        return np.array([self._stop.requested, pacer.measured], np.float64)

    def settle(self, pacer, agreed):
        """Takes over what the chief proposed, as `agree` returned it."""
        if self._peers:
            stop, steps = agreed.numpy()
            self._agreed = self._agreed or bool(stop)
            pacer.steps = int(steps)
        else:
            pacer.steps = pacer.measured


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
