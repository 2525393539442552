"""`python -m trainer.submit` is `vae-submit`."""

import sys

from trainer.submit.command import main

sys.exit(main())
