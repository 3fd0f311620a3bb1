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
job=merge job_needs=DATADIR job_example="sbatch jobs/merge.s /scratch/audioset"
# SLURM runs a copy of this file. The checkout is SRCDIR, else the folder from which you submit, else that of the file.
if [ -z "${SRCDIR:-}" ] && [ ! -r "${SRCDIR:=${SLURM_SUBMIT_DIR:-$PWD}}/jobs/environment.sh" ]; then
    found=$(scontrol show job "${SLURM_JOB_ID:-}" 2>/dev/null | sed -n "s|^ *Command=\(.*\)/jobs/$job\.s.*|\1|p") && SRCDIR=${found:-$SRCDIR}
fi
if [ ! -r "$SRCDIR/jobs/environment.sh" ]; then
    echo "$job: $SRCDIR is not the checkout; submit from there, or name the script by its whole path" >&2
    exit 2
fi
# shellcheck source=jobs/environment.sh
. "$SRCDIR/jobs/environment.sh"

exec audioset-batch merge "$DATADIR" "$@"
