#!/usr/bin/env bash
# Provides SLURM and Chromium for the tests, as root where apt is; says loudly what will not be tested where it cannot. No
# service is needed: the tests start daemons of their own in a temp folder.
set -euo pipefail

missing() { # prints the programs that are not there; Debian keeps daemons in /usr/sbin, which is not on everybody's PATH
    local name
    for name in "$@"; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "$name" >/dev/null || printf '%s ' "$name"
    done
}

no_slurm() { missing munged slurmctld slurmd sbatch; }
no_browser() { # any one of these will do
    local name
    for name in chromium chromium-browser google-chrome chrome; do
        command -v "$name" >/dev/null && return
    done
    printf 'chromium '
}

packages=()
[ -z "$(no_slurm)" ] || packages+=(slurm-wlm munge)
[ -z "$(no_browser)" ] || packages+=(chromium)
[ "${#packages[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "test-tools: apt-get install ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null || true
    for package in "${packages[@]}"; do # one by one: one that this system lacks must not keep the others out
        apt-get install -y -qq --no-install-recommends "$package" </dev/null >/dev/null || true
    done
fi

status=0
if [ -n "$(no_slurm)" ]; then
    status=1
    cat >&2 <<TEXT
#############################################################################
  NO SLURM HERE ($(no_slurm)missing): its tests will be SKIPPED.
  They are what shows that jobs survive requeues and preemption. To run them:
      apt-get install slurm-wlm munge       (as root; Debian, Ubuntu)
#############################################################################
TEXT
fi
if [ -n "$(no_browser)" ]; then
    status=1
    cat >&2 <<TEXT
#############################################################################
  NO CHROMIUM HERE: the report's tests in a browser will be SKIPPED.
  To run them:
      apt-get install chromium              (as root; Debian)
#############################################################################
TEXT
fi
if [ "$status" = 1 ] && [ "${CI:-}" = true ]; then
    echo "test-tools: under CI that is an error" >&2
    exit 1
fi
