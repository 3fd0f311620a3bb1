"""`python -m audioset_batch` is the console command `audioset-batch`."""

import sys

from audioset_batch.cli import main

if __name__ == "__main__":
    sys.exit(main())
