#!/bin/bash
# Evaluates a trained classifier; everything after the script goes on to `audioset-batch evaluate` (docs/training.md):
#
#     sbatch jobs/evaluate.s --train_dir runs/attention --eval_data_pattern packed/eval
#
#SBATCH --job-name=evaluate
#SBATCH --output=evaluate-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=2:00:00
# Run again from the start, it replaces its results as a whole.
#SBATCH --requeue
##SBATCH --account=YOUR_ACCOUNT
##SBATCH --partition=YOUR_PARTITION
#
# Environment (all optional):
#   DATADIR           the data directory of a vgg16 model      default: --data_dir
#   SRCDIR            the checkout                             default: the folder from which you submit, else the script's
#   AUDIOSET_CONFIG   not read by `evaluate`; jobs/*.s share the name
#   KERAS_BACKEND     jax, torch or tensorflow                 default: the first that is installed

set -euo pipefail
job=evaluate
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

exec audioset-batch evaluate ${DATADIR:+--data_dir "$DATADIR"} "$@"
