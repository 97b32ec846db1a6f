"""Where COCO files and their images lie in a folder that follows no official layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.core.errors import BadData
from bench.data.layouts.own import SPLIT_NAMES
from bench.data.walk import is_hidden, list_folders

# One file for each split, as Roboflow, CVAT, FiftyOne and mmdetection write them; {} is the split
OF_SPLITS = (
    "{}/_annotations.coco.json",
    "annotations/instances_{}.json",
    "annotations/{}.json",
    "{}.json",
    "{}/annotations.json",
    "{}/_annotations.json",
    "{}/labels.json",
)
# One file for everything, as Label Studio, CVAT, Roboflow and others write it
OF_ALL = (
    "result.json",
    "annotations/instances_default.json",
    "_annotations.coco.json",
    "annotations.json",
    "labels.json",
    "instances.json",
)
START = 1 << 16  # bytes of a file that are looked at


def find_files(root: Path) -> dict[str, str]:
    """The COCO file of each split, relative to the root: train, and val where it is there. A
    single file in the root or in annotations/ is train, whatever its name. BadData where nothing
    is found, or where it is not plain which one is meant."""
    files = {}
    for split, names in SPLIT_NAMES.items():
        places = (layout.format(name) for layout in OF_SPLITS for name in names)
        file = next((place for place in places if (root / place).is_file()), None)
        if file:
            files[split] = file
    if "train" in files:
        return files
    if files:
        raise BadData(
            f"{root} has {files['val']} but no COCO file that is named after train; try: --set "
            f"coco_json.train={files['val']}"
        )
    named = next((place for place in OF_ALL if (root / place).is_file()), None)
    if named:
        return {"train": named}
    others = list_json(root)
    if len(others) == 1:
        return {"train": others[0]}
    if not others:
        raise BadData(f"no COCO file (.json) in {root}; try: --data coco_json=FOLDER")
    raise BadData(
        f"{root} has several COCO files, {', '.join(others[:6])}; say which is which: --set "
        f"coco_json.train={others[0]} --set coco_json.val={others[1]}"
    )


def list_json(root: Path) -> list[str]:
    """The COCO files in the root and in the folders directly below it, relative to the root."""
    return sorted(
        str(file.relative_to(root)) for file in _list_json(root) if looks_like_coco(file)
    )


def _list_json(root: Path) -> Iterator[Path]:
    folders = [root, *(f for f in sorted(root.iterdir()) if f.is_dir() and not is_hidden(f.name))]
    for folder in folders[:200]:
        yield from (f for f in folder.glob("*.json") if not is_hidden(f.name))


def looks_like_coco(file: Path) -> bool:
    """Whether the beginning or the end of a JSON file names images, annotations or categories as a
    COCO file does; the file is not parsed."""
    try:
        with open(file, "rb") as opened:
            start = opened.read(START)
            opened.seek(max(0, file.stat().st_size - START))
            text = start + opened.read()
    except OSError:
        return False
    keys = (b'"images"', b'"annotations"', b'"categories"')
    return (
        start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and sum(k in text for k in keys) > 1
    )


def find_images(root: Path, file: str, split: str, names: Sequence[str]) -> str | None:
    """The folder, relative to the root, that the file names are relative to: the first likely one
    in which one of the first images lies; None where they lie in none of them."""
    for place in _likely(root, file, split):
        if any((root / place / name).is_file() for name in names[:5]):
            return "" if Path(place) == Path(".") else str(Path(place))
    return None


def _likely(root: Path, file: str, split: str) -> Iterator[str]:
    """Beside the file, by the name of the split (the file's own first: instances_valid.json), by
    usual names, then any folder beside the file or in the root."""
    beside = str(Path(file).parent)
    words = SPLIT_NAMES.get(split, ())
    yield beside
    for word in [w for w in words if w in file] or words:
        yield from (f"{where}{word}" for where in ("images/", "", "data/"))
    yield from (f"{beside}/images", f"{beside}/data", ".", "images", "data")
    for each in (beside, "."):
        yield from (f"{each}/{name}" for name in list_folders(root / each)[0])
