"""`vae-tune` whose trials are those of `pretend_training`, to be killed.

python -m tests.tools.pretend_search [flags] -- [flags]
"""

import sys

from trainer.commands import tune
from trainer.search import process

TRAINING = (sys.executable, "-m", "tests.tools.pretend_training")

if __name__ == "__main__":
    process.TRAINING = TRAINING
    sys.exit(tune.main())
