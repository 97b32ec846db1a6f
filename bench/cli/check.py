"""bench check: a component goes through the conformance suite."""

from __future__ import annotations

import sys

import click

from bench.cli._options import Choices


def _names() -> list[str]:
    from bench.contracts import registry

    return sorted({name for _, name in registry.entries()})


@click.command()
@click.argument("names", nargs=-1, required=True, type=Choices("name", _names))
@click.option(
    "--data",
    "places",
    multiple=True,
    metavar="NAME=PATH",
    help="Folder of a data set that writes no sample of its own, for example mine=/data/mine.",
)
def command(names: tuple[str, ...], places: tuple[str, ...]) -> None:
    """Run the conformance suite on components, for example bench check quarters.

    A component is called NAME, or KIND:NAME (for example crop:random) where several have the name.
    It is trained, killed and resumed, or run, on a dozen generated scenes. pytest --pyargs
    bench.conformance does the same for every component that is installed. The exit code is 0 where
    everything passed.
    """
    from bench.conformance import run

    sys.exit(run(names, places))
