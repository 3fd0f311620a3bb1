#!/usr/bin/env bash
# Downloads six made-up segments from the stand-in for YouTube, merges them and shows what came of one. Needs no network.
#
#     examples/try-it.sh [DATADIR]      default: a new temporary folder
#
# Lists and videos are in this folder; edit them and run it again with another DATADIR. PYTHON: default .venv/bin/python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
data=${1:-$(mktemp -d)/audioset}

"$python" -m audioset_batch.standin --catalog examples/videos.json -- \
    audioset-batch download "$data" --base-url examples/lists --subsets eval --set egress.0.videos_per_hour=null
"$python" -m audioset_batch merge "$data"
"$python" -m audioset_batch clip "$data" -- example0002
