"""Makes a staging folder hold what the bucket holds of the job."""

from trainer.job_dir.bucket import claim, ownership, published, staging
from trainer.job_dir.bucket.download import download

_CHECKPOINTS, _MANIFEST = "checkpoints/", "manifest.json"


def pull(store, root, job_id, console):
    """Makes the staging folder hold what the bucket holds.

    A staging folder that this machine left behind is kept when nobody has
    written to the bucket since: it holds all of that, and what could not be
    sent. The store gets the id of the job as its owner.

    Args:
        store: the `ObjectStore` of the job directory.
        root: `pathlib.Path` of the staging folder.
        job_id: callable; returns the id of the job that is staged, or of a
            new one. Asked where the bucket has no job.
        console: says what is there, and shows the progress.

    Returns:
        (ours, others): a dict of `Published` by name, and a dict of
        `ObjectInfo` by name, of what is not of this job.

    Raises:
        ObjectChangedError: an object is damaged.
        JobDirError: an object of others is where the job would write.
    """
    remote = store.list()
    store.owner = ownership.find(store, remote) or job_id()
    remote = claim.clear(store, remote)
    ours, others = ownership.split(remote, store.owner)
    ownership.refuse_clashes(store, ours, others)
    if others:
        console.line(ownership.others_sentence(store, others))
    if ownership.is_unmarked(remote):
        ownership.mark(store, ours, console)
    for name, info in _litter(ours).items():
        store.delete(name, info.generation)
        del ours[name]
    known = published.read(root)
    if {name: each.generation for name, each in known.items()} == {
        name: info.generation for name, info in ours.items()
    }:
        return known, others
    staging.clear(root)
    known = {name: published.Published.of(info) for name, info in ours.items()}
    download(store, ours, root, console)
    published.write(root, known)
    return known, others


def _litter(ours):
    """What killed sessions left: half checkpoints, and parts of files."""
    whole = {
        name.rpartition("/")[0]
        for name in ours
        if name.endswith(f"/{_MANIFEST}")
    }
    return {
        name: info
        for name, info in ours.items()
        if ownership.is_tail(name)
        or (
            name.startswith(_CHECKPOINTS)
            and name.rpartition("/")[0] not in whole
        )
    }
