"""What `vae-submit kubernetes` renders, held to the schemas of Kubernetes.

`kubernetes-validate` knows the built-in kinds, but neither their enumerations
nor JobSet, TrainJob and TFJob: what is used of those is here, closed, from
the types that the projects make their CRDs of. Of Trainer, 2.2 and 2.3 have
these fields alike.
https://github.com/kubernetes-sigs/jobset/blob/main/api/jobset/v1alpha2/jobset_types.go
https://github.com/kubeflow/trainer/blob/v2.2.0/pkg/apis/trainer/v1alpha1/
https://github.com/kubeflow/trainer/blob/v2.2.0/pkg/webhooks/trainingruntime_webhook.go
https://github.com/kubeflow/training-operator/blob/release-1.9/pkg/apis/kubeflow.org/v1/
"""

import jsonschema
import kubernetes_validate
import yaml

from tests.tools.submit_command import vae_submit

SUBMIT = (
    "kubernetes",
    "--image=us-central1-docker.pkg.dev/my-project/vae/vae-trainer:1",
    "--job_dir=gs://my-bucket/runs/vae",
)
GPUS = ("--gpus=8", "--accelerator=nvidia-l4", "--", "--batch_size=4096")
# The first in which all fields that are used are on without being asked for
# (the last to come was successPolicy), and the newest that has a schema.
VERSIONS = ("1.31", kubernetes_validate.latest_version())

# By the name of a field, and that of the field around it where names clash.
_ENUMS = {
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "completionMode": {"NonIndexed", "Indexed"},
    "podReplacementPolicy": {"TerminatingOrFailed", "Failed"},
    "action": {"FailJob", "FailIndex", "Ignore", "Count"},
    "onExitCodes.operator": {"In", "NotIn"},
    "onPodConditions.type": {"DisruptionTarget"},
    "onPodConditions.status": {"True", "False", "Unknown"},
    "tolerations.operator": {"Exists", "Equal"},
    "effect": {"NoSchedule", "PreferNoSchedule", "NoExecute"},
    "whenUnsatisfiable": {"DoNotSchedule", "ScheduleAnyway"},
    "medium": {"", "Memory"},
    "seccompProfile.type": {"Unconfined", "RuntimeDefault", "Localhost"},
}


def _closed(*required, **properties):
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": properties,
    }


def _one_of(*values):
    return {"enum": list(values)}


def _list(items):
    return {"type": "array", "items": items}


_TEXT, _SWITCH, _COUNT = (
    {"type": "string"},
    {"type": "boolean"},
    {"type": "integer", "minimum": 0},
)
# What is in them is held to the schema of the built-in kind.
_ELSEWHERE = {"type": "object"}
_METADATA = _closed(
    "name",
    name=_TEXT,
    namespace=_TEXT,
    labels={"type": "object", "additionalProperties": _TEXT},
)
_JOBSET_SPEC = _closed(
    "replicatedJobs",
    suspend=_SWITCH,
    network=_closed(
        enableDNSHostnames=_SWITCH,
        subdomain=_TEXT,
        publishNotReadyAddresses=_SWITCH,
    ),
    failurePolicy=_closed(
        maxRestarts=_COUNT,
        restartStrategy=_one_of(
            "Recreate", "BlockingRecreate", "InPlaceRestart"
        ),
        rules=_list(
            _closed(
                "name",
                "action",
                name={
                    "type": "string",
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                action=_one_of(
                    "FailJobSet",
                    "RestartJobSet",
                    "RestartJobSetAndIgnoreMaxRestarts",
                ),
                onJobFailureReasons=_list(
                    _one_of(
                        "BackoffLimitExceeded",
                        "DeadlineExceeded",
                        "FailedIndexes",
                        "MaxFailedIndexesExceeded",
                        "PodFailurePolicy",
                    )
                ),
                targetReplicatedJobs=_list(_TEXT),
            )
        ),
    ),
    replicatedJobs=_list(
        _closed(
            "name",
            "template",
            name=_TEXT,
            replicas=_COUNT,
            template=_closed("spec", metadata=_ELSEWHERE, spec=_ELSEWHERE),
        )
    ),
)
_JOBSET = _closed(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion=_one_of("jobset.x-k8s.io/v1alpha2"),
    kind=_one_of("JobSet"),
    metadata=_METADATA,
    spec=_JOBSET_SPEC,
)
_TRAINER_API = "trainer.kubeflow.org"
_RUNTIME = _closed(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion=_one_of(f"{_TRAINER_API}/v1alpha1"),
    kind=_one_of("TrainingRuntime"),
    metadata=_METADATA,
    spec=_closed(
        "template",
        mlPolicy=_closed(numNodes=_COUNT),
        template=_closed("spec", spec=_JOBSET_SPEC),
    ),
)
_TRAINJOB = _closed(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion=_one_of(f"{_TRAINER_API}/v1alpha1"),
    kind=_one_of("TrainJob"),
    metadata=_METADATA,
    spec=_closed(
        "runtimeRef",
        runtimeRef=_closed(
            "name",
            apiGroup=_one_of(_TRAINER_API),
            kind=_one_of("TrainingRuntime", "ClusterTrainingRuntime"),
            name=_TEXT,
        ),
        trainer=_closed(
            image=_TEXT,
            command=_list(_TEXT),
            args=_list(_TEXT),
            numNodes=_COUNT,
        ),
        suspend=_SWITCH,
        activeDeadlineSeconds=_COUNT,
    ),
)
_TFJOB = _closed(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion=_one_of("kubeflow.org/v1"),
    kind=_one_of("TFJob"),
    metadata=_METADATA,
    spec=_closed(
        "tfReplicaSpecs",
        successPolicy=_one_of("", "AllWorkers"),
        runPolicy=_closed(
            cleanPodPolicy=_one_of("", "All", "Running", "None"),
            ttlSecondsAfterFinished=_COUNT,
            activeDeadlineSeconds=_COUNT,
            backoffLimit=_COUNT,
            suspend=_SWITCH,
        ),
        tfReplicaSpecs=_closed(
            Worker=_closed(
                "template",
                replicas=_COUNT,
                restartPolicy=_one_of(
                    "Always", "OnFailure", "Never", "ExitCode"
                ),
                template=_closed("spec", metadata=_ELSEWHERE, spec=_ELSEWHERE),
            )
        ),
    ),
)


def dry_run(*words):
    """Returns the objects that a command line renders, the job last."""
    outcome = vae_submit(*SUBMIT, "--dry_run", *words)
    assert outcome.exit_code == 0
    # Nothing else is to be said.
    known = ("The Secret of the workers", "Kubeflow has left TFJob behind")
    assert [
        line
        for line in outcome.err.splitlines()
        if not any(text in line for text in known)
    ] == []
    return list(yaml.safe_load_all(outcome.out))


def pod_template(item):
    """Returns the template of the pods of an object; None if it has none."""
    spec = item["spec"]
    if item["kind"] == "TrainingRuntime":
        spec = spec["template"]["spec"]
    if item["kind"] in ("JobSet", "TrainingRuntime"):
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    if item["kind"] == "TFJob":
        spec = spec["tfReplicaSpecs"]["Worker"]
    return spec.get("template")


def check(item, version):
    """Refuses what no Kubernetes of a version would take.

    Raises:
        jsonschema.ValidationError: a field is misspelt, or of a wrong type or
            value.
    """
    if item["kind"] == "JobSet":
        jsonschema.validate(item, _JOBSET)
        _check_jobs(item["spec"], version)
    elif item["kind"] == "TrainingRuntime":
        jsonschema.validate(item, _RUNTIME)
        _check_jobs(item["spec"]["template"]["spec"], version)
        _check_trainer_step(item["spec"]["template"]["spec"])
    elif item["kind"] == "TrainJob":
        jsonschema.validate(item, _TRAINJOB)
    elif item["kind"] == "TFJob":
        jsonschema.validate(item, _TFJOB)
        _check_built_in("v1", "Pod", pod_template(item), version)
    else:
        _check_built_in(item["apiVersion"], item["kind"], item, version)


def _check_jobs(jobset, version):
    for replicated in jobset["replicatedJobs"]:
        _check_built_in("batch/v1", "Job", replicated["template"], version)


def _check_trainer_step(jobset):
    """Refuses what the webhook of Trainer refuses, or would leave alone."""
    (workers,) = jobset["replicatedJobs"]
    template = workers["template"]
    (container,) = template["spec"]["template"]["spec"]["containers"]
    step = template.get("metadata", {}).get("labels", {})
    if (
        step.get(f"{_TRAINER_API}/trainjob-ancestor-step") != "trainer"
        or workers.get("replicas") != 1
        or (workers["name"], container["name"]) != ("node", "node")
    ):
        raise jsonschema.ValidationError("Trainer finds no job to train with")


def _check_built_in(api_version, kind, content, version):
    head = {"apiVersion": api_version, "kind": kind}
    kubernetes_validate.validate({**content, **head}, version, strict=True)
    _check_enums(content)


def _check_enums(value, parent=""):
    for name, content in value.items():
        for item in content if isinstance(content, list) else [content]:
            if isinstance(item, dict):
                _check_enums(item, name)
                continue
            known = _ENUMS.get(f"{parent}.{name}") or _ENUMS.get(name)
            if known and item not in known:
                raise jsonschema.ValidationError(
                    f"{parent}.{name} is {item}, not one of {sorted(known)}"
                )
