#!/usr/bin/env bash
# Fetch AudioSet's segment CSVs and split them into shards. All the work is done by `audioset-batch prep`.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: ./download_subset_files.sh [--split N] [--subsets a,b] [--labels "Dog,Speech"] [--base-url URL] DATADIR

Fetch the segment CSVs and class_labels_indices.csv into DATADIR, check them, and split each subset into N shards
(DATADIR/eval_segments.csv.01 ...). Then: sbatch --array=1-N audiosetdl-job-array.s

  --split N          shards of each subset (default 1)
  --subsets a,b      of eval_segments, balanced_train_segments, unbalanced_train_segments (default all)
  --labels NAMES     only segments with one of these labels: display names or MIDs
  --descendants      ... or with a label below them in the ontology (--ontology URL|FILE says where it is)
  --limit N          only the first N segments of each subset
  --sample N         only N segments of each subset, chosen at random (--seed S)
  --known FILE       record without a request what another manifest knows to be gone for good
                     (--known-geo-blocked: geo_blocked as well)
  --base-url URL     folder that holds the CSVs: http(s)://, file:// or a path (default: Google's storage)
  --allow-partial    take what there is of a file that is cut short
  --skip-bad-rows    go on without bad rows; they are kept in DATADIR/SUBSET.rejected.csv
  --refetch          fetch all files anew; otherwise whole files are not fetched again
  --retries N        tries at a URL without progress before giving up (default 5)
  -h, --help         this text

HTTP_PROXY, HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE hold. PYTHON names the Python to use (default: the environment
that setup.sh made in .venv, then python3).
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
# The package beside this script counts even when it is not installed, wherever the user stands.
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
probe='import audioset_batch, numpy, pyarrow, pydantic'
for python in ${PYTHON:+"$PYTHON"} "$here/.venv/bin/python" python3; do
    if command -v -- "$python" >/dev/null 2>&1 && "$python" -c "$probe" >/dev/null 2>&1; then
        exec "$python" -m audioset_batch prep "$@"
    fi
done
echo "download_subset_files.sh: no Python with audioset-batch found: run $here/setup.sh, or pip install $here" >&2
exit 2
