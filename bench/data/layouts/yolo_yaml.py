"""The description of a YOLO set: class names, and which images are which split.

`data.yaml` is what Ultralytics reads and Roboflow, CVAT and others write. Older exports (Label
Studio, LabelImg, Darknet) have the names in a text file, one a line, and no description.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.errors import BadData
from bench.data.findings import Findings
from bench.data.layouts.own import SPLIT_NAMES, BadPath, clean_path
from bench.data.layouts.recognise import suggest

DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAMES = ("classes.txt", "obj.names", "labels/classes.txt")
KEYS = {"train": ("train",), "val": ("val", "valid", "validation", "test")}
FOLDERS = ("images/{}", "{}/images", "{}.txt", "{}")  # of a set without a description


@dataclass
class Described:
    """names: the classes by number. entries: what each split's images are, as it is written; none
    where there is no description. base: the folder that they are relative to, relative to the
    root. file: what says all this, for errors."""

    file: Path
    names: list[str]
    entries: dict[str, list[str]] = field(default_factory=dict)
    base: str = ""
    path: str = ""
    pose: bool = False


def find_description(root: Path) -> str:
    """The description of a root, relative to it; BadData where there is none."""
    named = [name for name in (*DESCRIPTIONS, *NAMES) if (root / name).is_file()]
    if named:
        return named[0]
    others = sorted(f.name for f in root.iterdir() if f.suffix.lower() in (".yaml", ".yml"))
    if len(others) == 1:
        return others[0]
    if others:
        raise BadData(
            f"{root} has {', '.join(others[:6])}; say which one describes the set: --set "
            f"yolo.yaml={others[0]}"
        )
    other = suggest(root, "yolo") or "try: --data yolo=FOLDER"
    raise BadData(f"no data.yaml and no classes.txt in {root}; {other}")


def read_description(root: Path, name: str, findings: Findings) -> Described:
    """The description `name`, which is a YAML file or a list of class names; faults of its values
    go to `findings`."""
    file = root / name
    base = posixpath.dirname(name)
    if file.suffix.lower() not in (".yaml", ".yml"):
        lines = read_text(file).splitlines()
        described = Described(file, [line.strip() for line in lines if line.strip()], base="")
        _check_names(described, findings)
        return described
    content = _load(file)
    described = Described(file, _names(file, content, findings), base=base)
    _check_names(described, findings)
    path = content.get("path")
    if path is not None and not isinstance(path, str):
        findings.add("path is no text", f"{file}: path is {_show(path)}, not a text")
    described.path = path if isinstance(path, str) else ""
    described.pose = content.get("kpt_shape") is not None
    for split, keys in KEYS.items():
        key = next((key for key in keys if content.get(key) is not None), None)
        if key is not None:
            described.entries[split] = _entry(file, key, content[key], findings)
    return described


def read_text(file: Path) -> str:
    """A text file; BadData where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise BadData(f"{file} cannot be read ({error}); save it as UTF-8") from None


def _load(file: Path) -> dict[str, Any]:
    import yaml  # takes a moment to import

    try:
        content = yaml.safe_load(read_text(file))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BadData(f"{file} is not YAML ({reason}); correct it") from None
    if not isinstance(content, dict):
        raise BadData(f"{file} describes no YOLO set: it has no names; try: --data yolo=FOLDER")
    return content


def _names(file: Path, content: dict[str, Any], findings: Findings) -> list[str]:
    names = content.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            findings.add(
                "names are not numbered from 0",
                f"{file}: names has the numbers {_show(list(names))}, not 0 to {len(names) - 1}",
            )
            return []
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        findings.add("names is no list", f"{file}: names is {_show(names)}, not a list of names")
        return []
    for number, name in enumerate(names):
        if isinstance(name, bool) or not isinstance(name, str | int):
            findings.add(
                "a name is no text",
                f"{file}: names[{number}] is {_show(name)}, not a text; write it in quotes",
            )
    count = content.get("nc")
    if count is not None and count != len(names):
        findings.add("nc differs", f"{file}: nc is {_show(count)}, but names has {len(names)}")
    return [str(name) for name in names]


def _check_names(described: Described, findings: Findings) -> None:
    if not described.names:
        findings.add("no names", f"{described.file}: it names no class")
    for number, name in enumerate(described.names):
        first = described.names.index(name)
        if not name.strip():
            findings.add("a name is empty", f"{described.file}: names[{number}] is empty")
        elif first != number:
            findings.add(
                "two classes have one name",
                f"{described.file}: names[{first}] and names[{number}] are both {name!r}; classes "
                "are told apart by name",
            )


def _entry(file: Path, key: str, value: Any, findings: Findings) -> list[str]:
    values = value if isinstance(value, list) else [value]
    for each in values:
        if not isinstance(each, str) or not each.strip():
            findings.add("no path", f"{file}: {key} is {_show(value)}, not a path or several")
            return []
    return values


def place_entry(root: Path, described: Described, entry: str) -> str:
    """Where an entry is, relative to the root: below `path` or the description's folder. Roboflow
    writes ../train/images for the train/images beside the description. BadPath where it is
    absolute or nothing lies there."""
    written = entry.strip().replace("\\", "/")
    inner = written
    while inner.startswith("../"):
        inner = inner.removeprefix("../")
    inner = clean_path(inner) if inner not in ("", ".") else "."
    for base in _bases(described):
        for each in (written, inner):
            place = posixpath.normpath(posixpath.join(base, each))
            if not place.startswith(("..", "/")) and (root / place).exists():
                return "" if place == "." else place
    raise BadPath(f"is not there; it is looked for in {root / described.base}")


def _bases(described: Described) -> list[str]:
    try:
        path = clean_path(described.path) if described.path not in ("", ".") else ""
    except BadPath:  # where the set lay on the machine that wrote the description
        path = ""
    return list(dict.fromkeys([posixpath.join(described.base, path), described.base, ""]))


def find_entries(root: Path) -> dict[str, list[str]]:
    """The images of each split of a set without a description, by their names; all of images/, or
    of the root, are train where no folder or list is named after it."""
    entries = {}
    for split, words in SPLIT_NAMES.items():
        places = (layout.format(word) for layout in FOLDERS for word in words)
        place = next((each for each in places if (root / each).exists()), None)
        if place:
            entries[split] = [place]
    if "train" in entries:
        return entries
    return {"train": ["images" if (root / "images").is_dir() else "."]}


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
