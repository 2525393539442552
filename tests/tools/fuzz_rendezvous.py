"""Sends strangers to the port of a chief that waits, and then its worker.

    python -m tests.tools.fuzz_rendezvous --packets=2000 --slow=50
    python -m tests.tools.fuzz_rendezvous --secret

The packets are random bytes and hellos of a worker with something wrong in
them; the slow ones come a byte at a time, and stay. With a secret there are
hellos with nothing wrong in them as well, and guessed proofs. The job must then
train as if nobody had come, or the exit code is 1.
"""

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import random
import secrets
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from tests.tools import deadline
from tests.tools.project import ROOT
from tests.tools.workers import free_hosts, tf_config
from trainer import __version__
from trainer.runtime.training_flags import parse_flags

FLAGS = (
    "--dataset=synthetic",
    "--train_examples=640",
    "--test_examples=100",
    "--batch_size=32",
    "--latent_dim=8",
    "--epochs=1",
)
PREFIX = struct.Struct(">8sIQ")
TIMEOUT_SECONDS = deadline.SECONDS
# Connections that do not send any more, and that nobody closes.
HELD = 200
MOST_LINES = 200
# What a worker never says of itself, in the place of anything that it says.
ODD = (
    None, True, -1, 0, 1.5, 7, 10**400, float("nan"), float("inf"), "", "a",
    "1", "\ud800", "\x1b[2J\n\u202e", "x" * 50_000, [], {}, [[1]], {"a": {}},
)  # fmt: skip


def message(text, header_length=None, payload_length=0):
    """Returns the bytes of a message as `messages.py` has them."""
    length = len(text) if header_length is None else header_length
    return PREFIX.pack(b"vae-peer", length, payload_length) + text


def hello(index, identity, kind="hello"):
    """Returns the hello of a worker."""
    content = {"kind": kind, "index": index, "identity": identity}
    return message(json.dumps(content).encode())


def packets(rng, identity, has_secret=False):
    """Yields packets without end, of which none gets in.

    Args:
        rng: a `random.Random`.
        identity: dict, what the chief wants a worker to say of itself.
        has_secret: whether it wants a proof as well.
    """
    content = {"kind": "hello", "index": 1, "identity": identity}
    if has_secret:
        content["nonce"] = rng.randbytes(32).hex()
    right = message(json.dumps(content).encode())

    def is_right(packet):
        text = packet[PREFIX.size :]
        with contextlib.suppress(ValueError, RecursionError):
            # Another text may mean the same to Python: 1e0 or true for 1.0.
            return packet == message(text) and json.loads(text) == content
        return False

    def noise():
        return rng.randbytes(rng.randrange(300))

    def wrong_lengths():
        return message(noise(), rng.getrandbits(32), rng.getrandbits(64))

    def wrong_json():
        return message(noise())

    def deep():
        return message(rng.choice((b"[", b'{"a":')) * rng.randrange(9000))

    def cut():
        return right[: rng.randrange(len(right))]

    def flipped():
        changed = bytearray(right)
        for _ in range(rng.randrange(1, 5)):
            changed[rng.randrange(len(right))] ^= rng.randrange(1, 256)
        return bytes(changed)

    def odd_field():
        changed = {**content, rng.choice(list(content)): rng.choice(ODD)}
        return message(json.dumps(changed).encode())

    def odd_flag():
        name = rng.choice([*identity, "\x1b[31m", "y" * 1000])
        return hello(1, {**identity, name: rng.choice(ODD)})

    def guessed():
        guess = rng.choice((rng.randbytes(32).hex(), *ODD))
        text = json.dumps({"kind": "proof", "proof": guess}).encode()
        return right + message(text)

    kinds = (
        noise, wrong_lengths, wrong_json, deep, cut, flipped, odd_field,
        odd_flag,
    )  # fmt: skip
    if has_secret:
        kinds = (*kinds, guessed, guessed, guessed)
    while True:
        packet = rng.choice(kinds)()
        if has_secret or not is_right(packet):
            yield packet


def connect(host_and_port):
    """Returns a connection to a chief."""
    host, _, port = host_and_port.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS)


def trickle(host_and_port, packet, seconds, until):
    """Sends a packet a byte at a time, again and again, until an event."""
    while not until.is_set():
        with contextlib.suppress(OSError), connect(host_and_port) as link:
            for byte in packet or b"\0":
                link.sendall(bytes([byte]))
                if until.wait(seconds):
                    return
            # All is said: the chief is to end it.
            link.recv(1)
            until.wait(seconds)


def disturb(host_and_port, identity, count, slow, seed, until, has_secret):
    """Sends packets; the slow ones go on until an event."""
    rng = random.Random(seed)
    slow_ones = set(rng.sample(range(count), slow))
    held = []
    for number, packet in enumerate(
        itertools.islice(packets(rng, identity, has_secret), count)
    ):
        if number in slow_ones:
            threading.Thread(
                target=trickle,
                args=(host_and_port, packet, rng.uniform(0.1, 2), until),
                daemon=True,
            ).start()
            continue
        link = connect(host_and_port)
        # It may have heard enough before all was sent.
        with contextlib.suppress(OSError):
            link.sendall(packet)
        if rng.random() < 0.5:
            link.close()
        else:
            held.append(link)
        if len(held) > HELD:
            held.pop(0).close()
    return held


class Job:
    """A chief and a worker, of which each starts when it is told to."""

    def __init__(self, folder, has_secret):
        self.hosts = free_hosts(2)
        self.processes = {}
        self._folder = folder
        self._flags = FLAGS
        if has_secret:
            token = folder / "token"
            token.write_text(secrets.token_hex(32))
            self._flags += (f"--cluster_token_file={token}",)

    def start(self, index):
        """Starts the chief, or the other one."""
        with self._log(index).open("w") as log:
            self.processes[index] = subprocess.Popen(
                [
                    *(sys.executable, "-m", "trainer.task", *self._flags),
                    f"--job_dir={self._folder / 'job'}",
                    f"--cluster_timeout_seconds={TIMEOUT_SECONDS}",
                ],
                cwd=ROOT,
                env=os.environ | {"TF_CONFIG": tf_config(self.hosts, index)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def said(self, index):
        """Returns what one of them has printed."""
        return self._log(index).read_text()

    def wait_for(self, text):
        """Waits until the chief has printed something."""
        while text not in self.said(0):
            if self.processes[0].poll() is not None:
                raise RuntimeError("the chief ended early")
            time.sleep(0.05)

    def codes(self):
        """Waits for the end of all; returns their exit codes."""
        return [
            process.wait(TIMEOUT_SECONDS) for process in self.processes.values()
        ]

    def kill(self):
        """Ends whoever still runs."""
        for process in self.processes.values():
            process.kill()
            process.wait()

    def _log(self, index):
        return self._folder / f"worker-{index}.log"


def fuzz(count, slow, seed, folder, has_secret=False):
    """Runs a job whose chief is sent packets before its worker comes.

    Args:
        count: how many packets.
        slow: how many of them come slowly.
        seed: int, of what is in them.
        folder: an empty `pathlib.Path`.
        has_secret: whether the workers have one.

    Returns:
        Whether all went well, and a report.
    """
    identity = {
        **parse_flags([*FLAGS, "--job_dir=none"]).shared(),
        "version": __version__,
    }
    job, until = Job(folder, has_secret), threading.Event()
    try:
        job.start(0)
        job.wait_for("Waiting for")
        begun = time.monotonic()
        held = disturb(
            job.hosts[0], identity, count, slow, seed, until, has_secret
        )
        seconds = time.monotonic() - begun
        alone = job.processes[0].poll()
        # The slow ones and those that are held are there all the while.
        job.start(1)
        job.wait_for("joined from")
        joined = time.monotonic() - begun - seconds
        codes = job.codes()
        for link in held:
            link.close()
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        return False, f"{job.said(0)[-5000:]}\nNOT WELL: {error}"
    finally:
        until.set()
        job.kill()
    lines = job.said(0).splitlines()
    named = sum("a connection from" in line for line in lines)
    well = alone is None and codes == [0, 0] and len(lines) <= MOST_LINES
    report = (
        f"{count} packets in {seconds:.1f} s, {slow} of them slow; the worker "
        f"joined {joined:.1f} s after its start; exit codes {codes}; "
        f"{len(lines)} lines of the chief, of which {named} name a misfit: "
        f"{'as if nobody had come' if well else 'NOT WELL'}"
    )
    if not well:
        report = f"{job.said(0)[-5000:]}\n{job.said(1)[-5000:]}\n{report}"
    return well, report


def main():
    """Runs it from the command line; the exit code says whether it held."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--packets", type=int, default=2000)
    parser.add_argument("--slow", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--secret", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        well, report = fuzz(
            arguments.packets,
            arguments.slow,
            arguments.seed,
            pathlib.Path(folder),
            arguments.secret,
        )
    print(report)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
