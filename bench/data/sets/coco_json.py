"""A lab's own COCO files, whatever they are called: boxes, masks, crowds, keypoints."""

from __future__ import annotations

import json
from pathlib import Path

from bench.contracts.data import HowToGet, WriteSample
from bench.contracts.images import ImageSet
from bench.core.errors import BadData, nearest
from bench.core.params import Params, digest, param
from bench.data.divide import Lists, Parts
from bench.data.files import content_hash, list_files, read_json, remember_names
from bench.data.findings import Findings
from bench.data.layouts.coco_file import CocoFile
from bench.data.layouts.coco_find import find_files, find_images, list_json
from bench.data.layouts.coco_set import CocoPart, CocoSet
from bench.data.layouts.own import (
    BadPath,
    clean_path,
    clean_setting,
    folder_of,
    no_split,
    require_images,
)
from bench.data.layouts.recognise import suggest


class CocoJsonParams(Params):
    """Which COCO file is which split."""

    train: str = param(
        "",
        help="COCO file to train on and the folder that its file names are relative to, FILE or "
        "FILE:IMAGES, for example annotations.json:images; empty is the one that is found",
    )
    val: str = param(
        "", help="COCO file to score on, as for train; empty is the one that is found"
    )


class CocoJson(CocoSet):
    """COCO files of any name in a folder, for example those that Roboflow, CVAT, Label Studio and
    FiftyOne export.

    Without settings, the files are found by their names (`layouts/coco_find.py`): for each split
    `SPLIT/_annotations.coco.json`, `annotations/instances_SPLIT.json` and the like, where SPLIT is
    train, and val, valid or test; or one file, which is train. Where `train` is set, val is what
    is set too, or missing. File names may hold folders, also with backslashes; they are relative
    to IMAGES, and without it to the first likely folder that holds the first images. Everything
    else is as for `coco`.
    """

    restore = "export it again"
    how_to_get = HowToGet(layout="a folder with COCO files (.json) and their images")
    Params: type[Params] = CocoJsonParams
    params: CocoJsonParams

    @classmethod
    def default_place(cls) -> Path | None:
        return None

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.own import write_coco_json

        return write_coco_json

    def root(self, given: Path | None) -> Path:
        return folder_of(self.place(given), self.name, "a folder with COCO files (.json)")

    def parts(self, root: Path) -> list[CocoPart]:
        settings = {"train": self.params.train, "val": self.params.val}
        if not settings["train"]:
            other = "" if list_json(root) else suggest(root, self.name)
            if other:
                raise BadData(f"no COCO file (.json) in {root}; {other}")
            found = find_files(root)
            settings = {split: text or found.get(split, "") for split, text in settings.items()}
        return [self._part(root, split, text) for split, text in settings.items() if text]

    def _part(self, root: Path, split: str, text: str) -> CocoPart:
        file, _, folder = text.partition(":")
        owner = f"{self.name}.{split}"
        annotations = root / clean_setting(owner, file)
        if not annotations.is_file():
            known = list_json(root)
            guess = nearest(file, known) or next(iter(known), "")
            hint = f"; try: --set {owner}={guess}" if guess else ""
            raise BadData(f"{owner}: there is no file {file!r} in {root}{hint}")
        if not folder:
            return CocoPart(split, annotations, None)
        images = root / clean_setting(owner, folder) if folder != "." else root
        if not images.is_dir():
            raise BadData(f"{owner}: there is no folder {folder!r} in {root}")
        return CocoPart(split, annotations, images)

    def mark(self, root: Path, parts: list[CocoPart], cache: Path) -> str:
        content: list[object] = []
        for part in parts:
            sha = content_hash(part.annotations, cache)

            def read(part: CocoPart = part) -> list[str]:
                return self._read_names(part)

            names = self._relative(root, part, remember_names(sha, cache, read), Findings())
            listing = list_files(root, (name.rpartition("/")[0] for name in names))
            sizes = [[n, listing[n].st_size] for n in sorted(names) if n in listing]
            content.append([part.split, sha, sizes])
        return digest(content)

    def image_base(self, root: Path, split: str) -> Path:
        return root

    def place_images(self, root: Path, part: CocoPart, file: CocoFile, findings: Findings) -> None:
        raw = [image.file for image in file.images]
        places = dict(zip(raw, self._relative(root, part, raw, findings), strict=False))
        if len(places) < len(raw):  # they were refused
            return
        listing = list_files(root, (name.rpartition("/")[0] for name in places.values()))
        require_images(file.name, list(places.values()), listing, findings)
        first: dict[str, int] = {}
        for image in file.images:
            place = places[image.file]
            if first.setdefault(place, image.id) != image.id:
                findings.add(
                    "two images have one file",
                    f"{file.name}: images {first[place]} and {image.id} both have the file "
                    f"{place!r}; one picture has one id",
                )
        file.images = [image._replace(file=places[image.file]) for image in file.images]

    def load(self, folder: Path, root: Path, split: str) -> ImageSet:
        if split in self.splits and not (folder / split).is_dir():
            raise no_split(self.name, root, split)
        return super().load(folder, root, split)

    def split_names(self, root: Path) -> dict[str, list[str]]:
        return {part.split: self._read_names(part) for part in self.parts(root)}

    def write_lists(self, root: Path, folder: str, parts: Parts) -> Lists:
        part = self.parts(root)[0]
        name = next(name for names in parts.values() for name in names)
        (place,) = self._relative(root, part, [name], Findings())
        base = place.removesuffix(clean_path(name)).rstrip("/") or "."
        content = read_json(part.annotations, "COCO annotations", self.restore)
        files, settings = {}, {}
        for split, chosen in parts.items():
            wanted = set(chosen)
            images = [i for i in content["images"] if i["file_name"] in wanted]
            ids = {str(image["id"]) for image in images}  # some are text
            objects = [a for a in content["annotations"] if str(a["image_id"]) in ids]
            own = {**content, "images": images, "annotations": objects}
            files[f"{split}.json"] = json.dumps(own).encode()
            settings[split] = f"{folder}/{split}.json:{base}"
        return Lists(files, settings)

    def _relative(
        self, root: Path, part: CocoPart, names: list[str], findings: Findings
    ) -> list[str]:
        """The file names relative to the root; findings, and an empty list, where some cannot
        be."""
        clean: list[str] = []
        for name in names:
            try:
                clean.append(clean_path(name))
            except BadPath as error:
                findings.add(
                    f"a file_name {error}", f"{part.annotations}: file_name {name!r} {error}"
                )
        if len(clean) < len(names) or not names:
            return []
        if part.images is not None:
            base = str(part.images.relative_to(root))
        else:
            file = str(part.annotations.relative_to(root))
            where = find_images(root, file, part.split, clean)
            if where is None:
                findings.add(
                    "images are not found",
                    f"{part.annotations}: image {clean[0]} lies neither beside it nor in a likely "
                    f"folder of {root}; say where: --set {self.name}.{part.split}={file}:FOLDER",
                )
                return []
            base = where
        prefix = "" if base in ("", ".") else f"{base}/"
        return [prefix + name for name in clean]
