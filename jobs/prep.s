#!/bin/bash
# Fetches the segment lists into $DATADIR and splits each into shards:
#
#     DATADIR=/scratch/audioset sbatch jobs/prep.s --split 10
#
# The compute node needs the network; if yours has none, run ./download_subset_files.sh on a login or transfer node.
# Arguments go on to `audioset-batch prep`, such as --subsets or --labels.
#
#SBATCH --job-name=audioset-prep
#SBATCH --output=audioset-prep-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=01:00:00
# Killed at any point and run again, it finishes what it began.
#SBATCH --requeue
##SBATCH --account=YOUR_ACCOUNT
##SBATCH --partition=YOUR_PARTITION
#
# Environment:
#   DATADIR           the data directory; or the first argument
#   SRCDIR            the checkout; default: the folder from which you submit, else that of the script

set -euo pipefail
job=prep job_needs=DATADIR job_example="sbatch jobs/prep.s /scratch/audioset --split 10"
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

exec audioset-batch prep "$DATADIR" "$@"
