"""The progress of a run, from state files, leases, the queue of SLURM and the egresses, while workers run."""
