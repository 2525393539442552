import subprocess
import sys

import pytest

# In a thread that is not the first, as TensorFlow's are.
CHURN = """
import resource, sys, threading
import numpy as np
from trainer.distributed import allocator

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def churn():
    for round in range(300):
        if round == 100:
            before = faults()
        blocks = [np.ones(20_000, np.float32) for _ in range(60)]
        del blocks
    print(faults() - before)

if sys.argv[1] == "True":
    allocator.keep_freed_memory()
thread = threading.Thread(target=churn)
thread.start()
thread.join()
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="glibc's malloc is what it is about"
)
def test_freed_memory_does_not_come_back_as_new_pages():
    kept, given_back = (
        int(
            subprocess.run(
                [sys.executable, "-c", CHURN, str(keep)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for keep in (True, False)
    )
    # 60 blocks of 20 pages, 200 times.
    assert kept < 1000 < given_back
