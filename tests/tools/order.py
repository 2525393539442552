"""The order of the tests, so that no long one is left over for the end."""

# Where a test takes seconds.
_LONG = (
    "tests/e2e/",
    "tests/unit/test_sdist.py",
    "tests/unit/test_benchmarks.py",
    "tests/unit/test_data_benchmark.py",
    "tests/unit/test_gpu_proof.py",
    "tests/unit/test_job.py",
    "tests/unit/test_model_jobs.py",
    "tests/unit/test_notebooks.py",
    "tests/unit/test_recipes.py",
    "tests/unit/data/test_damage.py",
    "tests/unit/job_dir/bucket/test_session.py",
    "tests/unit/tracking/test_lost_rows.py",
)
# Tests that look at one thing, which takes long to make.
_TOGETHER = (
    "tests/e2e/test_tensorboard.py",
    "tests/unit/test_sdist.py",
    "tests/unit/data/test_damage.py",
)


def longest_first(items, processes):
    """Returns the tests in the order in which pytest-xdist is to have them.

    `--dist=worksteal` begins with a part of the list for each process, equal
    in number, and goes on with the ends of parts. The long tests are dealt to
    the parts like cards, and come first in each.

    Args:
        items: a list, what pytest has collected.
        processes: int, how many share them.
    """
    blocks, short = {}, []
    for item in items:
        module = item.nodeid.partition("::")[0]
        if module.startswith(_LONG):
            name = module if module in _TOGETHER else item.nodeid
            blocks.setdefault(name, []).append(item)
        else:
            short.append(item)
    parts = [[] for _ in range(processes)]
    for number, block in enumerate(blocks.values()):
        parts[number % processes] += block
    left = len(items)
    for number, part in enumerate(parts):
        size = left // (processes - number)
        left -= size
        missing = max(size - len(part), 0)
        part += short[:missing]
        del short[:missing]
    return [item for part in parts for item in part] + short
