"""Configuration: YAML in, frozen and validated values out."""

from audioset_batch.config.loader import ConfigError, load_config
from audioset_batch.config.schema import Audio, Config, Egress, Probe, Section, Slurm, Video, Worker, Youtube

__all__ = [
    "Audio",
    "Config",
    "ConfigError",
    "Egress",
    "Probe",
    "Section",
    "Slurm",
    "Video",
    "Worker",
    "Youtube",
    "load_config",
]
