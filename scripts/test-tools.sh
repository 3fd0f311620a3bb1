#!/usr/bin/env bash
# Provides SLURM for the tests, as root where apt is; says loudly what will not be tested where it cannot. No service is
# needed: the tests start daemons of their own in a temp folder.
set -euo pipefail

missing() { # prints what is not installed; Debian keeps daemons in /usr/sbin, which is not on everybody's PATH
    local name
    for name in munged slurmctld slurmd sbatch; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "$name" >/dev/null || printf '%s ' "$name"
    done
}

[ -n "$(missing)" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "test-tools: apt-get install slurm-wlm munge"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null || true
    apt-get install -y -qq --no-install-recommends slurm-wlm munge </dev/null >/dev/null || true
    [ -n "$(missing)" ] || exit 0
fi

cat >&2 <<TEXT
#############################################################################
  NO SLURM HERE ($(missing)missing): its tests will be SKIPPED.
  They are what shows that jobs survive requeues and preemption. To run them:
      apt-get install slurm-wlm munge       (as root; Debian, Ubuntu)
#############################################################################
TEXT
if [ "${CI:-}" = true ]; then
    echo "test-tools: under CI that is an error" >&2
    exit 1
fi
