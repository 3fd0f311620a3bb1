# shellcheck shell=bash
# Sourced by the job scripts on the compute node: puts `audioset-batch` and its tools on the PATH. SRCDIR is the checkout.
# What your site needs besides (module load, HTTPS_PROXY) goes here.

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
