"""Data sets that a user gave a name: the set that reads them, their folder and their settings.

Each is a file `data/NAME.toml` in `BENCH_HOME`. A name stands for its set, path and settings in
every command, and is what boards call the data; it is part of no key.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contracts import registry
from bench.core.errors import BadData, BadInput, unknown
from bench.core.files import write_text
from bench.core.home import home_folder

NAME = re.compile(r"[\w.+-]{1,40}")  # of data and weights, where results are shown
FIELDS = {"set", "path", "settings"}
Settings = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class NamedSet:
    """`name` is data set `data` at `path` with `settings` (field, value as typed)."""

    name: str
    data: str
    path: Path
    settings: Settings = ()

    @property
    def owned(self) -> Settings:
        """The settings as `--set` takes them: SET.FIELD, value."""
        return tuple((f"{self.data}.{field}", value) for field, value in self.settings)

    @property
    def file(self) -> Path:
        """Where it is kept."""
        return _folder() / f"{self.name}.toml"

    def toml(self) -> str:
        """As its file holds it."""
        lines = [f"set = {_quote(self.data)}", f"path = {_quote(str(self.path))}"]
        if self.settings:
            lines += ["", "[settings]", *(f"{k} = {_quote(v)}" for k, v in self.settings)]
        return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    """A basic string of TOML, which has JSON's escapes."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _folder() -> Path:
    return home_folder() / "data"


def check_name(name: str) -> None:
    """BadInput for a name that boards do not show, or that a component of the kind data has."""
    if not NAME.fullmatch(name) or name.startswith("."):
        raise BadInput(
            f"a name has up to 40 letters, digits and . _ + -, got {name!r}; try: warehouse"
        )
    if name in registry.names("data"):
        raise BadInput(
            f"{name!r} is the name of a data set of bench; try another, such as my_{name}"
        )


def find_named(name: str) -> NamedSet | None:
    """The named set, None where nobody added it; BadData where its file is damaged."""
    file = _folder() / f"{name}.toml"
    if not NAME.fullmatch(name) or not file.is_file():
        return None
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        raise BadData(f"{file} cannot be read ({reason}); correct it or delete it") from None
    return _read(file, name, content)


def _read(file: Path, name: str, content: dict[str, Any]) -> NamedSet:
    more = sorted(set(content) - FIELDS)
    if more:
        raise BadData(f"{file} has {more[0]!r}, which is none of set, path and settings")
    settings = content.get("settings", {})
    texts = {"set": content.get("set"), "path": content.get("path")}
    wrong = [key for key, value in texts.items() if not isinstance(value, str)]
    if wrong:
        raise BadData(f"{file}: {wrong[0]} is {texts[wrong[0]]!r}, not a text")
    if not isinstance(settings, dict) or not all(isinstance(v, str) for v in settings.values()):
        raise BadData(f"{file}: settings is {settings!r}, not a table of texts")
    data = str(texts["set"])
    if data not in registry.names("data"):
        raise unknown(f"set in {file}", data, registry.names("data"), "bench data list")
    return NamedSet(name, data, Path(str(texts["path"])), tuple(settings.items()))


def named_names() -> list[str]:
    """The names alone; no file is read."""
    return sorted(file.stem for file in _folder().glob("*.toml"))


def save_named(named: NamedSet, replace: bool = False) -> None:
    """Keep a named set; BadInput where the name is taken (unless `replace`) or cannot be
    written."""
    check_name(named.name)
    if named.file.exists() and not replace:
        raise BadInput(
            f"{named.name!r} is a named set already, in {named.file}; try: --replace, or another "
            "name"
        )
    try:
        named.file.parent.mkdir(parents=True, exist_ok=True)
        write_text(named.file, named.toml(), shared=True)
    except OSError as error:
        raise BadInput(f"{named.file} cannot be written ({error.strerror})") from None


def remove_named(name: str) -> NamedSet:
    """Forget a named set, whose folder stays as it is; BadInput where there is none."""
    file = _folder() / f"{name}.toml"
    if not NAME.fullmatch(name) or not file.is_file():
        raise unknown("named set", name, named_names(), "bench data list")
    named = find_named(name)
    assert named is not None
    file.unlink()
    return named
