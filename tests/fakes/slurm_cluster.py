"""A Slurm cluster of two nodes on this machine, with files of its own."""

import contextlib
import os
import pathlib
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile

from tests.tools import deadline
from tests.tools.workers import free_hosts

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
# Node names are what the workers dial: as addresses they need no resolver.
# Job numbers decide about ports: a random first one keeps clusters apart.
_CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
FirstJobId={first_job}
GresTypes=gpu
NodeName=127.0.0.2 Port={ports[1]} {node}
NodeName=127.0.0.3 Port={ports[2]} {node}
PartitionName=main Nodes=ALL Default=YES MaxTime=1-0 OverSubscribe=FORCE:4
"""
_NODE = "NodeHostname={host} NodeAddr=127.0.0.1 CPUs=16 Gres=gpu:fake:4"


def missing():
    """Returns why there can be no cluster on this machine, or None."""
    programs = [
        name for name in _PROGRAMS if not shutil.which(name, path=_PATH)
    ]
    return f"this machine has no {', '.join(programs)}" if programs else None


class Cluster:
    """A running cluster.

    Attributes:
        folder: where its configuration and its logs are.
        variables: what its commands find it by.
    """

    def __init__(self, folder):
        self.folder = folder
        self.variables = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": _PATH,
        }

    def start(self, *command):
        """Starts a daemon; returns its process."""
        with (self.folder / "daemons.log").open("a") as log:
            return subprocess.Popen(
                command,
                env=os.environ | self.variables,
                stdout=log,
                stderr=log,
            )

    def run(self, *command):
        """Returns what a command of Slurm prints."""
        return subprocess.run(
            command,
            env=os.environ | self.variables,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=deadline.SECONDS,
        ).stdout

    def job(self, number):
        """Returns what Slurm says of a job, a dict."""
        said = self.run("scontrol", "show", "job", number)
        return dict(w.split("=", 1) for w in said.split() if "=" in w)


@contextlib.contextmanager
def cluster():
    """Yields a `Cluster`, and ends it with all its jobs."""
    # Short, since the name of a socket has a limit.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="slurm-"))
    this, daemons = Cluster(folder), []
    try:
        _configure(folder)
        daemons.append(
            this.start(
                *("munged", "--foreground", "--force"),
                f"--key-file={folder}/munge.key",
                f"--socket={folder}/munge.socket",
                f"--pid-file={folder}/munged.pid",
                f"--log-file={folder}/munged.log",
                f"--seed-file={folder}/munged.seed",
            )
        )
        _wait(this, (folder / "munge.socket").exists)
        daemons.append(this.start("slurmctld", "-D"))
        for node in ("127.0.0.2", "127.0.0.3"):
            daemons.append(this.start("slurmd", "-D", "-N", node))
        _wait(this, lambda: _idle_nodes(this) == "2\n")
        yield this
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in reversed(daemons):
            daemon.wait(deadline.SECONDS)
        _kill_the_rest(folder)
        shutil.rmtree(folder)


def _configure(folder):
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    host = socket.gethostname().split(".")[0]
    text = _CONFIG.format(
        folder=folder,
        host=host,
        user=pwd.getpwuid(os.geteuid()).pw_name,
        ports=[address.split(":")[1] for address in free_hosts(3)],
        first_job=random.randrange(1000, 50_000_000),
        node=_NODE.format(host=host),
    )
    (folder / "slurm.conf").write_text(text)
    for number in range(4):
        (folder / f"gpu{number}").touch()
    (folder / "gres.conf").write_text(
        f"Name=gpu Type=fake File={folder}/gpu[0-3]\n"
    )


def _idle_nodes(this):
    try:
        return this.run("sinfo", "--noheader", "--states=idle", "--format=%D")
    except subprocess.CalledProcessError:
        return ""  # The controller is not there yet.


def _wait(this, is_there):
    logs = this.folder.glob("*.log")
    deadline.wait_until(
        is_there, lambda: "\n".join(log.read_text() for log in sorted(logs))
    )


def _kill_the_rest(folder):
    """Kills what jobs still run: it outlives the daemon of its node."""
    mark = f"SLURM_CONF={folder}/".encode()
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It ended meanwhile.
            if mark in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
