# shellcheck shell=bash
# Read by bash before the batch script (BASH_ENV): one node has a clock of its own.
if [ "${SLURMD_NODENAME:-}" = "$CHAOS_CLOCK_NODE" ]; then
    export LD_PRELOAD="$CHAOS_CLOCK_LIBRARY"
fi
