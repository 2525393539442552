"""What several checks look at, made once: the devices, the data, the model."""

import contextlib
import dataclasses

from trainer.config import TrainConfig
from trainer.distributed import devices
from trainer.distributed.topology import Topology
from trainer.doctor import facts, pace, rows, smi
from trainer.errors import ConfigError, TrainerError
from trainer.model.build import build_vae
from trainer.runtime import gpu_environment
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal


@dataclasses.dataclass(frozen=True)
class Case:
    """The job that is asked about, on this machine.

    Attributes:
        config: the `TrainConfig`.
        topology: the `Topology` of several machines; None for one alone.
        stop: a `StopSignal`.
        console: a `Console`.
        made: dict of what was made so far, or of the exception, by name.
    """

    config: TrainConfig
    topology: Topology | None
    stop: StopSignal
    console: Console
    made: dict = dataclasses.field(default_factory=dict)

    @property
    def machines(self):
        """How many machines take part."""
        return len(self.topology.hosts) if self.topology else 1

    @property
    def here(self):
        """The `TrainConfig` of this machine's share of the batch.

        Raises:
            ConfigError: the batch cannot be split among the machines.
        """
        self.config.check_replicas(self.machines)
        if self.topology is None:
            return self.config
        return dataclasses.replace(
            self.config, batch_size=self.config.batch_size // self.machines
        )

    @property
    def facts(self):
        """The `Facts` of the data."""
        return self._once("the data", lambda: facts.find(self))

    @property
    def bucket(self):
        """The `ObjectStore` of a job directory in a bucket, and its objects.

        Returns:
            (store, listed): a dict of `ObjectInfo` by name.
        """
        # The client library takes most of a second to import.
        from trainer.doctor import bucket

        def listed():
            store = bucket.open_store(self.config.job_dir, self)
            return store, store.list()

        return self._once("the bucket", listed)

    @property
    def cluster(self):
        """The `Cluster` of this machine."""

        def connected():
            if self.topology is not None:
                devices.check_workers(self.config, self.topology)
            if gpu_environment.has_gpu():
                # Asked before TensorFlow takes memory of them. The check of
                # the devices says what is wrong with the answer.
                with contextlib.suppress(TrainerError):
                    _ = self.gpus
            return devices.connect(self.here, None)

        return self._once("the device", connected)

    @property
    def gpus(self):
        """The `smi.Gpu` that TensorFlow may see, as they were at first.

        Returns:
            A list; None where nvidia-smi does not tell of them.
        """
        return self._once("what nvidia-smi says", smi.visible)

    @property
    def vae(self):
        """The `VAE`, on the devices of this machine."""
        return self._once("the model", self._build)

    @property
    def schedule(self):
        """The `Schedule` of the job."""
        return self._once("the schedule", lambda: pace.schedule_of(self))

    @property
    def pace(self):
        """The `Pace` of the steps."""
        return self._once("the speed", lambda: pace.measure(self))

    def _build(self):
        shape = self.facts.image_shape
        if shape is None:
            raise rows.NotKnownError("The shape of the images is known")
        with self.cluster.strategy.scope():
            try:
                return build_vae(self.config, shape)
            except ValueError as error:
                raise ConfigError(
                    "The model cannot take images of "
                    f"{' x '.join(map(str, shape))}: {error}"
                ) from error

    def _once(self, what, make):
        if what not in self.made:
            try:
                self.made[what] = make()
            except Exception as error:
                self.made[what] = error
                raise
        found = self.made[what]
        if isinstance(found, Exception):
            raise rows.NotLookedAtError(what, found) from found
        return found
