#!/bin/bash
# Downloads Google's released features (2.4 GB) to $DATADIR/features/features.tar.gz; submitted again, it goes on where it stopped:
#
#     DATADIR=/scratch/audioset sbatch jobs/features-fetch.s
#
# The compute node needs the network; if yours has none, run `audioset-batch features fetch $DATADIR/features` on a
# login or transfer node. Arguments go on to `audioset-batch features fetch`, such as --region eu.
#
#SBATCH --job-name=features-fetch
#SBATCH --output=features-fetch-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=1G
#SBATCH --time=04:00:00
#SBATCH --requeue
##SBATCH --account=YOUR_ACCOUNT
##SBATCH --partition=YOUR_PARTITION
#
# Environment:
#   DATADIR           the data directory; needed
#   SRCDIR            the checkout; default: the folder from which you submit

set -euo pipefail

if [ -z "${DATADIR:-}" ]; then
    echo "features-fetch: DATADIR is not set; submit it so: DATADIR=/scratch/audioset sbatch jobs/features-fetch.s" >&2
    exit 2
fi
SRCDIR=${SRCDIR:-${SLURM_SUBMIT_DIR:-$PWD}} # not the folder of $0, which is SLURM's spool copy
if [ ! -r "$SRCDIR/jobs/environment.sh" ]; then
    echo "features-fetch: $SRCDIR is not the checkout; submit from there, or set SRCDIR" >&2
    exit 2
fi
# shellcheck source=jobs/environment.sh
. "$SRCDIR/jobs/environment.sh"

exec audioset-batch features fetch "$DATADIR/features" "$@"
