"""bench doctor: versions, devices, detection libraries, tracker, data and store."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import click

from bench import __version__
from bench.cli._options import JSON
from bench.cli._table import echo_terms, print_json
from bench.contracts import registry
from bench.core.errors import BadData, Unavailable
from bench.core.home import home_folder
from bench.core.redact import redact_url
from bench.core.spinning import describe_waiting
from bench.launch.session import open_runtime

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "wandb",
    "optuna",
    "opencv-contrib-python",
    "numpy",
    "pycocotools",
    "streamlit",
    "sqlalchemy",
    "pydantic",
)


@click.command()
@JSON()
def command(as_json: bool) -> None:
    """Report versions, devices, tracker, data sets and the store of this machine.

    Add what it prints to a report of a problem.
    """
    report: dict[str, str | dict[str, str]] = {
        "bench": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": _devices(),
        "detectron2": "installed"
        if find_spec("detectron2")
        else "not installed (engine torchvision is used)",
        "tracker": _tracker(),
        "data": {name: _data(name) for name in registry.names("data")} | _named_data(),
        "unavailable": _unavailable(),
        "store": _store(),
    }
    if as_json:
        print_json(report)
        return
    for section, value in report.items():
        if isinstance(value, dict):
            click.echo(f"{section}:")
            echo_terms(value.items())
        else:
            click.echo(f"{section}: {value}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing; try: pip install " + name


def _devices() -> dict[str, str]:
    # before PyTorch is loaded, which would use the cores itself
    waiting = describe_waiting()
    import torch

    processor = platform.processor() or platform.machine()
    devices = {
        "cpu": f"{len(os.sched_getaffinity(0))} cores, {processor}",
        "waiting threads": waiting,
    }
    for i in range(torch.cuda.device_count()):
        devices[f"cuda:{i}"] = torch.cuda.get_device_name(i)
    return devices


def _tracker() -> str:
    mode = open_runtime().tracker
    if mode != "wandb":
        return f"{mode} (BENCH_TRACKER)"
    from bench.launch.wandb_login import find_tracking

    return f"wandb, {find_tracking()}"


def _unavailable() -> dict[str, str] | str:
    """Why components that are there cannot be used, by kind and name."""
    reasons = {
        f"{kind} {name}": reason
        for kind in registry.PLURAL
        for name, reason in registry.load_all(kind)[1].items()
    }
    return reasons or "no component"


def _named_data() -> dict[str, str]:
    from bench.plan.named import find_named, named_names

    rows = {}
    for name in named_names():
        try:
            named = find_named(name)
        except BadData as error:
            rows[name] = str(error)
        else:
            rows[name] = f"{named.data} at {named.path}" if named else "removed"
    return rows


def _data(name: str) -> str:
    try:
        cls: Any = registry.load("data", name)
    except Unavailable as error:
        return str(error)
    if not cls.needs_path:
        return "generated here"
    folder = cls.default_place()
    if folder and folder.exists():
        return str(folder)
    return f"not found; give --data {name}=PATH, or put it in $BENCH_DATA/{cls.folder or name}"


def _store() -> dict[str, str]:
    from bench.core.store import Store

    home = home_folder()
    store = Store(home)
    stages = sum(1 for _ in store.committed())
    free = shutil.disk_usage(home).free / 2**30
    database = open_runtime().database
    return {
        "home": str(home),
        "stages": str(stages),
        "free": f"{free:.1f} GiB",
        "database": redact_url(database),
    }
