#!/bin/bash
# Trains a classifier; everything after the script goes on to `audioset-batch train` (docs/training.md):
#
#     sbatch --gres=gpu:1 jobs/train.s --model FeatureLevelAttentionModel --train_dir runs/attention \
#         --train_data_pattern packed/bal_train,packed/unbal_train --validation_data_pattern packed/eval
#     sbatch --array=1-5 --gres=gpu:1 jobs/train.s ...      five seeds: task K trains with --seed K in TRAIN_DIR/seed-K
#
#SBATCH --job-name=train
#SBATCH --output=train-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=24:00:00
# Preempted or out of time, the job goes back to the queue and continues after the step where it was.
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
##SBATCH --account=YOUR_ACCOUNT
##SBATCH --partition=YOUR_PARTITION
#
# Environment (all optional):
#   DATADIR           the data directory of `--model vgg16`    default: --data_dir
#   SRCDIR            the checkout                             default: the folder from which you submit, else the script's
#   AUDIOSET_CONFIG   not read by `train`; jobs/*.s share the name
#   KERAS_BACKEND     jax, torch or tensorflow                 default: the first that is installed

set -euo pipefail
job=train
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

# exec, so that Python is the batch process and gets the warning (USR1) itself.
exec audioset-batch train ${DATADIR:+--data_dir "$DATADIR"} \
    ${SLURM_ARRAY_TASK_ID:+--seed "$SLURM_ARRAY_TASK_ID" --train_subdir "seed-$SLURM_ARRAY_TASK_ID"} "$@"
