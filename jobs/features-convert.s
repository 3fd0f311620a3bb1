#!/bin/bash
# Converts $DATADIR/features/features.tar.gz to $DATADIR/features/<split>.parquet. One job does all three splits in one pass; as an
# array each task does one (1 eval, 2 bal_train, 3 unbal_train), which helps only where the disk is faster than a core:
#
#     DATADIR=/scratch/audioset sbatch jobs/features-convert.s
#     DATADIR=/scratch/audioset sbatch --array=1-3 jobs/features-convert.s
#
# Splits that are there are kept, so a requeued job does what is left. Arguments go on to `audioset-batch features
# convert`, such as --format npy or --skip-bad.
#
#SBATCH --job-name=features-convert
#SBATCH --output=features-convert-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=2G
#SBATCH --time=01:00:00
#SBATCH --requeue
##SBATCH --account=YOUR_ACCOUNT
##SBATCH --partition=YOUR_PARTITION
#
# Environment:
#   DATADIR           the data directory; or the first argument
#   FEATURES          the archive or an unpacked folder; default: $DATADIR/features/features.tar.gz
#   SRCDIR            the checkout; default: the folder from which you submit, else that of the script

set -euo pipefail
job=features-convert job_needs=DATADIR job_example="sbatch jobs/features-convert.s /scratch/audioset"
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

splits=eval,bal_train,unbal_train
case "${SLURM_ARRAY_TASK_ID:-}" in
    "") ;;
    1) splits="eval" ;;
    2) splits=bal_train ;;
    3) splits=unbal_train ;;
    *)
        echo "features-convert: there are three splits, expected --array=1-3, got task $SLURM_ARRAY_TASK_ID" >&2
        exit 2
        ;;
esac

exec audioset-batch features convert "${FEATURES:-$DATADIR/features/features.tar.gz}" "$DATADIR/features" --splits "$splits" "$@"
