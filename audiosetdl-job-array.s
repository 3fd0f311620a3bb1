#!/bin/bash
# One task of this array downloads one shard of each subset:
#
#     sbatch --array=1-10%1 audiosetdl-job-array.s
#
# Submit it from the checkout, after ./setup.sh and ./download_subset_files.sh --split 10 DATADIR. Arguments go on to
# `audioset-batch worker`. Options of sbatch on the command line win over the lines below.
#
#SBATCH --job-name=audiosetdl
#SBATCH --output=audiosetdl-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --ntasks=1
# One CPU and 600 MB serve all audio that the budgets of your addresses allow, and one task at a time (%1) is enough for
# some 9,000 videos an hour. Raise them where pictures are encoded (video.mode) or there is no budget.
#SBATCH --cpus-per-task=1
#SBATCH --mem=600M
#SBATCH --time=24:00:00
# A task that is preempted, or stops before its time limit, goes back to the queue and continues where it was.
#SBATCH --requeue
# Three minutes before the time limit (SLURM may be one early). B: to the batch process only, not to sox and other helpers.
#SBATCH --signal=B:USR1@180
##SBATCH --account=YOUR_ACCOUNT
##SBATCH --partition=YOUR_PARTITION
##SBATCH --mail-type=END,FAIL
##SBATCH --mail-user=YOU@EXAMPLE.ORG
#
# Arguments, or variables of the environment where your site passes these on (all optional):
#   --config FILE        AUDIOSET_CONFIG   the YAML file; default: configs/default.yaml of the checkout
#   --data-dir DIR       DATADIR           the data directory; default: data_dir of the config
#   SRCDIR            the checkout                            default: the folder from which you submit, else the script's
#   SHARD_OFFSET      added to the array index, for arrays beyond the cluster's MaxArraySize; default: 0

set -euo pipefail
job=audiosetdl-job-array job_needs=array
job_example="sbatch --array=1-10 audiosetdl-job-array.s (or one job for all shards: sbatch jobs/download.s)"

options=()
while [ $# -gt 0 ]; do
    case $1 in
        --shard-offset) SHARD_OFFSET=${2:-} && shift ;;
        --shard-offset=*) SHARD_OFFSET=${1#*=} ;;
        *) options+=("$1") ;;
    esac
    shift || true
done
set -- ${options[@]+"${options[@]}"}

# SLURM runs a copy of this file. The checkout is SRCDIR, else the folder from which you submit, else that of the file.
if [ -z "${SRCDIR:-}" ] && [ ! -r "${SRCDIR:=${SLURM_SUBMIT_DIR:-$PWD}}/jobs/environment.sh" ]; then
    found=$(scontrol show job "${SLURM_JOB_ID:-}" 2>/dev/null | sed -n "s|^ *Command=\(.*\)/$job\.s.*|\1|p") && SRCDIR=${found:-$SRCDIR}
fi
if [ ! -r "$SRCDIR/jobs/environment.sh" ]; then
    echo "$job: $SRCDIR is not the checkout; submit from there, or name the script by its whole path" >&2
    exit 2
fi
# shellcheck source=jobs/environment.sh
. "$SRCDIR/jobs/environment.sh"

note_lost_variables "$@"
# exec, so that Python is the batch process: it gets the warning (USR1) itself, and alone. Under srun a shell would have to
# stay and pass signals on, and USR1 would reach the helpers. The price: where a partition has a GraceTime, preemption is
# first heard of at its end, by TERM, with KillWait (30 s by default) left: longer than worker.grace_seconds.
exec audioset-batch worker --config "${AUDIOSET_CONFIG:-$SRCDIR/configs/default.yaml}" ${DATADIR:+--data-dir "$DATADIR"} \
    --task $((SLURM_ARRAY_TASK_ID + 10#$SHARD_OFFSET)) "$@"
