"""Speed of what finds crops: scores against the plain way, and proposals over processes."""

from __future__ import annotations

import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.core.errors import StageFailed
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.measure.timing import (
    Race,
    Summary,
    Timing,
    choose_repeats,
    repeat,
    summary,
    time_in_turns,
)
from bench.stages import proposals

CHEAP = 0.005  # seconds an image below which starting processes is all one would measure


class RaceRow(TypedDict):
    """A race's name, the largest difference of the two results, and how long each way takes."""

    race: str
    difference: float
    plain: Summary
    ours: Summary


class ScalingRow(Summary):
    """A generator with a number of processes; see `Scaling.rows`."""

    proposals: str
    images: int
    processes: int
    ms_per_image: float
    serial: float
    possible: float
    busy: float


def list_races() -> list[Race]:
    """The races of every generator that has a `peer`."""
    races: list[Race] = []
    for cls in registry.load_all("proposals")[0].values():
        make_races = cls.peer()
        races += make_races() if make_races else []
    return races


def run_race(one: Race, repeats: int) -> RaceRow:
    """Time both ways of a race; raises StageFailed where their results differ."""
    gap = one.difference()
    if not gap <= one.tolerance:
        raise StageFailed(
            f"{one.name}: the results that are timed differ by {gap:.2g}; report this"
        )
    n, m = choose_repeats(one.ours), choose_repeats(one.plain)
    timings = time_in_turns({"plain": repeat(one.plain, m), "ours": repeat(one.ours, n)}, repeats)
    plain, ours = summary(timings["plain"], n=m), summary(timings["ours"], n=n)
    ours["ratio"] = plain["median"] / ours["median"]
    ours["cpu_ratio"] = plain["cpu"] / ours["cpu"]
    return {"race": one.name, "difference": gap, "plain": plain, "ours": ours}


@dataclass(frozen=True)
class StageTiming:
    """One run of a proposals stage: wall seconds, and CPU seconds of this process and of the
    others."""

    wall: float
    here: float
    there: float

    @property
    def timing(self) -> Timing:
        return Timing(self.wall, self.here + self.there)


@dataclass
class Scaling:
    """Runs one generator's stage with several numbers of processes; the stages before it have
    been made."""

    stage: Stage
    inputs: Mapping[str, Path]
    runtime: Runtime

    def run(self, processes: int) -> tuple[StageTiming, dict[str, np.ndarray]]:
        """The whole stage, its files included, in a folder that is dropped; its proposals."""
        folder = Path(tempfile.mkdtemp(prefix="perf-", dir=self.runtime.home))
        runtime = self.runtime.model_copy(update={"workers": processes, "devices": "cpu"})
        try:
            before, start = _cpu(), time.perf_counter()
            proposals.run(StageContext(self.stage, folder, self.inputs, runtime))
            wall, after = time.perf_counter() - start, _cpu()
            with np.load(folder / "proposals.npz") as file:
                proposed = {name: file[name] for name in file.files}
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return StageTiming(wall, after[0] - before[0], after[1] - before[1]), proposed

    def rows(self, processes: Sequence[int], repeats: int) -> list[ScalingRow]:
        """A row for each number of processes, the first of which is the base.

        "serial": CPU seconds of this process, which hands out work and gathers it, as a share of
        all; by Amdahl's law the speed-up over n processes is at most 1 / (serial + (1 - serial) /
        n). "possible": the speed-up that n free cores would give, from CPU seconds: those of one
        process over (serial ones + others / n). "busy": CPU seconds over wall seconds x processes;
        far below 1, other programs had the cores, and "ratio", which is of wall time, says little.
        Raises StageFailed where the proposals depend on the number of processes.
        """
        taken: dict[int, list[StageTiming]] = {n: [] for n in processes}
        first, expected = self.run(processes[0])
        images = len(expected["image_ids"])
        if first.wall / images < CHEAP:
            return [self._row(processes[0], [first], [first], images)]

        def way(n: int) -> None:
            timing, proposed = self.run(n)
            taken[n].append(timing)
            if any(not np.array_equal(expected[name], proposed[name]) for name in expected):
                raise StageFailed(
                    f"{self.stage.name}: the proposals are others with {n} processes; report this"
                )

        time_in_turns({str(n): partial(way, n) for n in processes}, repeats, warm_up=0)
        return [self._row(n, taken[n], taken[processes[0]], images) for n in processes]

    def _row(
        self, n: int, taken: list[StageTiming], base: list[StageTiming], images: int
    ) -> ScalingRow:
        here, there = (
            statistics.median(parts)
            for parts in zip(*((t.here, t.there) for t in taken), strict=True)
        )
        total = summary([t.timing for t in taken], [t.timing for t in base])
        return {
            "proposals": self.stage.name,
            "images": images,
            "processes": n,
            **total,
            "ms_per_image": 1000 * total["median"] / images,
            "serial": 0.0 if n < 2 else here / (here + there),
            "possible": total["cpu"] * total["cpu_ratio"] / (here + there / n),
            "busy": total["cpu"] / (total["median"] * n),
        }


def _cpu() -> tuple[float, float]:
    """CPU seconds of this process, and of the processes it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    here, there = (usage.ru_utime + usage.ru_stime for usage in both)
    return here, there
