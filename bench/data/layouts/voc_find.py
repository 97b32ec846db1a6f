"""Where annotations in VOC's XML, their images and their lists lie in a folder of any years or
none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.core.errors import BadData, unknown
from bench.data.findings import Findings
from bench.data.layouts.own import SPLIT_NAMES, BadPath, clean_path, clean_setting
from bench.data.layouts.recognise import suggest
from bench.data.walk import SUFFIXES, list_folders, walk_images

ANNOTATIONS = frozenset({"annotations", "annotation", "xml", "xmls"})  # in any letters
IMAGES = ("JPEGImages", "images", "Images", "image", "imgs", "img")
LISTS = ("ImageSets/Main", "ImageSets/Layout", "ImageSets/Segmentation", "ImageSets")
DEPTH = 3  # folders below the root: VOCdevkit, its years, their Annotations


@dataclass(frozen=True)
class Place:
    """A folder with annotations, relative to the root. base: what its lists are about. images: the
    folder of the images; that of the annotations where they lie beside each other."""

    root: Path
    base: str
    annotations: str
    images: str

    @cached_property
    def xml(self) -> dict[str, str]:
        """Annotation files by what lists call them, relative to the root."""
        walk = walk_images(self.root / self.annotations, frozenset({".xml"}))
        prefix = _prefix(self.annotations)
        return {name.rpartition(".")[0]: prefix + name for name in walk.files}

    @cached_property
    def pictures(self) -> dict[str, list[str]]:
        """Image files by their names without suffix, relative to the root."""
        files: dict[str, list[str]] = {}
        for name in walk_images(self.root / self.images).files:
            files.setdefault(name.rpartition(".")[0], []).append(_prefix(self.images) + name)
        return files

    def lists(self) -> dict[str, str]:
        """Image sets by name (train, or Segmentation/train beside it), relative to the root."""
        names: dict[str, str] = {}
        for folder in LISTS:
            for file in sorted((self.root / self.base / folder).glob("*.txt")):
                short = folder.rpartition("/")[2]
                name = file.stem if file.stem not in names else f"{short}/{file.stem}"
                names[name] = _prefix(self.base) + f"{folder}/{file.name}"
        return names


def _prefix(folder: str) -> str:
    return f"{folder}/" if folder else ""


def find_places(root: Path) -> list[Place]:
    """Every folder with annotations, in the order of their paths; BadData where there is none."""
    places: list[Place] = []
    _descend(root, "", DEPTH, places)
    if not places:
        other = suggest(root, "voc_layout") or "try: --data voc_layout=FOLDER"
        raise BadData(f"no annotation (.xml) in {root}; {other}")
    return places


def _descend(root: Path, folder: str, depth: int, places: list[Place]) -> None:
    folders, beside = list_folders(root / folder)
    name = folder.rpartition("/")[2].lower()
    if name in ANNOTATIONS:
        base = folder.rpartition("/")[0]
        images = next((n for n in IMAGES if (root / base / n).is_dir()), "")
        place = Place(root, base, folder, f"{_prefix(base)}{images}" if images else base)
        if place.xml:
            places.append(place)
        return
    if beside.left_out[".xml"]:
        places.append(Place(root, folder, folder, folder))
        return
    if depth:
        for each in folders:
            _descend(root, f"{_prefix(folder)}{each}", depth - 1, places)


def choose_lists(places: list[Place]) -> dict[str, str]:
    """What is train, and what is val where it is there, in the words of the settings: folders of
    these names, or lists of these names, or one list; "" is everything."""
    known = {name for place in places for name in place.lists()}
    for names in (_folders_by_name(places), {name: name for name in known}):
        chosen = {}
        for split, words in SPLIT_NAMES.items():
            name = next((word for word in words if word in names), None)
            if name:
                chosen[split] = names[name]
        if "train" in chosen:
            return chosen
    plain = sorted(name for name in known if "/" not in name)
    if not plain:
        return {"train": ""}
    if len(plain) == 1:
        return {"train": plain[0]}
    raise BadData(
        f"{places[0].root} has the lists {', '.join(plain[:8])} but none that is named after "
        f"train; say which is which: --set voc_layout.train={plain[0]}"
    )


def _folders_by_name(places: list[Place]) -> dict[str, str]:
    """The folders in which annotations lie, at any depth, by their last names; several of one name
    joined by +."""
    folders: dict[str, dict[str, None]] = {}
    for place in places:
        parts = place.base.split("/")
        for depth, name in enumerate(parts, 1):
            folders.setdefault(name, {})["/".join(parts[:depth])] = None
    return {name: "+".join(paths) for name, paths in folders.items()}


def find_inside(places: list[Place], part: str) -> list[Place]:
    """The places in a folder; "" is the root. None for what is no folder of annotations."""
    return [p for p in places if not part or f"{p.base}/".startswith(f"{part}/")]


def describe_left_out(places: list[Place], text: str) -> list[str]:
    """A remark on the images without annotations in the folders of a setting."""
    inside = [p for part in text.split("+") for p in find_inside(places, part)]
    left = [f for p in inside for n, files in p.pictures.items() if n not in p.xml for f in files]
    if not left:
        return []
    count = "1 image has" if len(left) == 1 else f"{len(left):,} images have"
    which = "is" if len(left) == 1 else "are"
    return [f"{count} no annotation and {which} left out, the first is {min(left)}"]


def list_pairs(
    places: list[Place], owner: str, text: str, findings: Findings
) -> list[tuple[str, str]]:
    """(annotation, image) of a setting: a list, a folder, several joined by +, or "" for
    everything. owner: the setting, for errors."""
    pairs: list[tuple[str, str]] = []
    for part in text.split("+"):
        inside = find_inside(places, part)
        if inside:
            pairs += [pair for p in inside for pair in _pair_all(p, findings)]
        else:
            pairs += _read_list(places, owner, part, findings)
    return pairs


def _pair_all(place: Place, findings: Findings) -> list[tuple[str, str]]:
    pairs = [_pair(place, name, findings) for name in place.xml]
    return [pair for pair in pairs if pair]


def _pair(place: Place, name: str, findings: Findings) -> tuple[str, str] | None:
    files = place.pictures.get(name, [])
    if len(files) != 1:
        what = f"has {len(files)} images, {', '.join(files[:3])}" if files else "has no image"
        findings.add(
            "an annotation has no image of its own",
            f"{place.root / place.xml[name]} {what}; one of the name {name} is looked for in "
            f"{place.root / place.images}",
        )
        return None
    return place.xml[name], files[0]


def _read_list(
    places: list[Place], owner: str, part: str, findings: Findings
) -> list[tuple[str, str]]:
    root = places[0].root
    files = [(p, p.lists()[part]) for p in places if part in p.lists()]
    if not files and part.endswith(".txt") and (root / clean_setting(owner, part)).is_file():
        files = [(p, part) for p in places if part.startswith(_prefix(p.base))][-1:]
        files = files or [(places[0], part)]
    if not files:
        known = {name for place in places for name in place.lists()}
        folders = {p.base for p in places if p.base}
        raise unknown(f"list of {owner}", part, known | folders, f"ls {root}")
    pairs = []
    for place, file in files:
        seen: set[str] = set()
        for number, line in enumerate(_read_lines(root / file), 1):
            where = f"{root / file} line {number}"
            name = _find_name(line, place, places, where, findings)
            if name is None or name[1] in seen:
                if name:
                    findings.add(
                        "a list names an image twice", f"{where}: {name[1]} is there twice"
                    )
                continue
            seen.add(name[1])
            pair = _pair(*name, findings)
            pairs += [pair] if pair else []
    return pairs


def _read_lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise BadData(f"list {file} cannot be read ({error}); save it as UTF-8") from None
    return [line.strip() for line in lines if line.strip()]


def _find_name(
    line: str, first: Place, places: list[Place], where: str, findings: Findings
) -> tuple[Place, str] | None:
    """The place and the name of an annotation that a line names, with or without a suffix; the
    place of the list comes before others."""
    try:
        name = clean_path(line)
    except BadPath as error:
        findings.add(f"a line {error}", f"{where}: {line[:60]!r} {error}")
        return None
    stem, dot, suffix = name.rpartition(".")
    names = [name, stem] if f".{suffix.lower()}" in {*SUFFIXES, ".xml"} and dot else [name]
    for place in (first, *places):
        within = ("", place.annotations, place.images, place.base)
        inner = [each.removeprefix(_prefix(w)) for w in within for each in names]
        known = next((each for each in inner if each in place.xml), None)
        if known is not None:
            return place, known
    flagged = name.rpartition(" ")[0].strip()
    hint = "; is it a list of one class?" if flagged in first.xml else ""
    findings.add(
        "a list names what has no annotation",
        f"{where}: {name[:60]!r} has no annotation in {first.root / first.annotations}{hint}",
    )
    return None
