"""Submission: the chain prep -> array -> merge -> report, through submitit to SLURM or to this machine; preflight."""
