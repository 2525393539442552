"""Several workers of a job on this machine: their addresses and variables."""

import json
import random
import socket

# Below the ports that the kernel gives to clients, which could take one in
# the moment between two sessions of a job.
_PORTS = range(20000, 30000)


def free_hosts(count):
    """Returns as many `host:port` of this machine that nobody listens on."""
    hosts = []
    while len(hosts) < count:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                hosts.append(f"127.0.0.1:{port}")
        hosts = list(dict.fromkeys(hosts))
    return hosts


def tf_config(hosts, index):
    """Returns the TF_CONFIG of one of the workers at some hosts."""
    cluster = {"chief": hosts[:1], "worker": hosts[1:]}
    task = {"type": "worker", "index": index - 1}
    if index == 0:
        task = {"type": "chief", "index": 0}
    return json.dumps({"cluster": cluster, "task": task})
