"""`python -m audioset_batch` is the console command `audioset-batch`."""

import sys
from pathlib import Path

if not sys.flags.safe_path and Path.cwd() != Path(__file__).resolve().parents[1]:
    # Python has put the current folder in front: others may be able to write there.
    sys.path[:] = [folder for folder in sys.path if folder not in ("", str(Path.cwd()))]

from audioset_batch.cli import main

if __name__ == "__main__":
    sys.exit(main())
