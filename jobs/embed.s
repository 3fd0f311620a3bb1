#!/bin/bash
# VGGish embeddings of the clips of a merged data directory; task K of N embeds part K of N:
#
#     sbatch --array=1-10 jobs/embed.s
#     sbatch --array=1-4 --gres=gpu:1 jobs/embed.s --batch-size 512
#
# First, where there is internet access: audioset-batch fetch-weights. Arguments go on to `audioset-batch embed`. The
# array must start at 1 without gaps; submit the same range again for what is missing.
#
#SBATCH --job-name=embed
#SBATCH --output=embed-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=24:00:00
# Preempted or out of time, a task goes back to the queue and continues where it was.
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
##SBATCH --account=YOUR_ACCOUNT
##SBATCH --partition=YOUR_PARTITION
#
# Environment (all optional):
#   AUDIOSET_CONFIG   the YAML file                           default: configs/default.yaml of the checkout
#   DATADIR           the data directory                      default: data_dir of the config
#   SRCDIR            the checkout                            default: the folder from which you submit, else the script's
#   AUDIOSET_WEIGHTS  folder of the weights, seen by all nodes; default: the user's cache folder
#   KERAS_BACKEND     jax, torch or tensorflow                default: the first that is installed

set -euo pipefail
job=embed job_needs=array job_example="sbatch --array=1-10 jobs/embed.s"
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

if [ "${SLURM_ARRAY_TASK_MIN:-1}" != 1 ]; then
    echo "embed: the array must start at 1, not at $SLURM_ARRAY_TASK_MIN" >&2
    exit 2
fi
# exec, so that Python is the batch process and gets the warning (USR1) itself.
exec audioset-batch embed ${DATADIR:+"$DATADIR"} --config "${AUDIOSET_CONFIG:-$SRCDIR/configs/default.yaml}" \
    --shard "$SLURM_ARRAY_TASK_ID/${SLURM_ARRAY_TASK_MAX:-$SLURM_ARRAY_TASK_ID}" "$@"
