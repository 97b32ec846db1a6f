"""Run a function on several gloo ranks on this machine, with a time limit, for tests of
distributed parts."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.forked import CONTEXT


def _rank(
    rank: int, world: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # 127.0.0.1
    torch.set_num_threads(1)
    limit = timedelta(seconds=60)
    dist.init_process_group(
        "gloo", f"file://{folder}/meet", timeout=limit, rank=rank, world_size=world
    )
    try:
        torch.save(function(*arguments), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def on_ranks(
    folder: Path, world: int, function: Callable[..., Any], *arguments: Any, seconds: float = 90
) -> list[Any]:
    """`function(*arguments)` of every rank, by rank; a rank that fails or takes over `seconds`
    fails the call, and none is left running."""
    ranks = [
        CONTEXT.Process(
            target=_rank, args=(i, world, str(folder), function, arguments), daemon=True
        )
        for i in range(world)
    ]
    try:
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(seconds)
        assert [process.exitcode for process in ranks] == [0] * world
    finally:
        for process in ranks:
            if process.is_alive():
                process.kill()
            process.join()
    return [torch.load(folder / f"{i}.pt", weights_only=True) for i in range(world)]
