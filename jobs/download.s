#!/bin/bash
# One job downloads all shards, several at a time:
#
#     sbatch jobs/download.s
#
# Submit it from the checkout, after ./setup.sh and ./download_subset_files.sh --split 10 DATADIR. It does what
# audiosetdl-job-array.s does with a task for each shard, and is enough wherever one task at a time (%1) is. A second one, or
# an array beside it, shares the shards with it. Arguments go on to `audioset-batch worker`, such as --task 1-10 or --subsets.
# Options of sbatch on the command line win over the lines below.
#
#SBATCH --job-name=audiosetdl
#SBATCH --output=audiosetdl-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks=1
# One CPU and 600 MB serve all audio of some 9,000 videos an hour. Raise them where pictures are encoded (video.mode) or there
# is no budget.
#SBATCH --cpus-per-task=1
#SBATCH --mem=600M
#SBATCH --time=24:00:00
# Preempted, or stopped before its time limit, it goes back to the queue and continues where it was.
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

set -euo pipefail
job=download

if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    echo "$job: one job does all shards; submit it without --array, or as an array: sbatch --array=1-10 audiosetdl-job-array.s" >&2
    exit 2
fi
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

note_lost_variables "$@"
# exec, so that Python is the batch process and gets the warning (USR1) itself, and alone.
exec audioset-batch worker --config "${AUDIOSET_CONFIG:-$SRCDIR/configs/default.yaml}" ${DATADIR:+--data-dir "$DATADIR"} \
    --task all "$@"
