"""Several stages of a plan at the same time on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

from bench.core.errors import StageFailed
from bench.core.stage import Stage
from bench.launch.graph import GraphEngine
from bench.launch.jobs import Report
from bench.launch.memory import available_mib, expected_mib, resident_mib
from bench.launch.workers import Slot, Worker, Workers

RETRIES = 3  # of a stage whose process was killed; the last one has the machine to itself
LOOK_SECONDS = 0.25  # between looks at memory, at locks of others and at requests to stop


@dataclass
class ParallelEngine(GraphEngine):
    """A process for each stage, as many as there are slots and as memory allows."""

    slots: list[Slot] = field(default_factory=list)
    killed: dict[str, int] = field(default_factory=dict)  # stage -> how often its process was
    peaks: dict[tuple[str, str], int] = field(default_factory=dict)  # MiB, by kind and name
    told_to_stop: bool = False  # the workers

    def reports(self, wanted: Mapping[str, Stage]) -> Iterator[Report]:
        graph = TopologicalSorter({k: self._inputs(stage) for k, stage in wanted.items()})
        graph.prepare()
        self.needs = expected_mib(self.store, wanted.values())
        self.workers = Workers(self.progress, wanted.values())
        order = {key: n for n, key in enumerate(wanted)}
        self.ready: list[str] = []
        try:
            while True:
                self.ready = sorted(
                    filter(self.is_useful, [*self.ready, *graph.get_ready()]),
                    key=order.__getitem__,
                )
                if not self.workers.running and (self.stop.asked or not self.ready):
                    return
                for report in [*self._fill(), *self._ended()]:
                    if not report.error:
                        graph.done(report.key)
                    yield report
        finally:
            self.workers.kill()

    def _inputs(self, stage: Stage) -> list[str]:
        return [child.key for child in stage.inputs.values() if child.key in self.wanted]

    def _fill(self) -> Iterator[Report]:
        """Start what can start; a report of each stage that another command has made meanwhile."""
        if self.stop.asked:
            if not self.told_to_stop:
                self.told_to_stop = True
                self.progress.note(
                    f"{len(self.workers.running)} stage(s) save what they have, then all ends"
                )
                self.workers.ask_to_stop()
            return
        for key in list(self.ready):
            stage = self.wanted[key]
            if len(self.workers.running) >= len(self.slots) or self.stop.asked:
                return
            owner = self.store.owner(stage)
            if owner:
                self._note_once(key, f"{stage}: left to {owner}")
            elif self._hit(stage):
                self.ready.remove(key)
                yield Report(key)
            elif self._fits(stage):
                self.ready.remove(key)
                slot = next(
                    s for s in self.slots if all(w.slot is not s for w in self.workers.running)
                )
                runtime = self.runtime.model_copy(update={"threads": slot.threads})
                self.workers.begin(self.job(stage, runtime), slot)
                self.note_begun(key)
            else:
                return

    def _fits(self, stage: Stage) -> bool:
        """Whether memory allows one more; a single stage always runs."""
        running = self.workers.running
        if not running:
            return True
        if any(
            self.killed.get(key) == RETRIES for key in [stage.key, *(w.stage.key for w in running)]
        ):
            return False
        free = available_mib()
        if free is None:
            return True
        to_come = sum(max(0, self.needs[w.stage.key] - resident_mib(w.pid)) for w in running)
        if free - to_come >= self.needs[stage.key]:
            return True
        self._note_once("memory", f"{stage}: waits for memory, {self.needs[stage.key]} MiB")
        return False

    def _ended(self) -> Iterator[Report]:
        for worker in self.workers.wait_for_reports(LOOK_SECONDS):
            if worker.report and worker.report.taken:  # by one that began in the same moment
                self._note_once(worker.stage.key, worker.report.taken)
                self.ready.append(worker.stage.key)
            elif worker.report and not worker.report.stopped:
                for stage, record in worker.report.made:
                    self._learn(stage, int(record["peak_memory_mib"]))
                yield worker.report
            elif not self.stop.asked:
                yield from self._try_again(worker)

    def _learn(self, stage: Stage, peak: int) -> None:
        """What a stage took at most is what others of its kind and name are expected to take."""
        like = stage.kind, stage.name
        self.peaks[like] = max(peak, self.peaks.get(like, 0))
        self.needs |= {
            k: self.peaks[like] for k, s in self.wanted.items() if (s.kind, s.name) == like
        }

    def _try_again(self, worker: Worker) -> Iterator[Report]:
        """The process was killed, or asked to stop when this one was not."""
        stage, code = worker.stage, worker.exit_code or 0
        how = (
            "was asked to stop"
            if worker.report
            else f"was killed by signal {-code}"
            if code < 0
            else "died"
        )
        times = self.killed[stage.key] = self.killed.get(stage.key, 0) + 1
        if times > RETRIES:
            error = StageFailed(
                f"{stage}: its process {how}, {times} times in all, perhaps for want of memory; "
                "the same command goes on"
            )
            yield Report(stage.key, error=error)
        else:
            self.progress.note(f"{stage}: its process {how}; it goes on in another")
            self.ready.append(stage.key)
