"""Generated pictures of one object each, for tasks with one label an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.core.params import param
from bench.data.sets.scenes import Scenes as _Scenes
from bench.data.sets.scenes import ScenesParams

if TYPE_CHECKING:
    from bench.data.scenes.draw import Scene


class ScenesObjectsParams(ScenesParams):
    """How many pictures, how large."""

    width: int = param(96, ge=48, le=1024, help="image width, pixels")
    height: int = param(96, ge=48, le=1024, help="image height, pixels")


class ScenesObjects(_Scenes):
    """One object of the scenes' 20 classes in each picture, its box over a fifth to a half of it
    and about its middle, as ImageNet and the fine-grained sets show theirs. A scene's single label
    is that of one object of many, which says little of the picture.
    """

    Params = ScenesObjectsParams
    params: ScenesObjectsParams

    def draw(self, number: int) -> Scene:
        from bench.data.scenes.draw import draw_object

        return draw_object(self.params.seed, number, (self.params.width, self.params.height))
