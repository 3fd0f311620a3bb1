#!/bin/bash
# Downloads Google's released features (2.4 GB) to $DATADIR/features/features.tar.gz; submitted again, it goes on where it stopped:
#
#     DATADIR=/scratch/audioset sbatch jobs/features-fetch.s
#
# The compute node needs the network; if yours has none, run `audioset-batch features fetch $DATADIR/features` on a
# login or transfer node. Arguments go on to `audioset-batch features fetch`, such as --region eu.
#
#SBATCH --job-name=features-fetch
#SBATCH --output=features-fetch-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=1G
#SBATCH --time=04:00:00
#SBATCH --requeue
##SBATCH --account=YOUR_ACCOUNT
##SBATCH --partition=YOUR_PARTITION
#
# Environment:
#   DATADIR           the data directory; or the first argument
#   SRCDIR            the checkout; default: the folder from which you submit, else that of the script

set -euo pipefail
job=features-fetch job_needs=DATADIR job_example="sbatch jobs/features-fetch.s /scratch/audioset"
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

exec audioset-batch features fetch "$DATADIR/features" "$@"
