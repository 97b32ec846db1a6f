"""MoCo v2: tell a view's key from a queue of other images' keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from methods.ssl.moco_v2.params import MOCO_TINY, SMALL, MocoParams
from methods.ssl.moco_v2.views import MocoViews

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network


class MocoV2(Method):
    """Momentum Contrast v2 (Chen et al. 2020), as papers 000, 002 and 003 train it on COCO.

    L = -log [exp(q k+ / tau) / (exp(q k+ / tau) + sum_j exp(q m_j / tau))], the mean over the
    batch, with q = g(f(x1)), k+ = g'(f'(x2)) and m_j the K keys in the queue, all of unit length;
    f', g' are the moving averages of f, g. The keys of a step are enqueued after its logits.
    Defaults: SGD, rate .3 at 256 images, weight decay 1e-4 on everything, 800 epochs, cosine per
    epoch, no warm-up, tau .2, K 65536. Paper 002, table 4: COCO box AP 38.5 (Mask R-CNN R50-FPN
    1x, 800 epochs on COCO).
    """

    Params = MocoParams
    params: MocoParams
    scales = {"tiny": MOCO_TINY, "small": SMALL}

    @classmethod
    def peer(cls) -> Callable[..., Any]:
        from methods.ssl._lightly import moco

        return moco

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return MocoViews(self.params.image_size, (self.params.min_scale, 1.0))

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.moco_v2.network import MocoNetwork

        return MocoNetwork(self.params, n_images, heads)
