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
#   DATADIR           the data directory; or the first argument
#   SRCDIR            the checkout; default: the folder from which you submit, else that of the script

set -euo pipefail

if [ -z "${DATADIR:-}" ] && [[ ${1:--} != -* ]]; then
    DATADIR=$1
    shift
fi
if [ -z "${DATADIR:-}" ]; then
    echo "merge: DATADIR is not set; submit it so: sbatch jobs/merge.s /scratch/audioset" >&2
    exit 2
fi
if [ -z "${SRCDIR:-}" ]; then # the folder of $0 is SLURM's spool
    SRCDIR=${SLURM_SUBMIT_DIR:-$PWD}
    if [ ! -r "$SRCDIR/jobs/environment.sh" ] && script=$(scontrol show job "${SLURM_JOB_ID:-}" 2>/dev/null | sed -n 's/^ *Command=//p'); then
        SRCDIR=$(dirname "${script%%.s *}")/..
    fi
fi
if [ ! -r "$SRCDIR/jobs/environment.sh" ]; then
    echo "merge: $SRCDIR is not the checkout; submit from there, or name the script by its whole path" >&2
    exit 2
fi
# shellcheck source=jobs/environment.sh
. "$SRCDIR/jobs/environment.sh"

exec audioset-batch merge "$DATADIR" "$@"
