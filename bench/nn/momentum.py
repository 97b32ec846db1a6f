"""Query and key encoders: the key encoder follows the query encoder by a moving average."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench.contracts.method import BackboneInit
from bench.contracts.network import Network, Views
from bench.nn.distributed import Shuffle
from bench.nn.ema import ema_update
from bench.nn.heads import make_head
from bench.nn.split_norm import split_batch_norm

Encoded = tuple[Tensor, ...]


@dataclass(frozen=True)
class Contrast:
    """What a step contrasts. pairs: (query, key) of each direction,
    tuples as `encode` returns them, rows of one image at the same place.
    keys: every key encoding, to be enqueued after the logits."""

    pairs: list[tuple[Encoded, Encoded]]
    keys: list[Encoded]


class QueryKey(Network):
    """A query backbone and projector, and a key encoder of the same shape that follows them.

    Order within a step (He et al. 2020, algorithm 1): queries; key <- m key + (1 - m)
    query, parameters only (so step k moves towards the query parameters after step k - 1);
    keys, without gradient. `after_step` does nothing.
    The key encoder runs in train mode with its own batch-norm buffers.

    Keys must not be told from negatives by batch-norm statistics that they
    share with their queries:

    - shuffle "shuffle_bn": the statistics of both encoders are per group of images (`bn_groups`
      groups in the batch over all devices; `group_count` has the rule), and the key encoder sees
      the batch in random order, drawn over all devices. With as many devices as groups this is the
      published shuffling BN; one device with split batch norm computes the same.
    - "sync": no order is drawn, and batch norm is left as torchvision builds it: statistics of the
      whole batch, which the engine synchronises where there are several devices (paper 000).

    Subclasses add parts by `add` and write `encode` and `loss`.
    """

    def __init__(
        self,
        backbone: str,
        projector: Callable[[int], nn.Module],
        momentum: float,
        shuffle: Literal["shuffle_bn", "sync"] = "shuffle_bn",
        bn_groups: int = 8,
        heads: int = 1,
        init: BackboneInit = "torchvision",
    ) -> None:
        super().__init__()
        # torchvision takes a second; plans need none
        from bench.nn.backbones import build_backbone

        built = build_backbone(backbone, init)
        self.feature_dim = built.feature_dim
        self.parts: list[str] = []
        self.shuffle, self.momentum = shuffle, momentum
        self.add(
            "backbone", split_batch_norm(built, bn_groups) if shuffle == "shuffle_bn" else built
        )
        self.add("projector", make_head(lambda: projector(self.feature_dim), heads))

    def add(self, name: str, part: nn.Module) -> None:
        """Make `part` the query encoder's `name`,
        and a copy of it the key encoder's `key_<name>`."""
        self.add_module(name, part)
        self.add_module(f"key_{name}", copy.deepcopy(part).requires_grad_(False))
        self.parts.append(name)

    def encode(
        self, nets: Mapping[str, nn.Module], images: Tensor, objects: Tensor | None
    ) -> Encoded:
        """Tensors of B rows from (B, 3, H, W); `nets`:
        an encoder's parts by name; `objects` picks heads."""
        raise NotImplementedError

    def query(self, images: Tensor, objects: Tensor | None = None) -> Encoded:
        """`encode` with the query encoder, with gradient."""
        return self.encode({n: getattr(self, n) for n in self.parts}, images, objects)

    @torch.no_grad()
    def key(self, images: Tensor, objects: Tensor) -> Encoded:
        """`encode` with the key encoder; in train mode and shuffled, the batch goes through in
        random order and the rows come back in theirs."""
        nets = {n: getattr(self, f"key_{n}") for n in self.parts}
        if self.shuffle == "sync" or not self.training:
            return self.encode(nets, images, objects)
        order = Shuffle(len(images), images.device)
        encoded = self.encode(nets, order.there(images), order.there(objects))
        return tuple(order.home(x) for x in encoded)

    def update_keys(self) -> None:
        """Move the key encoder's parameters one step towards the query encoder's."""
        for name in self.parts:
            ema_update(getattr(self, f"key_{name}"), getattr(self, name), self.momentum)

    def contrast(self, views: Mapping[str, Views], symmetric: bool = False) -> Contrast:
        """Queries of "view1" with keys of "view2" (and, symmetric, the other way round), in that
        order; between them the key encoder moves (train mode only).

        Multi-crop's "small1", ... are further queries for the same keys. Each view is forwarded
        separately, so that batch-norm statistics are per view.
        """
        first, second = views["view1"], views["view2"]
        q1 = self.query(first.images, first.objects)
        q2 = self.query(second.images, second.objects) if symmetric else None
        small = [
            self.query(v.images, v.objects) for r, v in views.items() if r.startswith("small")
        ]
        if self.training:
            self.update_keys()
        k2 = self.key(second.images, second.objects)
        pairs, keys = [(q, k2) for q in (q1, *small)], [k2]
        if q2 is not None:
            k1 = self.key(first.images, first.objects)
            pairs += [(q, k1) for q in (q2, *small)]
            keys.append(k1)
        return Contrast(pairs, keys)
