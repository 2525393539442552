"""The layout of a job directory: where each thing lies below its root."""

# What keeps a second process out: `lock.py`.
LOCK = "claim.lock"
# What the job is: `record.py`.
CONFIG = "config.json"
METRICS = "metrics.jsonl"
FINISHED = "finished.json"
EVALUATION = "evaluation.json"
# That a search stopped it, as one of its worse trials: `search/trials.py`.
PRUNED = "pruned.json"
# Where the time went: `tracking/goodput.py`.
GOODPUT = "goodput.json"
# Those that are whole, those that proved to be damaged, and the one that is
# being written: `checkpoint.py` and `checkpoint_writer.py`.
CHECKPOINTS = "checkpoints"
DAMAGED = "damaged"
UNFINISHED = "unfinished"
LOGS = "logs"
TRAIN_LOGS = "logs/train"
# Those of TensorBoard: a job has one of the last two.
RUNS = (TRAIN_LOGS, "logs/test", "logs/validation")
PLOTS = "plots"
EXPORT = "export"
# Where threads stood that hung: `hangs.py`.
HANGS = "hangs"
# Where Vertex AI looks for the model of a job.
MODEL = "model"


def checkpoint_name(step):
    """Returns the name of the folder of a step's checkpoint."""
    return f"step-{step:07d}"
