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
#   SRCDIR            the checkout                             default: the folder from which you submit
#   AUDIOSET_CONFIG   not read by `evaluate`; jobs/*.s share the name
#   KERAS_BACKEND     jax, torch or tensorflow                 default: the first that is installed

set -euo pipefail

SRCDIR=${SRCDIR:-${SLURM_SUBMIT_DIR:-$PWD}} # not the folder of $0, which is SLURM's spool copy
if [ ! -r "$SRCDIR/jobs/environment.sh" ]; then
    echo "evaluate: $SRCDIR is not the checkout; submit from there, or set SRCDIR" >&2
    exit 2
fi
# shellcheck source=jobs/environment.sh
. "$SRCDIR/jobs/environment.sh"

exec audioset-batch evaluate ${DATADIR:+--data_dir "$DATADIR"} "$@"
