"""The low-shot experiment: every (k, sample, class, cost), resumable, and the two ways to choose a
cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np

from bench.contracts.context import StageContext
from bench.core.errors import BadInput
from tasks._frozen.protocol import Solver
from tasks._frozen.rows import Kernel, prepare
from tasks._frozen.svm import draw_sample, pick_by_cv, train_shot
from tasks._shared.ranking import ApKind, class_ap


@dataclass
class Experiment:
    """labels: (N, K), truth: (M, K), of `image_labels`. After `run`: ap (k, sample, cost), the
    mean AP over classes on the test set, and cv (k, sample, cost), the same on held-out folds of
    the sample; in [0, 1]."""

    labels: np.ndarray
    truth: np.ndarray
    ks: tuple[int, ...]
    seeds: tuple[int, ...]
    costs: np.ndarray
    kind: ApKind
    ap: np.ndarray = field(init=False)
    cv: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        if (
            not self.ks
            or not self.seeds
            or min(self.ks) < 1
            or len(set(self.ks)) < len(self.ks)
            or max(self.ks) < 2
        ):
            raise BadInput(
                "ks are different numbers, one of them above 1 (k = 1 cannot choose a cost), "
                f"and there is at least one seed; got ks {self.ks} and seeds {self.seeds}; "
                "try: --set ks=1,2,4"
            )
        self.ks = tuple(sorted(self.ks))
        self.ap = np.zeros((len(self.ks), len(self.seeds), len(self.costs)))
        self.cv = np.zeros_like(self.ap)

    def run(
        self,
        ctx: StageContext,
        train: np.ndarray,
        test: np.ndarray,
        ids: np.ndarray,
        solver: Solver,
    ) -> None:
        """Train and score every sample; leaves `samples.npz`: rows (S, 5) of k, seed, class, image
        id, sign."""
        samples = {(k, s): draw_sample(self.labels, k, s) for k in self.ks for s in self.seeds}
        np.savez_compressed(
            ctx.work / "samples.npz",
            rows=np.concatenate([_list_sample(*a, b, ids) for a, b in samples.items()]),
        )
        kernel, rows = Kernel(train), prepare(test)
        advance = ctx.progress.task("low-shot samples", len(samples))
        for (k, seed), sample in samples.items():
            at = self.ks.index(k), self.seeds.index(seed)
            file = ctx.scratch / f"k{k}-seed{seed}.npy"
            curves = _load_saved(file, len(self.costs))
            if curves is None:
                shot = train_shot(kernel, rows, sample, self.costs, solver)
                ap = [
                    float(np.nanmean(class_ap(self.truth, scores, self.kind)))
                    for scores in shot.scores
                ]
                curves = np.stack([ap, shot.cv.mean(1)])
                partial = ctx.scratch / "part.npy"
                np.save(partial, curves)
                partial.replace(file)
            self.ap[at], self.cv[at] = curves
            advance(1)


def _list_sample(k: int, seed: int, sample: np.ndarray, ids: np.ndarray) -> np.ndarray:
    image, c = np.nonzero(sample)
    return np.stack(
        [np.full(len(c), k), np.full(len(c), seed), c, np.asarray(ids)[image], sample[image, c]], 1
    )


def _load_saved(file: Path, n: int) -> np.ndarray | None:
    try:
        curves: np.ndarray = np.load(file)
        return curves if curves.shape == (2, n) else None
    except (OSError, ValueError):
        return None


class ShotReport(TypedDict):
    """What per_k.json says of one k: mAP in percent of each sample by either way to choose a cost,
    and the costs."""

    seeds: list[int]
    cv: list[float]
    test: list[float]
    cv_costs: list[float]
    test_cost: float


def summarise(e: Experiment, selection: str) -> tuple[dict[str, float], dict[str, ShotReport]]:
    """Metrics in percent, and per k the figures of every sample with the costs chosen."""
    picks = [pick_by_cv([e.cv[i, s] for i in range(len(e.ks))]) for s in range(len(e.seeds))]
    metrics: dict[str, float] = {}
    table: dict[str, ShotReport] = {}
    for i, k in enumerate(e.ks):
        # one cost for all classes and samples, by the test set
        best = int(e.ap[i].mean(0).argmax())
        on_test = 100 * e.ap[i, :, best]
        by_cv = np.array([100 * e.ap[i, s, picks[s][i]] for s in range(len(e.seeds))])
        metrics[f"mAP_k{k}"] = float((on_test if selection == "test" else by_cv).mean())
        metrics[f"mAP_k{k}_test_cost"] = float(on_test.mean())
        table[str(k)] = {
            "seeds": list(e.seeds),
            "cv": by_cv.tolist(),
            "test": on_test.tolist(),
            "cv_costs": [float(e.costs[picks[s][i]]) for s in range(len(e.seeds))],
            "test_cost": float(e.costs[best]),
        }
    metrics["mAP"] = float(np.mean([metrics[f"mAP_k{k}"] for k in e.ks]))
    return metrics, table
