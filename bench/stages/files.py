"""Files that a user gives (models, weights) as stages:
their content is identity, their place is not."""

from __future__ import annotations

import shutil

from bench.contracts.context import StageContext
from bench.core.errors import BadInput
from bench.core.files import expand_path, hash_file
from bench.core.params import Runtime, digest
from bench.core.stage import Stage
from bench.data.files import fingerprint


def file_stage(name: str, source: str, runtime: Runtime, setting: str) -> Stage:
    """A stage `file/<name>`: a copy of the file or folder `source`, keyed by its content.

    `setting` is the setting that named it; BadInput says so where there is no such file.
    """
    path = expand_path(source)
    if not path.exists():
        raise BadInput(f"{setting}: {path} does not exist; try: --set {setting}=PATH")
    files = [path] if path.is_file() else sorted(f for f in path.iterdir() if f.is_file())
    mark = fingerprint(files, [], runtime.home / "cache")
    stage = Stage("file", name, 1, {"fingerprint": mark}, "bench.stages.files:run")
    runtime.roots[stage.key] = path
    return stage


def run(ctx: StageContext) -> None:
    """Copy the file, or the files of the folder; BadInput unless the copies are what the key
    says."""
    path = ctx.runtime.roots[ctx.stage.key]
    if path.is_dir() and ctx.stage.name == "weights":
        from bench.nn.given import checkpoint_files

        sources = checkpoint_files(path)
    else:
        sources = sorted(f for f in ([path] if path.is_file() else path.iterdir()) if f.is_file())
    for file in sources:
        shutil.copyfile(file, ctx.work / file.name)
    hashes = [[file.name, hash_file(ctx.work / file.name)] for file in sources]
    # a stage of weights is keyed by the content alone, others by names and contents
    if ctx.params["fingerprint"] not in (digest(hashes), *(h for _, h in hashes[:1])):
        for file in sources:
            (ctx.work / file.name).unlink()
        raise BadInput(f"{path} changed since this run began; run the same command again")
