"""The device that every task trains on."""

from __future__ import annotations

import warnings

import pytest

from tasks._shared.finetune import open_fabric


def test_a_slurm_job_around_it_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning would join the other tasks of the job, and warn where `srun` is not used."""
    job = {"JOB_ID": "7", "JOB_NAME": "bench", "NTASKS": "4", "PROCID": "3"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fabric = open_fabric("cpu")
    assert (fabric.world_size, fabric.global_rank) == (1, 0)
