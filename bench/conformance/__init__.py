"""The suite that every component passes, ours and those of other packages.

`bench check NAME` runs it on one component, `pytest --pyargs bench.conformance` on all that are
installed, and `run` from a package's own tests. What it looks at:

- declaration: name, docstring, settings, scales, what the kind must define, what is declared;
- training: a method with a crop of each kind, a crop with the plainest method; what a proposal
  generator proposes;
- resume: a training that is killed at any step and goes on ends with the same bits;
- running: a task's metrics of an untrained network, a set's stage and its splits.

Everything runs on a dozen generated scenes, on the CPU, in seconds or a few minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.core.errors import BadInput

CHOSEN = "BENCH_CHECK"  # the components to look at: KIND:NAME, separated by commas; none: all
DATA = "BENCH_CHECK_DATA"  # NAME=PATH of sets that bring no sample of their own


def run(
    components: str | Sequence[str] = (), data: str | Sequence[str] = (), *options: str
) -> int:
    """Run the suite in a process of its own; returns pytest's exit code, 0 where all passed.

    components: NAME or KIND:NAME, all where there is none. data: NAME=PATH for a set that has no
    `sample`. options: further arguments of pytest. Raises BadInput for an unknown name, and where
    pytest is not installed.
    """
    from bench.conformance.support import find_components

    names = [components] if isinstance(components, str) else list(components)
    places = [data] if isinstance(data, str) else list(data)
    chosen = find_components(names)
    if find_spec("pytest") is None:
        raise BadInput("the conformance suite needs pytest; try: pip install pytest")
    environment = {
        **os.environ,
        CHOSEN: ",".join(f"{kind}:{name}" for kind, name in chosen) if names else "",
        DATA: os.pathsep.join(filter(None, places)),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    environment.pop("PYTEST_ADDOPTS", None)
    with TemporaryDirectory() as empty:  # no settings of a project around
        command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", empty]
        fixed = ["-p", "no:cacheprovider", "-q", "--pyargs", __name__]
        done = subprocess.run(
            [*command, *fixed, *options], cwd=empty, env=environment, check=False
        )
    return done.returncode


def parse_places() -> dict[str, Path]:
    """The folders of `DATA`, by the set's name."""
    pairs = (text.partition("=") for text in os.environ.get(DATA, "").split(os.pathsep) if text)
    return {name: Path(path) for name, _, path in pairs}
