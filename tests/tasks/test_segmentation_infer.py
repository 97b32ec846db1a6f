"""Segmenting a whole image or its windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.core.errors import BadInput
from bench.data.semantic import pixel_targets
from tasks._segmentation import pipeline
from tasks._segmentation.data import TestImages
from tasks._segmentation.infer import infer, list_starts, list_windows, slide
from tasks._segmentation.model import Segmenter
from tests.tasks.segmentation import Pixels, context, micro

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (20, 90), (64, 64), (10, 10)])
def test_windows_cover_every_pixel_and_stay_inside(size: tuple[int, int]) -> None:
    count = np.zeros(size, int)
    for rows, columns in list_windows(size, (32, 32), (24, 20)):
        assert 0 <= rows.start < rows.stop <= size[0]
        assert 0 <= columns.start < columns.stop <= size[1]
        assert rows.stop - rows.start == min(32, size[0])
        assert columns.stop - columns.start == min(32, size[1])
        count[rows, columns] += 1
    assert count.min() >= 1


def test_where_windows_start() -> None:
    assert list_starts(1024, 512, 342) == [0, 342, 512]
    assert list_starts(2048, 1024, 683) == [0, 683, 1024]
    assert list_starts(100, 50, 50) == [0, 50]
    assert list_starts(50, 50, 50) == [0]
    with pytest.raises(BadInput, match="leave gaps"):
        list_windows((100, 100), (32, 32), (33, 32))


def test_sliding_equals_the_whole_image_for_a_pointwise_network() -> None:
    torch.manual_seed(0)
    net = torch.nn.Conv2d(3, 7, 1).double()
    image = torch.randn(1, 3, 45, 70, dtype=torch.float64)
    found, count = slide(lambda x: net(x), image, (32, 32), (24, 20))
    assert torch.allclose(found, net(image).float(), atol=1e-6)
    expected = np.zeros((45, 70))
    for y in (0, 13):
        for x in (0, 20, 38):
            expected[y : y + 32, x : x + 32] += 1
    assert np.array_equal(count.numpy(), expected)
    p = micro(inference="slide")
    assert torch.equal(infer(lambda x: net(x), image, p), slide(net, image, p.window, p.stride)[0])
    whole = infer(lambda x: net(x), image, micro(inference="whole"))
    assert torch.equal(whole, net(image))


def test_windows_are_averaged() -> None:
    """A network that returns the window's mean: a pixel gets the mean over its windows."""
    image = torch.arange(6.0).view(1, 1, 1, 6)
    found, _ = slide(lambda x: x.mean().expand_as(x), image, (1, 4), (1, 2))
    assert found.flatten().tolist() == pytest.approx([1.5, 1.5, 2.5, 2.5, 3.5, 3.5])


@pytest.mark.parametrize("inference", ["whole", "slide"])
def test_predictions_have_the_size_of_the_mask(inference: str, tmp_path: Path) -> None:
    images, p = Pixels(tmp_path, 3, without=(1,)), micro(inference=inference)
    model = Segmenter("resnet18", 21, p).eval()
    shapes = {}
    with torch.no_grad():
        for index, predicted, truth in pipeline.predict(
            context(tmp_path / "c"), model, images, p, CPU
        ):
            shapes[index] = tuple(predicted.shape)
            assert np.array_equal(truth.numpy(), pixel_targets(images, index))
    assert shapes == {i: tuple(images.sizes[i][::-1]) for i in (0, 2)}
    _, small, target = TestImages(images, np.array([2]), p)[0]
    assert min(small.shape[1:]) == 48
    assert tuple(target.shape) == shapes[2]


def test_windows_that_are_not_square_by_hand() -> None:
    """An image of 10 x 30, windows of 8 x 20 every 2 x 10, rows first; strides as long as windows
    leave no gap, longer ones do, in either direction."""
    found = list_windows((10, 30), (8, 20), (2, 10))
    places = [(r.start, r.stop, c.start, c.stop) for r, c in found]
    assert places == [(0, 8, 0, 20), (0, 8, 10, 30), (2, 10, 0, 20), (2, 10, 10, 30)]
    assert len(list_windows((16, 40), (8, 20), (8, 20))) == 4
    for stride in ((9, 20), (8, 21)):
        with pytest.raises(BadInput, match="leave gaps"):
            list_windows((16, 40), (8, 20), stride)
