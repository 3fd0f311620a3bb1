"""audioset-batch: AudioSet on a SLURM cluster or a laptop."""

__version__ = "0.1.0"
