"""Two processes with half a batch each learn what one learns from the whole: every method, in
float64."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.conformance.support import overrides
from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.network import Batch, Network, Views
from bench.core.params import Runtime
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.nn.distributed import gather_rows, rank_and_size
from bench.nn.sync_norm import synchronise
from bench.plan.cell import Cell
from bench.plan.planner import Planner
from bench.stages.pretrain.setup import build_crop, build_method, prepare
from bench.views.loader import BatchOrder, make_loader, to_device
from tests.core.test_store import Heard
from tests.nn.ranks import on_ranks

STEPS, LR = 2, 0.05
LIVE = {
    "bn_groups": 2,
    "cutout_p": 1.0,
    "queue_from_epoch": 0,
    "freeze_epochs": 0.0,
    "queue": 8,
    "n_small": 1,
}
EVERY = [n for n in registry.names("method") if registry.load("method", n).trains]  # type: ignore[attr-defined]
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{name: (name, "image", {}) for name in EVERY},
    "two heads": ("byol", "obj_scene", {}),
    "two heads, queue": ("moco_v2", "obj_scene", {}),
    "multi-crop": ("byol", "multi", {}),
    "whole-batch statistics": ("moco_v2", "image", {"shuffle": "sync", "symmetric": True}),
    "one group": ("ccop", "image", {"bn_groups": 1, "queue_overflow": "wrap", "dropout": 0.2}),
    "cells as negatives": ("densecl", "image", {"neg": "cells"}),
    "statistics of the batch": ("lewel", "image", {"target_bn": "own"}),
    "estimated constant": ("cmc", "image", {"partition": "average"}),
}


APART = ("byol", "whole-batch statistics")


@dataclass
class Learner:
    """A network's description, and the first batches of its training."""

    params: dict[str, Any]
    n_images: int
    batches: list[Batch]

    def network(self) -> Network:
        torch.manual_seed(0)
        made = build_method(self.params["method"]).network(
            self.n_images, build_crop(self.params["crop"]).heads()
        )
        return made.double().train()


def sampled(network: Network) -> dict[str, Tensor]:
    """Up to a few thousand values of every parameter and buffer, evenly taken."""
    flat = {k: v.flatten() for k, v in network.state_dict().items()}
    return {k: v[:: len(v) // 2048 + 1].clone() for k, v in flat.items()}


def learn(
    learner: Learner, synced: bool = True
) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """SGD steps as the engine takes them, gradients averaged over ranks as DDP does: what each
    step logs, and `sampled` at the end."""
    rank, size = rank_and_size()
    network = learner.network()
    if size > 1 and synced:
        synchronise(network, "cpu")
    parameters = [p for _, p in network.trainable()]
    logged = []
    for whole in learner.batches:
        torch.manual_seed(1000 + whole.step)
        parts = network.loss(share(whole, rank, size))
        # one that is not used would be an error
        found = torch.autograd.grad(parts["loss"], parameters)
        average = torch.cat([grad.flatten() for grad in found])
        if size > 1:
            torch.distributed.all_reduce(average)
        with torch.no_grad():
            for p, step in zip(
                parameters, average.split([p.numel() for p in parameters]), strict=True
            ):
                p.sub_(LR / size * step.view_as(p))
        network.after_step(whole.step, whole.total_steps)
        logged.append({k: float(gather_rows(v.detach()[None]).mean()) for k, v in parts.items()})
    return logged, sampled(network)


def share(batch: Batch, rank: int, size: int) -> Batch:
    """The rank's rows of a whole batch."""

    def rows(x: Tensor) -> Tensor:
        return x.chunk(size)[rank]

    views = {
        role: Views(*(rows(getattr(view, f.name)) for f in fields(Views)))
        for role, view in batch.views.items()
    }
    extra = {name: rows(x) for name, x in batch.extra.items()}
    return Batch(views, extra, batch.step, batch.total_steps)


def learn_all(file: str, synced: bool) -> Any:
    cases = torch.load(file, weights_only=False)
    torch.set_default_dtype(torch.float64)
    return {name: learn(case, synced) for name, case in cases.items()}


def in_double(batch: Batch) -> Batch:
    for view in batch.views.values():
        view.images, view.boxes = view.images.double(), view.boxes.double()
    extra = {k: v.double() if v.is_floating_point() else v for k, v in batch.extra.items()}
    return Batch(batch.views, extra, batch.step, batch.total_steps)


def make_case(home: Path, method: str, crop: str, settings: dict[str, Any]) -> Learner:
    """Two steps on a dozen scenes."""
    runtime = Runtime(home=home, database="sqlite://", workers=0, tracker="none", devices="cpu")
    known = registry.load("method", method).Params.model_fields
    live = {f"{method}.{k}": str(v) for k, v in {**LIVE, **settings}.items() if k in known}
    sets = {
        **dict(overrides()),
        **live,
        f"{method}.batch_size": "8",
        f"{method}.epochs": str(STEPS),
    }
    planner = Planner(
        Cell(method, crop, "coco_det", "scenes", "scenes", "tiny", 0, tuple(sets.items())), runtime
    )
    stage = planner.pretrain(method, crop, planner.data("scenes"), main=True)
    engine = LocalEngine(runtime, Store(home), Heard())
    inputs = {role: engine.ensure(child) for role, child in stage.inputs.items()}
    ctx = StageContext(stage, home, inputs, runtime)
    setup = prepare(ctx, build_method(ctx.params["method"]), ctx.images("data", "train"))
    order = BatchOrder(len(setup.sampler), 8, STEPS, 0)
    loader = make_loader(setup.images, setup.sampler, setup.viewer, 0, order, 0)
    batches = [in_double(to_device(b, "cpu", i, STEPS)) for i, b in enumerate(loader)]
    return Learner(dict(stage.params), len(setup.images), batches)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By case: before, one process, two processes (rank 0, rank 1), two without synchronised
    statistics."""
    home = tmp_path_factory.mktemp("ranks")
    cases = {name: make_case(home, *case) for name, case in CASES.items()}
    torch.save(cases, home / "cases.pt")
    pair = on_ranks(home, 2, learn_all, str(home / "cases.pt"), True, seconds=400)
    (home / "meet").unlink(missing_ok=True)
    torch.save({name: cases[name] for name in APART}, home / "apart.pt")
    loose = on_ranks(home, 2, learn_all, str(home / "apart.pt"), False, seconds=200)
    found = {}
    torch.set_default_dtype(torch.float64)
    try:
        for name, case in cases.items():
            found[name] = (
                sampled(case.network()),
                learn(case),
                [r[name] for r in pair],
                loose[0].get(name),
            )
    finally:
        torch.set_default_dtype(torch.float32)
    return found


def distance(a: dict[str, Tensor], b: dict[str, Tensor], before: dict[str, Tensor]) -> float:
    """The largest difference of a tensor, relative to how far that tensor (or a hundredth of the
    farthest) has moved."""
    moved = {k: (a[k] - v).abs().max().item() for k, v in before.items() if v.is_floating_point()}
    least = max(moved.values()) / 100
    return max((a[k] - b[k]).abs().max().item() / max(size, least) for k, size in moved.items())


@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_does(learnt: dict[str, Any], case: str) -> None:
    """Losses, everything logged, parameters, batch-norm statistics, queues and banks; both ranks
    alike.

    Losses are computed in float32 even where the network is in float64, hence 1e-4 and not 1e-12.
    """
    before, (logged, state), ranks, _ = learnt[case]
    assert any(not torch.equal(v, before[k]) for k, v in state.items() if k.startswith("backbone"))
    for theirs, their_state in ranks:
        for one, two in zip(logged, theirs, strict=True):
            assert two == pytest.approx(one, rel=1e-5, abs=1e-6)
        assert their_state.keys() == state.keys()
        assert distance(state, their_state, before) < 1e-4
        assert all(
            torch.equal(v, their_state[k]) for k, v in state.items() if not v.is_floating_point()
        )


@pytest.mark.parametrize("case", APART)
def test_it_would_notice_statistics_that_are_not_synchronised(
    learnt: dict[str, Any], case: str
) -> None:
    before, (_, state), _, (_, loose) = learnt[case]
    assert distance(state, loose, before) > 0.05
