#!/bin/bash
# Asks the thumbnail host which videos are probably gone, so that workers take them last; task K asks about shard K:
#
#     sbatch --array=1-10%2 jobs/screen.s
#
# Each task sends up to 5 requests a second (--per-second): two at a time are enough. Before the download, or beside it.
# Arguments go on to `audioset-batch screen`.
#
#SBATCH --job-name=audioset-screen
#SBATCH --output=audioset-screen-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=1G
#SBATCH --time=12:00:00
# Preempted or out of time, a task goes back to the queue and continues where it was.
#SBATCH --requeue
#SBATCH --signal=B:USR1@60
##SBATCH --account=YOUR_ACCOUNT
##SBATCH --partition=YOUR_PARTITION
#
# Environment (all optional):
#   AUDIOSET_CONFIG   the YAML file                           default: configs/default.yaml of the checkout
#   DATADIR           the data directory                      default: data_dir of the config
#   SRCDIR            the checkout                            default: the folder from which you submit, else the script's
#   SHARD_OFFSET      added to the array index, for arrays beyond the cluster's MaxArraySize; default: 0

set -euo pipefail
job=screen job_needs=array job_example="sbatch --array=1-10%2 jobs/screen.s"
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
exec audioset-batch screen ${DATADIR:+"$DATADIR"} --config "${AUDIOSET_CONFIG:-$SRCDIR/configs/default.yaml}" \
    --task $((SLURM_ARRAY_TASK_ID + 10#$SHARD_OFFSET)) "$@"
