"""How a run stands: read from the state files, the leases, SLURM's queue and the egresses, while workers go on."""
