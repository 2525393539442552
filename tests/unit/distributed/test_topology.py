import json

import pytest

from trainer.distributed.topology import Topology, expand_nodes, find
from trainer.errors import ConfigError


def tf_config(cluster, job=None, index=0):
    task = {"type": job, "index": index} if job else {}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def test_the_chief_of_tf_config_comes_first():
    cluster = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    hosts = ("a:1", "b:1", "c:1")
    assert find(tf_config(cluster, "chief")) == Topology(hosts, 0)
    assert find(tf_config(cluster, "worker", 1)) == Topology(hosts, 2)


def test_without_a_chief_the_first_worker_is_it():
    workers = {"worker": ["a:1", "b:1"]}
    assert find(tf_config(workers, "worker", 0)).is_chief
    assert not find(tf_config(workers, "worker", 1)).is_chief


def test_a_master_is_a_chief():
    cluster = {"master": ["a:1"], "worker": ["b:1"]}
    assert find(tf_config(cluster, "master")).is_chief


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"TF_CONFIG": ""},
        {"TF_CONFIG": "{}"},
        tf_config({"worker": ["a:1"]}, "worker"),
        # What Vertex AI sets for one machine.
        tf_config({"chief": ["cmle-training:2222"]}, "chief"),
        {"JOB_COMPLETION_INDEX": "0"},
        # The shell of an sbatch script is no task.
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"},
    ],
)
def test_one_task_alone_is_a_single_machine(environ):
    assert find(environ) is None


@pytest.mark.parametrize("strategy", ["mirrored", "none"])
def test_a_strategy_of_one_machine_ignores_the_others(strategy):
    environ = tf_config({"worker": ["a:1", "b:1"]}, "worker")
    assert find(environ, strategy) is None


def slurm(**variables):
    return {
        "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_STEP_NODELIST": "gpu[08-09]",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
        "SLURM_PROCID": "2",
        "SLURM_JOB_ID": "100",
        **variables,
    }


def test_a_slurm_step_has_a_port_for_each_task():
    topology = find(slurm())
    assert topology.hosts == ("gpu08:21400", "gpu08:21401", "gpu09:21402")
    assert topology.index == 2


def test_what_slurm_22_sets_for_a_task_on_each_of_two_nodes():
    # As a step printed it, on nodes whose names are addresses.
    topology = find(
        slurm(
            SLURM_STEP_NUM_TASKS="2",
            SLURM_STEP_NODELIST="127.0.0.[2-3]",
            SLURM_STEP_TASKS_PER_NODE="1(x2)",
            SLURM_PROCID="1",
        )
    )
    assert topology == Topology(("127.0.0.2:21400", "127.0.0.3:21401"), 1)


def test_two_slurm_jobs_of_a_node_use_other_ports():
    ports = [
        {host.rpartition(":")[2] for host in find(environ).hosts}
        for environ in (slurm(), slurm(SLURM_JOB_ID="101"))
    ]
    assert ports[0].isdisjoint(ports[1])


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("login", ["login"]),
        ("a,b", ["a", "b"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[008-010,7],x", ["n008", "n009", "n010", "n7", "x"]),
        ("r[1-2]n[1,3]", ["r1n1", "r1n3", "r2n1", "r2n3"]),
    ],
)
def test_slurm_node_lists(text, nodes):
    assert expand_nodes(text) == nodes


def test_a_pod_of_an_indexed_job_knows_its_place():
    environ = {"WORKER_HOSTS": "v-0.v:2222,v-1.v:2222"}
    topology = find(environ | {"JOB_COMPLETION_INDEX": "1"})
    assert topology == Topology(("v-0.v:2222", "v-1.v:2222"), 1)
    assert topology.describe(0) == "chief (v-0.v:2222)"
    assert topology.describe(1) == "worker 1 (v-1.v:2222)"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"TF_CONFIG": "{"}, "is not the JSON of a cluster"),
        ({"TF_CONFIG": "[1]"}, "is not the JSON of a cluster"),
        (
            tf_config({"worker": ["a:1"], "ps": ["b:1"]}, "worker"),
            "a task of type ps; this job has a chief and workers only",
        ),
        (
            tf_config({"worker": ["a:1", "b:1"]}, "evaluator"),
            "a task of type evaluator",
        ),
        (
            tf_config({"worker": ["a:1", "b:1"]}, "worker", 2),
            "this is worker 2, but its cluster has no such task; it has 2",
        ),
        (
            tf_config({"chief": ["a:1", "b:1"], "worker": ["c:1"]}, "worker"),
            "names 2 chiefs",
        ),
        (
            tf_config({"worker": ["a:1", "a:1"]}, "worker"),
            "names a worker twice",
        ),
        (
            tf_config({"worker": ["a", "b:1"]}, "worker"),
            "'a', which is not host:port",
        ),
        ({"WORKER_HOSTS": "a:1,b:1"}, "JOB_COMPLETION_INDEX is ''"),
        (
            {"WORKER_HOSTS": "a:1,b:1", "JOB_COMPLETION_INDEX": "2"},
            "names 2 workers, but this is number 2",
        ),
        (slurm(SLURM_STEP_TASKS_PER_NODE="two"), "is incomplete"),
        (slurm(SLURM_STEP_TASKS_PER_NODE="1"), "is incomplete"),
    ],
)
def test_an_environment_that_contradicts_itself_is_refused(environ, message):
    with pytest.raises(ConfigError) as error:
        find(environ)
    assert message in str(error.value)


def test_several_machines_that_nobody_names_are_refused():
    with pytest.raises(ConfigError, match="no TF_CONFIG, Slurm step or"):
        find({}, "multi_worker")
