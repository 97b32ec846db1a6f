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
from tempfile import TemporaryDirectory

from bench.core.errors import BadInput


def run(
    components: str | Sequence[str] = (), data: str | Sequence[str] = (), *options: str
) -> int:
    """Run the suite in a process of its own; returns pytest's exit code, 0 where all passed.

    components: NAME or KIND:NAME, all where there is none. data: NAME=PATH for a set that has no
    `sample`. options: further arguments of pytest. Raises BadInput for an unknown name, and where
    pytest is not installed.
    """
    from bench.conformance.support import CHOSEN, DATA, find_components

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
