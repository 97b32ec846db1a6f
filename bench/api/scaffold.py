"""Write a component to start from: a file, or a package that can be installed."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from bench import __version__
from bench.contracts import registry
from bench.core.errors import BadInput

KINDS = ("method", "crop", "task", "data")
HOMES = {  # where a checkout of bench has its own components
    "method": "methods/ssl",
    "crop": "methods/crops",
    "task": "tasks",
    "data": "bench/data/sets",
}
FOLDERS = {kind: folder for folder, kind in registry.FOLDERS.items()}
ENDING = ".txt"  # of templates, which are no modules of this package
GROUP = f'[project.entry-points."{registry.GROUP}"]'


def new_component(kind: str, name: str, package: Path | None = None) -> list[Path]:
    """Write component `name` of a kind, which passes the conformance suite; returns the files.

    package: a folder that becomes an installable package, or that is one of this kind already;
    None: the component's place in a checkout of bench, where the command is run. Nothing is ever
    overwritten. Raises BadInput for a name that is taken or no Python name, and where a file
    exists.
    """
    if kind not in KINDS:
        raise BadInput(f"a component is one of {', '.join(KINDS)}, got {kind!r}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise BadInput(
            f"a component's name has small letters, digits and _ and begins with a letter, got "
            f"{name!r}; try: {_suggest(name)}"
        )
    if (kind, name) in registry.entries():
        taken = registry.entries()[kind, name].file
        raise BadInput(f"there is a {kind} {name!r} in {taken}; try another name")
    texts = _component_files(kind, name)
    if package is None:
        texts = {f"{HOMES[kind]}/{file}": text for file, text in texts.items()}
        root = Path.cwd()
        if not (root / HOMES[kind]).is_dir():
            raise BadInput(
                f"{root} is no checkout of bench, which has {HOMES[kind]}/; try: bench new {kind} "
                f"{name} --package FOLDER"
            )
    else:
        root = package
        texts = _package_files(kind, name, package, texts)
    return _write(root, texts)


def _suggest(name: str) -> str:
    letters = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return letters if letters[:1].isalpha() else "mine"


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _fill(template: Traversable, values: dict[str, str]) -> str:
    return Template(template.read_text(encoding="utf-8")).substitute(values)


def _component_files(kind: str, name: str) -> dict[str, str]:
    """The component's files below the folder of its kind."""
    values = {"name": name, "cls": _class_name(name)}
    templates = sorted(files(__package__).joinpath("templates", kind).iterdir(), key=str)
    names = [t.name.removesuffix(ENDING) for t in templates if t.name.endswith(ENDING)]
    prefix = f"{name}/" if len(names) > 1 else ""
    return {
        prefix + Template(file).substitute(values): _fill(template, values)
        for file, template in zip(names, templates, strict=True)
    }


def _package_files(kind: str, name: str, root: Path, texts: dict[str, str]) -> dict[str, str]:
    """The component in its package, and what the package lacks to be installed and tested."""
    package = re.sub(r"\W+", "_", root.resolve().name.lower()).strip("_")
    if not package.isidentifier():
        raise BadInput(f"--package {root} is no name of a Python package; try: --package mylab")
    project = root / "pyproject.toml"
    if project.exists() and GROUP not in project.read_text(encoding="utf-8"):
        raise BadInput(
            f'{project} names no package of components; add {GROUP} with {package} = "{package}"'
        )
    values = {
        "name": name,
        "kind": kind,
        "plural": registry.PLURAL[kind],
        "package": package,
        "distribution": package.replace("_", "-"),
        "version": __version__,
    }
    templates = files(__package__).joinpath("templates", "package")
    folder = FOLDERS[kind]
    about = f'"""Components for bench: {package}."""\n'
    around = {
        "pyproject.toml": _fill(templates / f"pyproject.toml{ENDING}", values),
        "README.md": _fill(templates / f"README.md{ENDING}", values),
        "tests/test_conformance.py": _fill(templates / f"test_conformance.py{ENDING}", values),
        f"{package}/__init__.py": about,
        f"{package}/{folder}/__init__.py": "",
    }
    missing = {file: text for file, text in around.items() if not (root / file).exists()}
    return {**missing, **{f"{package}/{folder}/{f}": text for f, text in texts.items()}}


def _write(root: Path, texts: dict[str, str]) -> list[Path]:
    """All files or none: one that exists stops it."""
    paths = {root / file: text for file, text in texts.items()}
    for path in paths:
        if path.exists():
            raise BadInput(f"{path} exists; nothing was written")
    for path, text in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(paths)
