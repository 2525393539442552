"""Where the jobs of the tests are: on the disk, or in a bucket with others."""

from trainer.job_dir.bucket.claim import STALE_SECONDS
from trainer.places import parse

# What people and tools leave among the objects of a job.
STRANGERS = {
    "": b"",
    "sub/": b"",
    "checkpoints/": b"",
    ".keep": b"keep",
    "notes/.todo": b"todo",
    "notes/a.tail-12345678": b"tail",
    "damaged/note.txt": b"note",
    "unfinished/note.txt": b"note",
    "checkpoints/note.txt": b"note",
    "checkpoints/step-0000007/note.txt": b"note",
    "metrics.jsonl.tail-0badcafe": b"tail",
    "logs/train/mine.tail-1234abcd": b"tail",
    "plots/mine.txt": b"mine",
    "claim-time-0badcafe": b"",
    "claim.lock": b"lock",
}


class LocalPlace:
    """A job directory on the disk.

    Attributes:
        location: the job's `--job_dir`.
        folder: where its files can be looked at.
        environment: variables that the job needs.
    """

    def __init__(self, folder):
        self.name = folder.name
        self.location = str(folder)
        self.folder = folder
        self.environment = {}

    def move(self, rng):
        """Restarts on the same machine: there is no other one."""

    def fetch(self):
        """Returns a folder with what a finished job left."""
        return self.folder

    def touched(self):
        """Returns what the job did to what is not its own."""
        return []


class BucketPlace:
    """A job directory in a bucket, staged on one machine after another.

    Args:
        server: the `gcs.Server` of the bucket.
        folder: an empty `pathlib.Path`; its name is that of the job.
        prefix: str, where the job is in the bucket, if not at its name.
        machines: a `pathlib.Path` for the folders of the machines, which
            several jobs may share.
    """

    def __init__(self, server, folder, prefix="", machines=None):
        self.name = folder.name
        self._prefix = prefix or folder.name
        self.location = f"gs://{server.name}/{self._prefix}"
        self._server = server
        self._fetched = folder / "fetched"
        self._machines = machines or folder
        self._strangers = {}
        self._moves = 0
        self._use_machine()

    def _use_machine(self):
        cache = self._machines / f"machine-{self._moves}"
        self.environment = {
            "STORAGE_EMULATOR_HOST": self._server.address,
            "XDG_CACHE_HOME": str(cache),
        }
        self.folder = (
            cache / "vae-trainer" / "staging" / parse(self.location).cache_name
        )

    def move(self, rng):
        """Half of the restarts are on a machine that has nothing yet."""
        if rng.random() < 0.5:
            self._moves += 1
            self._use_machine()
            # Nobody waits here for the dead job's claim to go stale.
            self._server.clock_offset_seconds += STALE_SECONDS + 1

    def put_strangers(self):
        """Puts objects of others below the prefix of the job."""
        self._strangers = {
            f"{self._prefix}/{name}": self._server.write(
                f"{self._prefix}/{name}", content
            )
            for name, content in STRANGERS.items()
        }

    def touched(self):
        """Returns what the job did to what is not its own."""
        resources = self._server.resources()
        return [
            f"stranger's object {name}"
            for name, resource in self._strangers.items()
            if resources.get(name) != resource
        ]

    def fetch(self):
        """Downloads what carries the job's mark, and nothing but that."""
        prefix = f"{self._prefix}/"
        resources = self._server.resources()
        (job_id,) = resources[f"{prefix}config.json"]["metadata"].values()
        for name, content in self._server.objects().items():
            if name.startswith(prefix) and (
                job_id in resources[name]["metadata"].values()
            ):
                path = self._fetched / name.removeprefix(prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return self._fetched
