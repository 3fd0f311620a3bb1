#!/usr/bin/env bash
# Fetch AudioSet's segment CSVs and split them into shards, with `audioset-batch prep`.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: ./download_subset_files.sh [--split N] [--subsets a,b] [--labels "Dog,Speech"] [--base-url URL] DATADIR

Fetch the segment CSVs and class_labels_indices.csv into DATADIR, check them, and split each subset into N shards
(DATADIR/eval_segments.csv.01 ...). Then: sbatch --array=1-N audiosetdl-job-array.s

  --split N          shards of each subset (default: 1)
  --subsets a,b      some of eval_segments, balanced_train_segments, unbalanced_train_segments (default: all)
  --labels NAMES     only segments with one of these labels: display names or MIDs
  --descendants      include all labels below them in the ontology (--ontology URL|FILE: where it is)
  --limit N          only the first N segments of each subset
  --sample N         only N segments of each subset, chosen at random (--seed S: random seed)
  --known FILE       record permanently unavailable segments from another manifest, without a request
                     (--known-geo-blocked: include geo_blocked)
  --base-url URL     folder with the CSVs: http(s)://, file:// or a path (default: Google's storage)
  --allow-partial    accept a file that was cut off
  --skip-bad-rows    skip bad rows and write them to DATADIR/SUBSET.rejected.csv
  --refetch          fetch all files again; by default, complete files are not fetched again
  --retries N        attempts at a URL without progress (default: 5)
  -h, --help         show this text

HTTP_PROXY, HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE apply. PYTHON names the Python to use (default: the environment
.venv that setup.sh created, then python3).
Exit status: 0 done; 1 input refused; 2 usage, or no Python with audioset-batch; 75 a shard is held, or the disk is full.
USAGE
}

for argument in "$@"; do
    case "$argument" in
        -h | --help)
            usage
            exit 0
            ;;
    esac
done
if [[ $# -eq 0 ]]; then
    usage >&2
    exit 2
fi

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
# Find the package beside this script even if it is not installed, whatever the current folder is.
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
probe='import audioset_batch, numpy, pyarrow, pydantic'
for python in ${PYTHON:+"$PYTHON"} "$here/.venv/bin/python" python3; do
    if command -v -- "$python" >/dev/null 2>&1 && "$python" -c "$probe" >/dev/null 2>&1; then
        exec "$python" -m audioset_batch prep "$@"
    fi
done
echo "download_subset_files.sh: no Python with audioset-batch found: run $here/setup.sh, or pip install $here" >&2
exit 2
