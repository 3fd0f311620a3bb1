# shellcheck shell=bash
# Sourced by the job scripts on the compute node: checks what they need, and puts `audioset-batch` and its tools on the
# PATH. What your site needs besides (module load, HTTPS_PROXY) goes to the end of this file.
#
# From the script: SRCDIR, the checkout; job, its name; job_needs, DATADIR or array; job_example, how to submit it.
# shellcheck disable=SC2154

case ${job_needs:-} in
    DATADIR)
        if [ -z "${DATADIR:-}" ] && [[ ${1:--} != -* ]]; then
            DATADIR=$1
            shift # the rest of the script's arguments is for the command
        fi
        if [ -z "${DATADIR:-}" ]; then
            echo "$job: DATADIR is not set; submit it so: $job_example" >&2
            exit 2
        fi
        ;;
    array)
        if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
            echo "$job: this is an array job; submit it so: $job_example" >&2
            exit 2
        fi
        if ! [[ ${SHARD_OFFSET:=0} =~ ^[0-9]+$ ]]; then
            echo "$job: SHARD_OFFSET is no whole number: $SHARD_OFFSET" >&2
            exit 2
        fi
        ;;
esac

# Arguments: those of the script.
note_lost_variables() {
    if [ "${SLURM_EXPORT_ENV:-}" = NONE ] && [ $# = 0 ]; then
        echo "$job: no exported variable reaches this job (--export=NONE or SBATCH_EXPORT). Where you rely on" \
            "AUDIOSET_CONFIG or DATADIR, give them as arguments after the script: --config FILE --data-dir DIR" >&2
    fi
}

trap '' USR1 # the warning before the time limit would end the job for good before Python listens for it

if [ -x "$SRCDIR/.venv/bin/audioset-batch" ]; then
    PATH="$SRCDIR/.venv/bin:$PATH"
    if ! "$SRCDIR/.venv/bin/python" -c '' 2>/dev/null; then
        echo "environment: $SRCDIR/.venv does not start on $(hostname): the Python it was made from is not installed there." \
            "Make it again from one that all nodes have: rm -r .venv; ./setup.sh --python PROGRAM" >&2
        exit 2
    fi
elif ! command -v audioset-batch >/dev/null; then
    echo "environment: no audioset-batch in $SRCDIR/.venv nor on the PATH of $(hostname): run ./setup.sh in $SRCDIR first" >&2
    exit 2
fi
export PATH

if ! command -v sox >/dev/null && type module >/dev/null 2>&1; then
    module load sox || true # its absence is the worker's to report: not every config needs it
fi
