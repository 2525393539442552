"""What a job directory keeps of work that did not end: where threads stood."""

import re

from trainer import files

_FILE = re.compile(r"steps-(\d{7,})-(\d{7,})\.(\d+)\.txt")


def record(job, first_step, last_step, text):
    """Writes down where all threads stood.

    Args:
        job: a claimed `JobDir`.
        first_step: int, the first of the steps that did not end.
        last_step: int, the last of them.
        text: str.

    Returns:
        (name, times): str, that of the file below the job directory, and int,
        how many times work at one of these steps has not ended.
    """
    job.hangs.mkdir(exist_ok=True)
    before = [
        match
        for match in map(_FILE.fullmatch, (p.name for p in job.hangs.iterdir()))
        # A call takes so many steps as time allows, and seldom the same.
        if match and int(match[1]) <= last_step and first_step <= int(match[2])
    ]
    times = len(before) + 1
    steps = f"steps-{first_step:07d}-{last_step:07d}"
    taken = {int(m[3]) for m in before}
    number = next(n for n in range(1, times + 1) if n not in taken)
    path = job.hangs / f"{steps}.{number}.txt"
    files.write_atomically(path, text.encode())
    return str(path.relative_to(job.root)), times
