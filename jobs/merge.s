#!/bin/bash
# Merges the manifests of all shards into manifest.parquet, manifest.csv and summary.json, after the array:
#
#     DATADIR=/scratch/audioset sbatch --dependency=afterany:ARRAY_JOB_ID jobs/merge.s
#
# afterany, not afterok: one failed task would hold the merge back for ever. It is safe while workers still write. Arguments
# go on to `audioset-batch merge`, such as --allow-pending.
#
#SBATCH --job-name=audioset-merge
#SBATCH --output=audioset-merge-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=16G
#SBATCH --time=01:00:00
#SBATCH --requeue
##SBATCH --account=YOUR_ACCOUNT
##SBATCH --partition=YOUR_PARTITION
##SBATCH --mail-type=END,FAIL
##SBATCH --mail-user=YOU@EXAMPLE.ORG
#
# Environment:
#   DATADIR           the data directory; needed
#   SRCDIR            the checkout; default: the folder from which you submit

set -euo pipefail

if [ -z "${DATADIR:-}" ]; then
    echo "merge: DATADIR is not set; submit it so: DATADIR=/scratch/audioset sbatch jobs/merge.s" >&2
    exit 2
fi
SRCDIR=${SRCDIR:-${SLURM_SUBMIT_DIR:-$PWD}} # not the folder of $0, which is SLURM's spool copy
if [ ! -r "$SRCDIR/jobs/environment.sh" ]; then
    echo "merge: $SRCDIR is not the checkout; submit from there, or set SRCDIR" >&2
    exit 2
fi
# shellcheck source=jobs/environment.sh
. "$SRCDIR/jobs/environment.sh"

exec audioset-batch merge "$DATADIR" "$@"
