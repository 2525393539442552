"""Which machines take part, as TF_CONFIG, Slurm or Kubernetes says it."""

import dataclasses
import itertools
import json
import re

from trainer.errors import ConfigError

# Below the ports that the kernel gives to clients.
_SLURM_FIRST_PORT, _SLURM_PORTS = 15000, 15000
_KUBERNETES_HOSTS = "WORKER_HOSTS"


@dataclasses.dataclass(frozen=True)
class Topology:
    """The workers of a job, and which of them this process is.

    Attributes:
        hosts: `host:port` of every worker, the chief's first.
        index: the place of this process in `hosts`.
    """

    hosts: tuple[str, ...]
    index: int

    @property
    def is_chief(self):
        """Whether this process leads, and writes the job directory."""
        return self.index == 0

    @property
    def name(self):
        """What log lines call this process."""
        return _name(self.index)

    def describe(self, index):
        """Returns for instance `"worker 1 (10.0.0.2:2222)"`."""
        return f"{_name(index)} ({self.hosts[index]})"


def find(environ, strategy="auto"):
    """Returns the `Topology` of an environment; None for one machine alone.

    Args:
        environ: a mapping, such as `os.environ`.
        strategy: as `TrainConfig.strategy`; `mirrored` and `none` stay on
            this machine, whatever the environment says.

    Raises:
        ConfigError: the environment contradicts itself, or names a role that
            this job does not have; or several machines were asked for and
            it names none.
    """
    if strategy in ("mirrored", "none"):
        return None
    topology = None
    for read in (from_tf_config, from_slurm, from_kubernetes):
        topology = topology or read(environ)
    if topology is None and strategy == "multi_worker":
        raise ConfigError(
            "--strategy=multi_worker, but no TF_CONFIG, Slurm step or "
            f"Kubernetes {_KUBERNETES_HOSTS} says who takes part; set "
            "TF_CONFIG, or use --strategy=auto."
        )
    if topology is not None and len(topology.hosts) == 1:
        return None
    return topology


def from_tf_config(environ):
    """Returns the `Topology` of TF_CONFIG, or None if it names no task.

    https://www.tensorflow.org/guide/distributed_training#TF_CONFIG

    Raises:
        ConfigError: it cannot be understood, or has a role that this job does
            not have.
    """
    text = environ.get("TF_CONFIG")
    if not text:
        return None
    try:
        content = json.loads(text)
        cluster = content.get("cluster") or {}
        hosts = {job: list(cluster[job]) for job in cluster if cluster[job]}
        task = content.get("task") or {}
        job, index = task.get("type"), int(task.get("index", 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"TF_CONFIG is not the JSON of a cluster ({error}); unset it to "
            "train on this machine alone."
        ) from error
    if not hosts:
        return None
    for name in {*hosts, job}:
        if name not in ("chief", "master", "worker"):
            raise ConfigError(
                f"TF_CONFIG has a task of type {name}; this job has a chief "
                "and workers only, which evaluate as well. Leave it out."
            )
    # Vertex AI and older services call the chief "master".
    order = [name for name in ("chief", "master", "worker") if name in hosts]
    leaders = [*hosts.get("chief", ()), *hosts.get("master", ())]
    if len(leaders) > 1:
        raise ConfigError(
            f"TF_CONFIG names {len(leaders)} chiefs ({', '.join(leaders)}); "
            "there is one at most."
        )
    if job not in hosts or not 0 <= index < len(hosts[job]):
        raise ConfigError(
            f"TF_CONFIG says that this is {job} {index}, but its cluster has "
            f"no such task; it has {_counts(hosts)}."
        )
    before = sum(len(hosts[name]) for name in order[: order.index(job)])
    return _topology(
        "TF_CONFIG",
        itertools.chain.from_iterable(hosts[name] for name in order),
        before + index,
    )


def from_slurm(environ):
    """Returns the `Topology` of the tasks of a Slurm step, or None.

    https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES
    The ports follow from the job's number, so that two jobs of a node differ.

    Raises:
        ConfigError: the environment contradicts itself.
    """
    # Only srun sets it: the batch shell itself is no task.
    if "SLURM_STEP_NUM_TASKS" not in environ:
        return None
    try:
        # A task a node is what makes sense; several come in blocks, as srun
        # deals them out unless told otherwise.
        nodes = [
            node
            for node, tasks in zip(
                expand_nodes(environ["SLURM_STEP_NODELIST"]),
                _expand_counts(environ["SLURM_STEP_TASKS_PER_NODE"]),
                strict=True,
            )
            for _ in range(tasks)
        ]
        index = int(environ["SLURM_PROCID"])
        job = int(environ["SLURM_JOB_ID"])
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"The environment of this Slurm step is incomplete ({error}); "
            "start the job with srun."
        ) from error
    first_port = _SLURM_FIRST_PORT + job * 64 % _SLURM_PORTS
    hosts = [
        f"{node}:{first_port + number}" for number, node in enumerate(nodes)
    ]
    return _topology("The Slurm step", hosts, index)


def from_kubernetes(environ):
    """Returns the `Topology` of an indexed Kubernetes Job, or None.

    Kubernetes sets JOB_COMPLETION_INDEX; the manifest sets WORKER_HOSTS, the
    `host:port` of all pods by index, with commas between.

    Raises:
        ConfigError: the environment contradicts itself.
    """
    hosts = environ.get(_KUBERNETES_HOSTS)
    if not hosts:
        return None
    index = environ.get("JOB_COMPLETION_INDEX", "")
    if not index.isdecimal():
        raise ConfigError(
            f"{_KUBERNETES_HOSTS} is set, but JOB_COMPLETION_INDEX is "
            f"{index!r}, not a number; run the Job with completionMode: "
            "Indexed."
        )
    return _topology(_KUBERNETES_HOSTS, hosts.split(","), int(index))


def expand_nodes(text):
    """Returns the node names of a Slurm list, such as `"gpu[01-03,7],login"`.

    Raises:
        ValueError: it cannot be understood.
    """
    names = []
    # Commas outside of brackets part the names.
    for item in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        pieces = re.split(r"\[([^\]]*)\]", item)
        for position in range(1, len(pieces), 2):
            pieces[position] = _expand_range(pieces[position])
        names += [
            "".join(parts)
            for parts in itertools.product(
                *([p] if isinstance(p, str) else p for p in pieces)
            )
        ]
    return names


def _expand_range(text):
    numbers = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += [
            f"{number:0{len(first)}d}"
            for number in range(int(first), int(last or first) + 1)
        ]
    return numbers


def _expand_counts(text):
    """Returns the numbers of a Slurm list, such as `"2(x3),1"`."""
    counts = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise ValueError(f"{text} is not a list of counts")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _topology(source, hosts, index):
    hosts = tuple(host.strip() for host in hosts)
    for host in hosts:
        name, _, port = host.rpartition(":")
        if not name or not port.isdecimal():
            raise ConfigError(
                f"{source} names {host!r}, which is not host:port."
            )
    if len(set(hosts)) < len(hosts):
        raise ConfigError(
            f"{source} names a worker twice ({', '.join(hosts)}); each needs "
            "a host:port of its own."
        )
    if not 0 <= index < len(hosts):
        raise ConfigError(
            f"{source} names {len(hosts)} workers, but this is number {index}, "
            "counted from 0."
        )
    return Topology(hosts, index)


def _name(index):
    return f"worker {index}" if index else "chief"


def _counts(hosts):
    return ", ".join(f"{len(names)} {job}" for job, names in hosts.items())
