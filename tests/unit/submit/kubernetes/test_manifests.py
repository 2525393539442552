import copy
import functools
import pathlib
import re
import shlex
import shutil
import subprocess

import jsonschema
import kubernetes_validate
import pytest
import tensorflow as tf
import yaml

from tests.tools.kubernetes_manifests import (
    GPUS,
    SUBMIT,
    VERSIONS,
    check,
    dry_run,
    pod_template,
)
from tests.tools.submit_command import vae_submit
from trainer.distributed.topology import find
from trainer.runtime import platform
from trainer.submit import machines

ROOT = pathlib.Path(__file__).parents[4]
OVERLAYS = sorted((ROOT / "deploy" / "kubernetes" / "overlays").iterdir())
ADDED = (
    *("--queue=gpus", "--labels=team=vision", "--labels=example.com/cost=a.1"),
    *("--pvc=images:/data", "--pvc=runs:/runs", "--job_dir=/runs/vae"),
    *("--workers=2", "--", "--data_dir=/data/cats"),
)
FORMS = {
    "one machine": (),
    "one machine with GPUs": GPUS,
    "four machines": ("--workers=4", "--spot", "--timeout_hours=24", *GPUS),
    "jobset": ("--kind=jobset", "--workers=4", "--timeout_hours=24", *GPUS),
    "jobset, one machine": ("--kind=jobset",),
    **{
        f"{kind} with all that can be added": (f"--kind={kind}", *ADDED)
        for kind in ("job", "jobset", "trainjob", "tfjob")
    },
    "trainjob": ("--kind=trainjob", "--workers=4", "--timeout_hours=24", *GPUS),
    "trainjob, one machine": ("--kind=trainjob",),
    "tfjob": ("--kind=tfjob", "--workers=4", "--timeout_hours=24", *GPUS),
}


@functools.cache
def rendered(form):
    return dry_run("--namespace=team", "--service_account=me", *FORMS[form])


def pod(*words):
    return pod_template(dry_run(*words)[-1])["spec"]


def by_name(value):
    """Sorts lists of named things, which kustomize merges in its own order."""
    if isinstance(value, dict):
        return {name: by_name(content) for name, content in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        items = list(map(by_name, value))
        # The order of rules, which have no names, means something.
        if "name" in items[0]:
            items.sort(key=lambda item: item["name"])
        return items
    return value


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is missing")
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_to_apply_by_hand_is_what_its_command_renders(overlay):
    text = (overlay / "kustomization.yaml").read_text()
    assert f"kubectl apply --kustomize={overlay.relative_to(ROOT)}\n" in text
    command = re.search(r"# +vae-submit (.*?)\n[^#]", text, re.DOTALL)[1]
    # Whoever forgets to put in the name of a bucket is told so.
    command = command.replace("BUCKET", "my-bucket")
    words = shlex.split(command.replace("\\\n#", " "))
    words.insert(words.index("--"), "--dry_run")
    built = subprocess.run(
        ["kubectl", "kustomize", overlay],
        capture_output=True,
        text=True,
        check=True,
    )
    written, printed = (
        {
            (item["kind"], item["metadata"]["name"]): by_name(item)
            for item in yaml.safe_load_all(out)
        }
        for out in (
            built.stdout.replace("BUCKET", "my-bucket"),
            vae_submit(*words).out,
        )
    )
    assert written == printed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("form", FORMS)
def test_kubernetes_knows_all_that_is_rendered(form, version):
    for item in rendered(form):
        check(item, version)


def test_kubernetes_1_29_is_too_old_for_several_machines():
    with pytest.raises(jsonschema.ValidationError, match="successPolicy"):
        check(rendered("four machines")[-1], "1.29")


POD = ("spec", "template", "spec")
RULES = ("spec", "podFailurePolicy", "rules")
JOBSET_JOB = ("spec", "replicatedJobs", 0, "template", "spec")
JOBSET_RULE = ("spec", "failurePolicy", "rules", 0)
RUNTIME_JOB = ("spec", "template", "spec", "replicatedJobs", 0)
TF_WORKER = ("spec", "tfReplicaSpecs", "Worker")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("form", "path", "name", "planted"),
    [
        # A field that is misspelt.
        ("four machines", (), "spce", {}),
        ("four machines", ("spec",), "backofLimit", 5),
        ("four machines", (*RULES, 1, "onExitCodes"), "value", [75]),
        ("four machines", POD, "nodeSelectors", {}),
        ("four machines", (*POD, "containers", 0), "argss", []),
        ("four machines", (*POD, "volumes", 2, "emptyDir"), "sizelimit", "1Gi"),
        ("jobset", ("spec",), "failurPolicy", {}),
        ("jobset", ("spec", "network"), "enableDnsHostnames", True),
        ("jobset", JOBSET_RULE, "onJobFailureReason", []),
        ("jobset", JOBSET_JOB, "backofLimit", 0),
        ("jobset", (*JOBSET_JOB, *POD[1:]), "nodeSelectors", {}),
        ("tfjob", ("spec",), "replicaSpecs", {}),
        ("tfjob", ("spec", "runPolicy"), "cleanPods", "All"),
        ("tfjob", TF_WORKER, "replica", 4),
        ("tfjob", (*TF_WORKER, *POD[1:], "containers", 0), "arg", []),
        ("trainjob", ("spec",), "runtime", {}),
        ("trainjob", ("spec", "trainer"), "arg", []),
        ("trainjob", ("spec", "trainer"), "numNodes", "4"),
        ("trainjob", ("spec", "runtimeRef"), "kind", "Runtime"),
        # A wrong type.
        ("four machines", ("spec",), "completions", "four"),
        ("four machines", (*RULES, 1, "onExitCodes"), "values", ["75"]),
        ("four machines", (*POD, "securityContext"), "runAsUser", "root"),
        ("four machines", (*POD, "nodeSelector"), "spot", True),
        ("jobset", ("spec", "failurePolicy"), "maxRestarts", "5"),
        ("jobset", (*JOBSET_JOB, *POD[1:]), "subdomain", 1),
        ("tfjob", TF_WORKER, "replicas", "4"),
        ("tfjob", (*TF_WORKER, *POD[1:], "containers", 0), "args", "--a"),
        # A value that is none of those there are.
        ("four machines", POD, "restartPolicy", "Nver"),
        ("four machines", ("spec",), "completionMode", "indexed"),
        ("four machines", (*RULES, 1), "action", "Ignor"),
        ("four machines", (*RULES, 1, "onExitCodes"), "operator", "Exists"),
        ("four machines", (*RULES, 0, "onPodConditions", 0), "status", "true"),
        ("four machines", (*POD, "volumes", 2, "emptyDir"), "medium", "Ram"),
        ("four machines", (*POD, "tolerations", 0), "effect", "noSchedule"),
        ("jobset", (), "apiVersion", "jobset.x-k8s.io/v1"),
        ("jobset", JOBSET_RULE, "action", "FailJob"),
        ("jobset", JOBSET_RULE, "onJobFailureReasons", ["Deadline"]),
        ("jobset", (*JOBSET_JOB, *POD[1:]), "restartPolicy", "ExitCode"),
        ("tfjob", TF_WORKER, "restartPolicy", "Exit"),
        ("tfjob", ("spec", "runPolicy"), "cleanPodPolicy", "running"),
    ],
)  # fmt: skip
def test_the_schemas_find_what_is_planted(form, path, name, planted, version):
    item = copy.deepcopy(rendered(form)[-1])
    place = functools.reduce(lambda value, key: value[key], path, item)
    assert place.get(name) != planted
    place[name] = planted
    with pytest.raises(
        (jsonschema.ValidationError, kubernetes_validate.ValidationError)
    ):
        check(item, version)


@pytest.mark.parametrize(
    ("path", "name", "planted"),
    [
        (("spec",), "policy", {}),
        (("spec", "template", "spec", "network"), "publish", True),
        ((*RUNTIME_JOB, "template", "spec"), "backofLimit", 0),
        (RUNTIME_JOB, "replicas", 2),
        (RUNTIME_JOB, "name", "workers"),
        ((*RUNTIME_JOB, "template", "metadata"), "labels", {}),
        (
            (*RUNTIME_JOB, "template", *POD, "containers", 0),
            *("name", "trainer"),
        ),
    ],
)
def test_the_schemas_find_what_is_planted_in_a_runtime(path, name, planted):
    item = copy.deepcopy(rendered("trainjob")[-2])
    check(item, VERSIONS[0])
    place = functools.reduce(lambda value, key: value[key], path, item)
    place[name] = planted
    with pytest.raises(
        (jsonschema.ValidationError, kubernetes_validate.ValidationError)
    ):
        check(item, VERSIONS[0])


def test_a_trainjob_comes_after_the_runtime_that_it_refers_to():
    *_, runtime, job = rendered("trainjob")
    assert (runtime["kind"], job["kind"]) == ("TrainingRuntime", "TrainJob")
    assert job["spec"]["runtimeRef"] == {
        "apiGroup": runtime["apiVersion"].partition("/")[0],
        "kind": "TrainingRuntime",
        "name": runtime["metadata"]["name"],
    }
    assert job["spec"]["trainer"]["numNodes"] == 4
    assert runtime["spec"]["mlPolicy"]["numNodes"] == 4
    (container,) = pod_template(runtime)["spec"]["containers"]
    # Trainer puts the arguments of the job there.
    assert "args" not in container
    jobset = rendered("jobset")[-1]
    (trainer,) = pod_template(jobset)["spec"]["containers"]
    assert job["spec"]["trainer"]["args"] == trainer["args"]
    assert job["spec"]["trainer"]["image"] == container["image"]


def test_tfjob_is_said_to_be_left_behind():
    outcome = vae_submit(*SUBMIT, "--dry_run", "--kind=tfjob")
    assert outcome.err.startswith(
        "WARNING: --kind=tfjob: Kubeflow has left TFJob behind"
    )
    assert outcome.exit_code == 0


def test_one_machine_is_one_job_that_runs_the_command_of_the_image():
    policy, item = dry_run("--notensorboard", "--", "--epochs=3")
    assert (policy["kind"], item["kind"]) == ("NetworkPolicy", "Job")
    assert not {"completions", "completionMode", "successPolicy"} & {
        *item["spec"]
    }
    (container,) = pod("--", "--epochs=3")["containers"]
    assert container["args"] == [
        "--job_dir=gs://my-bucket/runs/vae",
        "--epochs=3",
    ]
    assert not {"command", "env"} & {*container}


@pytest.mark.parametrize("kind", ["job", "jobset", "trainjob", "tfjob"])
def test_a_job_in_a_queue_starts_when_kueue_says_so(kind):
    tensorboard, *_, job = rendered(f"{kind} with all that can be added")
    queue = {"kueue.x-k8s.io/queue-name": "gpus"}
    assert queue.items() <= job["metadata"]["labels"].items()
    # What it lets wait is the job alone.
    assert queue.keys().isdisjoint(tensorboard["metadata"]["labels"])
    spec = job["spec"]
    assert spec.get("runPolicy", spec)["suspend"] is True
    assert "suspend" not in str(rendered("four machines"))


def test_volumes_are_where_the_flags_say_and_in_tensorboard_too():
    objects = rendered("job with all that can be added")
    for item in (objects[0], objects[-1]):
        spec = pod_template(item)["spec"]
        (container,) = spec["containers"]
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in spec["volumes"]
            if "persistentVolumeClaim" in volume
        }
        paths = {
            claims[mount["name"]]: mount["mountPath"]
            for mount in container["volumeMounts"]
            if mount["name"] in claims
        }
        assert paths == {"images": "/data", "runs": "/runs"}
        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(paths) == len(set(paths))
    # One that reads a bucket needs none.
    (tensorboard, *_) = dry_run("--pvc=images:/data")
    assert "images" not in str(tensorboard)


def test_labels_are_on_all_objects_and_their_pods():
    for item in rendered("jobset with all that can be added"):
        parts = [item, pod_template(item)]
        for part in filter(None, parts):
            assert part["metadata"]["labels"]["team"] == "vision"
            assert part["metadata"]["labels"]["example.com/cost"] == "a.1"
        assert "vision" not in str(item["spec"].get("selector"))


def test_a_flag_file_of_this_machine_becomes_flags(tmp_path):
    path = tmp_path / "some.flags"
    path.write_text("--latent_dim=2\n--nodeterministic\n")
    (container,) = pod("--", f"--flagfile={path}")["containers"]
    assert container["args"][1:] == ["--latent_dim=2", "--nodeterministic"]


@pytest.mark.parametrize("form", ["four machines", "jobset", "trainjob"])
def test_the_pods_find_each_other_by_the_names_that_they_have(form):
    # That of a TrainJob is in its runtime.
    job = rendered(form)[-2 if form == "trainjob" else -1]
    template = pod_template(job)
    environ = {
        variable["name"]: variable["value"]
        for variable in template["spec"]["containers"][0]["env"]
    }
    # https://kubernetes.io/docs/concepts/workloads/controllers/job/ and
    # https://jobset.sigs.k8s.io/docs/concepts/
    if form == "jobset":
        pods = "vae-workers-0-{}.vae:2222"
        assert job["spec"]["network"]["subdomain"] == "vae"
    elif form == "trainjob":
        # The JobSet that Trainer makes has the name of the TrainJob.
        pods = "vae-node-0-{}.vae:2222"
        network = job["spec"]["template"]["spec"]["network"]
        assert network["subdomain"] == "vae"
        assert network["publishNotReadyAddresses"] is True
    else:
        pods = "vae-{}.vae:2222"
        (service,) = (
            item
            for item in rendered(form)
            if item["spec"].get("clusterIP") == "None"
        )
        assert service["metadata"]["name"] == template["spec"]["subdomain"]
        assert service["spec"]["publishNotReadyAddresses"] is True
        selector = service["spec"]["selector"].items()
        assert selector <= template["metadata"]["labels"].items()
    for index in range(4):
        found = find({**environ, "JOB_COMPLETION_INDEX": str(index)})
        assert found.index == index
        assert found.hosts == tuple(pods.format(n) for n in range(4))


@pytest.mark.parametrize("form", FORMS)
def test_the_pods_of_a_job_alone_reach_its_pods(form):
    (policy,) = (i for i in rendered(form) if i["kind"] == "NetworkPolicy")
    spec = policy["spec"]
    ours = spec["podSelector"]["matchLabels"].items()
    templates = [t for t in map(pod_template, rendered(form)) if t]
    assert len(templates) == 2
    for template in templates:
        assert ours <= template["metadata"]["labels"].items()
    assert ("app.kubernetes.io/instance", "vae") in ours
    # A rule without a selector of namespaces admits those of its own alone.
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["ingress"] == [{"from": [{"podSelector": spec["podSelector"]}]}]


def decision(rules, code, evicted):
    """What Kubernetes does with a failed pod: the first rule that fits."""
    for rule in rules:
        if "onPodConditions" in rule:
            fits = evicted
        else:
            fits = code in rule["onExitCodes"]["values"]
        if fits:
            return rule["action"]
    return "Count"


@pytest.mark.parametrize("form", ["one machine", "four machines", "jobset"])
@pytest.mark.parametrize(
    ("code", "evicted", "action"),
    [
        (75, False, "Ignore"),
        (75, True, "Ignore"),
        (137, True, "Ignore"),
        (1, True, "Ignore"),
        (1, False, "FailJob"),
        (2, False, "FailJob"),
        (137, False, "Count"),
        (139, False, "Count"),
    ],
)
def test_an_exit_code_decides_what_becomes_of_the_job(
    form, code, evicted, action
):
    job = rendered(form)[-1]
    spec = job["spec"]
    if form == "jobset":
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    rules = spec["podFailurePolicy"]["rules"]
    assert decision(rules, code, evicted) == action
    (name,) = (c["name"] for c in spec["template"]["spec"]["containers"])
    assert {
        rule["onExitCodes"]["containerName"]
        for rule in rules
        if "onExitCodes" in rule
    } == {name}


def test_a_jobset_starts_again_after_a_crash_and_not_after_its_time():
    spec = rendered("jobset")[-1]["spec"]
    assert spec["replicatedJobs"][0]["template"]["spec"]["backoffLimit"] == 0
    (rule,) = spec["failurePolicy"]["rules"]
    assert rule["action"] == "FailJobSet"
    # A crash is BackoffLimitExceeded.
    assert set(rule["onJobFailureReasons"]) == {
        "PodFailurePolicy",
        "DeadlineExceeded",
    }


def test_a_tfjob_starts_again_what_wants_to_be_run_again(monkeypatch):
    (container,) = pod_template(rendered("tfjob")[-1])["spec"]["containers"]
    # The name that the operator looks for.
    assert container["name"] == "tensorflow"
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    codes = [platform.exit_code(code) for code in (0, 1, 2, 75)]
    # It starts a pod again after 128 and more.
    assert codes == [0, 1, 2, 134]


def dockerfile(pattern):
    return re.search(pattern, (ROOT / "Dockerfile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("form", FORMS)
def test_every_pod_is_confined(form):
    user, group = map(int, dockerfile(r"^USER (\d+):(\d+)$").groups())
    templates = [t for t in map(pod_template, rendered(form)) if t]
    assert len(templates) == 2
    for template in templates:
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["serviceAccountName"] == "me"
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": group,
            "fsGroup": group,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_what_the_image_writes_to_can_be_written_to():
    spec = pod()
    (container,) = spec["containers"]
    mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
    for variable in ("HOME", "KERAS_HOME"):
        folder = dockerfile(rf"\b{variable}=(/\w+)")[1]
        assert {"name": mounts[folder], "emptyDir": {}} in spec["volumes"]


def test_gpus_come_with_what_they_need():
    spec = pod(*GPUS)
    (container,) = spec["containers"]
    assert container["resources"] == {
        "requests": {
            "cpu": "24",
            "memory": "52Gi",
            "ephemeral-storage": "10Gi",
        },
        "limits": {
            "memory": "52Gi",
            "ephemeral-storage": "10Gi",
            "nvidia.com/gpu": "8",
        },
    }
    assert spec["nodeSelector"] == {
        "cloud.google.com/gke-accelerator": "nvidia-l4"
    }
    assert spec["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    memory = {"medium": "Memory", "sizeLimit": "8Gi"}
    assert {"name": "shm", "emptyDir": memory} in spec["volumes"]


def test_without_gpus_nothing_is_asked_of_a_node():
    spec = pod("--cpus=1.5", "--memory_gib=2.5")
    assert not {"nodeSelector", "tolerations"} & {*spec}
    (container,) = spec["containers"]
    assert container["resources"]["requests"]["cpu"] == "1.5"
    assert container["resources"]["limits"]["memory"] == "2560Mi"
    assert "/dev/shm" not in str(container)


def test_every_setting_has_its_place():
    objects = dry_run(
        "--name=night",
        "--namespace=team",
        "--spot",
        "--timeout_hours=1.5",
        "--node_selector=topology.kubernetes.io/zone=us-central1-a",
        "--node_selector=pool=night",
    )
    assert {item["metadata"]["namespace"] for item in objects} == {"team"}
    job = objects[-1]
    assert job["metadata"]["name"] == "night"
    assert job["spec"]["activeDeadlineSeconds"] == 5400
    spec = pod_template(job)["spec"]
    assert spec["nodeSelector"] == {
        "cloud.google.com/gke-spot": "true",
        "topology.kubernetes.io/zone": "us-central1-a",
        "pool": "night",
    }
    assert [t["key"] for t in spec["tolerations"]] == [
        "cloud.google.com/gke-spot"
    ]


def test_on_another_cluster_labels_of_its_own_find_the_gpus():
    spec = pod(
        "--gpus=2",
        "--accelerator=any",
        "--node_selector=nvidia.com/gpu.product=NVIDIA-L40S",
    )
    assert spec["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L40S"}


# Labels that Google's examples for Kubernetes Engine use.
@pytest.mark.parametrize(
    ("label", "gpus"),
    [
        ("nvidia-tesla-t4", 4),
        ("nvidia-l4", 1),
        ("nvidia-tesla-a100", 16),
        ("nvidia-a100-80gb", 8),
        ("nvidia-h100-80gb", 8),
        ("nvidia-h100-mega-80gb", 8),
        ("nvidia-h200-141gb", 8),
        ("nvidia-b200", 8),
    ],
)
def test_a_gpu_of_google_is_known_by_its_label(label, gpus):
    spec = pod(f"--accelerator={label}", f"--gpus={gpus}")
    assert spec["nodeSelector"] == {"cloud.google.com/gke-accelerator": label}


# A library that comes with TensorBoard.
@pytest.mark.filterwarnings("ignore:html5lib:DeprecationWarning")
def test_tensorboard_shows_the_logs_with_flags_that_it_has():
    from tensorboard import program
    from tensorboard.plugins.core import core_plugin

    deployment, service = dry_run()[:2]
    labels = pod_template(deployment)["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert service["spec"]["type"] == "ClusterIP"
    (container,) = pod_template(deployment)["spec"]["containers"]
    name, *flags = container["command"]
    assert name == "tensorboard"
    board = program.TensorBoard(plugins=[core_plugin.CorePluginLoader()])
    board.configure([name, *flags])
    assert board.flags.logdir == "gs://my-bucket/runs/vae/logs"
    assert board.flags.reload_interval == 60
    assert board.flags.load_fast == "false"
    (port,) = service["spec"]["ports"]
    assert board.flags.port == port["port"]
    assert port["targetPort"] == container["ports"][0]["name"]
    # What reads the bucket when the fast loader does not.
    assert "gs" in tf.io.gfile.get_registered_schemes()


def test_the_pods_of_tensorboard_are_not_the_trainers():
    deployment, *_, job = rendered("four machines")
    labels = [
        pod_template(item)["metadata"]["labels"] for item in (deployment, job)
    ]
    assert labels[0] != labels[1]


LONG = "a" * 60


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--job_dir=runs/vae"], "does not outlive the pods"),
        (["--job_dir=/data/x", "--pvc=a:/dat"], "does not outlive the pods"),
        (["--pvc=a:/b", "--", "--data_dir=/c"], "which the job cannot see"),
        (["--pvc=a"], "--pvc=a is not of the form NAME:/path"),
        (["--pvc=a:/b/../c"], "is not of the form NAME:/path"),
        (["--pvc=A:/b"], "is not of the form NAME:/path"),
        (["--pvc=a:/"], "is not of the form NAME:/path"),
        (["--pvc=a:/tmp/b"], "would be mounted over /tmp, or below it"),
        (["--pvc=a:/etc"], "would be mounted over /etc/vae-trainer"),
        (["--pvc=a:/b", "--pvc=c:/b"], "would be mounted over /b"),
        (["--pvc=a:/runs", "--pvc=c:/runs"], "would be mounted over /runs"),
        (["--labels=team"], "is not of the form KEY=VALUE"),
        (["--labels=a b=c"], "is not of the form KEY=VALUE"),
        ([f"--labels=a={'b' * 64}"], "is not of the form KEY=VALUE"),
        (["--labels=a=b", "--labels=a=c"], "--labels=a=… is given twice"),
        (
            ["--labels=app.kubernetes.io/instance=b"],
            "is set by the command itself",
        ),
        (["--queue=My_Queue"], "--queue=My_Queue is not a name in Kubernetes"),
        (["--job_dir=gs://bucket", "--name=vae"], "does not outlive the pods"),
        (["--image=vae-trainer:1"], "names no registry"),
        (["--kind=pod"], "--kind=pod: value should be one of <job|jobset|tr"),
        (["--namespace=My_team"], "is not a name in Kubernetes"),
        (["--service_account=a@b.iam"], "is not a name in Kubernetes"),
        (["--node_selector=pool"], "is not of the form KEY=VALUE"),
        (["--cpus=-1"], "--cpus=-1"),
        (["--cpus=1e300"], "--cpus=1e+300 is too large; the most is 100000"),
        (["--cpus=1e-9"], "--cpus=1e-09 is less than Kubernetes counts"),
        (["--memory_gib=1e300"], "is too large; the most is 100000"),
        (["--memory_gib=1e-9"], "is less than Kubernetes counts"),
        (["--workers=1000000000"], "is too large; the most is 65536"),
        (["--cpus=nan"], "--cpus=nan is not a finite number"),
        (["--memory_gib=inf"], "--memory_gib=inf is not a finite number"),
        (
            ["--job_dir=gs://my-bucket/My_run"],
            "give --name=NAME with small letters",
        ),
        (["--name=1st"], "beginning with a letter"),
        ([f"--name={LONG}"], "-tensorboard is too long for a host name; the"),
        (
            [f"--name={LONG}", "--notensorboard", "--workers=128"],
            "with -127 is too long for a host name; the most is 59",
        ),
        (
            [f"--name={LONG}", "--notensorboard", "--kind=jobset"],
            "with -workers-0-0-xxxxx is too long for a host name; the most",
        ),
        (
            ["--gpus=1", "--accelerator=NVIDIA_L4"],
            "Google Kubernetes Engine calls a GPU; use one of nvidia-l4",
        ),
        (["--workers=3"], "cannot be split evenly among 3 replicas"),
        (["--", "--epoch=3"], "After --: Unknown command line flag 'epoch'"),
    ],
)
def test_what_kubernetes_cannot_run_is_refused(words, message):
    outcome = vae_submit(*SUBMIT, "--dry_run", *words)
    assert message in outcome.err
    assert outcome.err.startswith("ERROR: ")
    assert outcome.err.count("\n") == 1
    assert (outcome.exit_code, outcome.out) == (2, "")


def test_a_name_as_long_as_can_be_is_accepted():
    words = (f"--name={'a' * 59}", "--notensorboard", "--workers=128")
    assert dry_run(*words)


def test_every_gpu_of_the_table_is_known():
    for name in machines.ACCELERATORS:
        label = name.lower().replace("_", "-")
        gpus = machines.gpu_counts(name)[0]
        assert dry_run(f"--accelerator={label}", f"--gpus={gpus}")


@pytest.mark.parametrize(
    ("accelerator", "gpus", "meant"),
    [
        ("nvidia-l4", 3, " (the nearest in it: 1 or 2 or 4 or 8 NVIDIA_L4)"),
        ("nvidia-l5", 3, " (the nearest in it: nvidia-l4)"),
        ("nvidia-quantum", 3, ""),
    ],
)
def test_gpus_that_the_table_does_not_have_are_a_warning(
    accelerator, gpus, meant
):
    words = (f"--accelerator={accelerator}", f"--gpus={gpus}")
    outcome = vae_submit(*SUBMIT, "--dry_run", *words, "--", "--batch_size=96")
    assert outcome.err == (
        f"WARNING: --accelerator={accelerator} with --gpus={gpus} is not in "
        f"this version's table of machines{meant}, so it is not checked; the "
        "cluster decides.\n"
    )
    assert outcome.exit_code == 0
    spec = pod_template(list(yaml.safe_load_all(outcome.out))[-1])["spec"]
    (container,) = spec["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == str(gpus)
    assert spec["nodeSelector"] == {
        "cloud.google.com/gke-accelerator": accelerator
    }


def test_an_image_that_may_change_is_a_warning():
    outcome = vae_submit(*SUBMIT, "--dry_run", "--image=docker.io/me/trainer")
    assert outcome.exit_code == 0
    assert outcome.err.startswith("WARNING: --image=docker.io/me/trainer ")


@pytest.mark.parametrize("kind", ["job", "jobset", "tfjob"])
def test_kubernetes_replaces_nothing_in_a_command_line(kind):
    # It would put in variables of the pod: $$ stands for $.
    words = ("--name=vae", "--", "--data_url=http://$(HOME)/$$")
    job_dir = "--job_dir=gs://bucket/$(WORKER_HOSTS)"
    objects = dry_run(f"--kind={kind}", job_dir, *words)
    (trainer,) = pod_template(objects[-1])["spec"]["containers"]
    assert trainer["args"][0] == "--job_dir=gs://bucket/$$(WORKER_HOSTS)"
    assert "--data_url=http://$$(HOME)/$$$$" in trainer["args"]
    (tensorboard,) = pod_template(objects[0])["spec"]["containers"]
    logdir = "--logdir=gs://bucket/$$(WORKER_HOSTS)/logs"
    assert logdir in tensorboard["command"]
