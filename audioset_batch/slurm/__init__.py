"""SLURM's own commands: what a job knows of itself, requeueing, the queue, accounting."""
