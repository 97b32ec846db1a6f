"""Stages as jobs of a Slurm cluster: what `--launcher slurm` does."""
