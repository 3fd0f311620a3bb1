"""A real, private SLURM for tests, the chaos run and demonstrations; see `PrivateSlurm`."""

from tests.support.slurm_cluster.cluster import PrivateSlurm, SlurmError, missing_programs
from tests.support.slurm_cluster.queue import Task

__all__ = ["PrivateSlurm", "SlurmError", "Task", "missing_programs"]
