"""What happens to a file on its way into the repaired copy: left out, renamed, turned, mended."""

import json
import os
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import tifffile
import tomli_w
from PIL import Image as Pillow

from imseg.data.checks.selection import ALONE, PAIRED, Selection, leads_out, refusal, select_files
from imseg.data.files import atomic, listing
from imseg.data.folder import folder_layout, object_folders
from imseg.data.folder.config import FILE_NAME, parse_key, read_config
from imseg.data.images import decoding, image_files, picture_file
from imseg.data.images.decoding import TURNS
from imseg.data.masks import io, labeled_regions, losses
from imseg.data.masks.merging import Merged, merge_files
from imseg.data.masks.recoding import Paint, Recode, Snap, Threshold
from imseg.data.masks.regions import region_numbers
from imseg.errors import Finding, ImsegError, and_more, shown
from imseg.types import Pages

CSV, JSON = "repairs.csv", "repairs.json"
"""Names of the lists in the copy."""


Change = Literal["left out", "renamed", "rewritten", "made"]
"""What can happen to a file on its way into the copy; most are copied byte for byte."""


@dataclass(frozen=True, slots=True)
class Repair:
    """One change."""

    file: str
    """The file, relative to the data folder; a renamed one by its new name from then on."""
    change: Change
    """What happened to it."""
    became: str
    """Its name in the copy; empty if it is not there."""
    did: str
    """What was done to its content; empty if nothing was."""
    why: str
    """The reason, in the same words for all changes of one kind."""
    about: str = ""
    """What the reason refers to: another file, or what exactly is wrong."""


def check_links(data: Path) -> None:
    """Check that some pairs are left where links that lead out of a data folder stay behind.

    Raises:
        ImsegError: If none are.
    """
    layout = folder_layout.find_layout(data)
    links = list(layout.refused["links"])
    if links and not layout.labeled:
        raise ImsegError(
            f"{listing.subject(len(links), 'link', 'leads', 'lead')} out of {data}, and without"
            " them no labeled pair is left to copy.",
            expected="files in the data folder, or links that may be followed.",
            got=and_more(links) + ".",
            hint="--follow-links copies what they lead to, if you trust this folder.",
        )


def check_pairs(data: Path, copy: Path, repairs: Sequence[Repair]) -> None:
    """Check that a copy has labeled pairs, if there are masks to make pairs of.

    Args:
        data: The original.
        copy: What was written.
        repairs: The list of changes.

    Raises:
        ImsegError: If it has none.
    """
    layout = folder_layout.find_layout(copy)
    masks = (path for name in PAIRED[:2] for path in (data / name / "masks").rglob("*.*"))
    if layout.labeled or not any(path.suffix.lower() in decoding.SUFFIXES for path in masks):
        return
    reasons = Counter(each.why for each in repairs if each.change == "left out")
    first = {each.why: each.file for each in reversed(repairs) if each.change == "left out"}
    told = [
        f"{listing.counted(count, 'file')} left out because of: {why} (such as {first[why]})"
        for why, count in reasons.most_common()
    ]
    raise ImsegError(
        "A repaired copy would have no labeled pair, so none is written.",
        expected="at least one image in labeled/images whose mask can be used.",
        got="; ".join(told or ["no image that belongs to a mask"]) + ".",
        hint=f"imseg check {shown(data)} says what is wrong; mend that by hand first.",
    )


_ORIENTATION = 0x0112


def copy_usable(
    root: Path, target: Path, *, follow_links: bool = False
) -> tuple[list[Repair], dict[str, int], list[Finding]]:
    """Copy a data folder without what cannot be used, and turn pictures upright.

    Hidden files stay behind and are not listed. Everything that needs no repair is copied byte for
    byte, what lies outside of the splits too.

    Args:
        root: The data folder.
        target: An existing, empty folder.
        follow_links: Whether what links out of the folder lead to is copied; else they stay behind.

    Returns:
        What was done; the EXIF orientation that each turned picture had, by its new name; and
        what merged masks do not show.

    Raises:
        ImsegError: If a file cannot be copied.
    """
    selection = select_files(root, follow_links=follow_links)
    repairs, results = _merge_objects(selection, root, target)
    files = {place: files for place, (_, files) in selection.merged.items()}
    notes = list(object_folders.notes_on_merging(files, results, root))
    merged = {path for _, files in selection.merged.values() for path in files}
    orientations: dict[str, int] = {}
    for path in _files(root, root, selection):
        if path in merged and path not in selection.left_out:
            continue
        name = path.relative_to(root).as_posix()
        name = name if name.isprintable() else ascii(name)[1:-1]
        why, about = selection.left_out.get(path) or (refusal(path, root, selection), "")
        if why:
            repairs.append(Repair(name, "left out", "", "", why, about))
            continue
        goal = target / path.relative_to(root)
        if path in selection.renamed:
            new, why = selection.renamed[path]
            goal = goal.with_name(new)
            became = goal.relative_to(target).as_posix()
            repairs.append(Repair(name, "renamed", became, "", why))
        goal.parent.mkdir(parents=True, exist_ok=True)
        orientation = _orientation(path, root)
        upright = _write_upright(path, goal, root) if orientation != 1 else None
        if upright is None:
            atomic.copy_file(path, goal)
            with suppress(OSError):  # the dates only say which picture was taken when
                os.utime(goal, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
            continue
        became = upright.relative_to(target).as_posix()
        orientations[became] = orientation
        why = "an EXIF orientation, which other programs may ignore"
        did, about = "turned upright, saved as PNG", f"orientation {orientation}"
        repairs.append(Repair(name, "rewritten", became, did, why, about))
    for path, size in sorted(selection.made.items()):
        goal = target / path.relative_to(root)
        goal.parent.mkdir(parents=True, exist_ok=True)
        image_files.write_png(goal, np.zeros(size, np.uint8))
        name = goal.relative_to(target).as_posix()
        why = "the label does not occur on the image, which has masks of other labels"
        repairs.append(Repair(name, "made", name, "an all-black mask", why))
    if selection.merged:
        repairs += _name_task(root, target)
    return repairs, orientations, notes


def shorten_tables(target: Path) -> list[Repair]:
    """Take lines of images that were left out from the tables of labeled boxes."""
    repairs = []
    for split in labeled_regions.LABELED:
        table, images = target / split / labeled_regions.TABLE, target / split / "images"
        if not table.is_file() or not images.is_dir():
            continue
        text = atomic.read_text(table)
        kept = labeled_regions.without_others(text, {path.name for path in images.iterdir()})
        if len(kept.splitlines()) < len(text.splitlines()):
            atomic.write_whole(table, kept.encode())
            name = f"{split}/{labeled_regions.TABLE}"
            gone = listing.counted(len(text.splitlines()) - len(kept.splitlines()), "line")
            why = f"{gone} of images that were left out"
            repairs.append(Repair(name, "rewritten", name, why, "there is no such image"))
    return repairs


def files_below(root: Path, *, follow_links: bool) -> Iterator[Path]:
    """Yield what a copy of a data folder is made of, in the order of names; circles of links end.

    Hidden files, and the lists of changes of an earlier copy, do not count.
    """
    return _files(root, root, Selection(follow_links=follow_links))


_OBJECTS = "there was a file for each object"


def _merge_objects(
    selection: Selection, root: Path, target: Path
) -> tuple[list[Repair], dict[Path, Merged]]:
    """Write the masks that are made of files with an object each."""
    repairs, results = [], {}
    for place, (image, files) in selection.merged.items():
        beside = bool(files) and files[0].parent == place.parent
        # A folder may differ from the image in upper and lower case.
        folder = files[0].parent if files else place.with_suffix("")
        goal = target / place.relative_to(root)
        try:
            found = merge_files(files, picture_file.probe(image).size)
        except ImsegError as error:
            selection.leave([image, *files], "its objects cannot be merged into a mask", error.what)
            continue
        if beside and 2 * found.overlapping > np.count_nonzero(found.labels):
            about = "several people may have drawn them; keep one for each image"
            selection.leave([image, *files], "most of its masks show the same place", about)
            continue
        goal.parent.mkdir(parents=True, exist_ok=True)
        written = write_mask(goal, io.MaskFile(found.labels, "values"))
        became, did = written.relative_to(target).as_posix(), "objects merged into one mask"
        repairs += [
            Repair(
                path.relative_to(root).as_posix(), "rewritten", became, did, _OBJECTS, str(found)
            )
            for path in (files if beside else [folder])
        ]
        results[place] = found
    return repairs, results


def _name_task(root: Path, target: Path) -> list[Repair]:
    """Write into the copy's settings that masks number objects, unless these name a task."""
    path, line = root / FILE_NAME, 'task = "instances"'
    try:
        if read_config(root).task is not None:
            return []
        text = atomic.read_text(path) if path.exists() else ""
    except ImsegError:
        return []  # it is told when the copy is looked at
    atomic.write_whole(target / FILE_NAME, f"{line}\n{text}".encode())
    change: Change = "rewritten" if text else "made"
    return [Repair(FILE_NAME, change, FILE_NAME, f"{line} added", _OBJECTS)]


def _files(
    folder: Path, root: Path, selection: Selection, seen: frozenset[Path] = frozenset()
) -> Iterator[Path]:
    """Yield the files below a folder, in the order of their names; links in circles end."""
    here = folder.resolve()
    if here in seen:
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or (folder == root and path.name in (CSV, JSON)):
            continue
        if path.is_dir() and not (path.is_symlink() and leads_out(path, root, selection)):
            yield from _files(path, root, selection, seen | {here})
        else:
            yield path


def _orientation(path: Path, root: Path) -> int:
    """Return the EXIF orientation, 1 to 8, of a picture in one of the splits.

    It is 1 (upright) if there is none, for other files, and for broken ones.
    """
    split = path.relative_to(root).parts[0]
    if split not in (*PAIRED, *ALONE) or path.suffix.lower() not in decoding.SUFFIXES:
        return 1
    try:
        with path.open("rb") as file, Pillow.open(file) as picture:
            found = picture.getexif().get(_ORIENTATION, 1)
    except Exception:
        # Whatever is broken in one way or another is found when all files are decoded.
        return 1
    return found if found in range(2, 9) else 1


def _write_upright(path: Path, goal: Path, root: Path) -> Path | None:
    """Write a picture as it is meant to be seen; None if it cannot be a PNG file."""
    goal = goal.with_suffix(".png")
    try:
        if "masks" in path.relative_to(root).parts:
            return write_mask(goal, io.read_mask(path))
        pixels = picture_file.read_image(path)
        image_files.write_png(goal, pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    except (ImsegError, ValueError):
        return None
    return goal


_MOST_OF_PNG = 65535


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What is to be done to a mask file; the steps are made in this order."""

    turn: int | None = None
    """How it is turned back: the EXIF number of a picture stored like it, 2 to 8."""
    size: tuple[int, int] | None = None
    """The height and width it is brought to."""
    recodes: tuple[Recode, ...] = ()
    """What is done to its values."""
    reasons: tuple[str, ...] = ()
    """Why."""

    def __str__(self) -> str:
        steps = [TURNS[self.turn]] if self.turn else []
        if self.size:
            steps.append(f"resized to {self.size[0]}x{self.size[1]} by nearest neighbor")
        return "; ".join([*steps, *(str(recode) for recode in self.recodes)])


def rewrite_mask(path: Path, rewrite: Rewrite, root: Path, *, pages: Pages = "refuse") -> Repair:
    """Mend a mask file in place; the name changes where the format must.

    Args:
        path: The file.
        rewrite: What is to be done.
        root: The copy, to which names are relative.
        pages: Which plane is the mask where there are several.

    Raises:
        ImsegError: If the file cannot be read or written.
    """
    mask = io.read_mask(path, pages=pages)
    values, form, palette = mask.values, mask.form, mask.palette
    if rewrite.turn is not None:
        values = np.ascontiguousarray(decoding.turned(values, rewrite.turn))
    lost: list[str] = []
    if rewrite.size is not None:
        lost.append(losses.vanished(io.MaskFile(values, form), rewrite.size, region_numbers()))
        values = io.resize_mask(values, rewrite.size)
    for recode in rewrite.recodes:
        if isinstance(recode, Snap) and form == "values":
            values, form = io.as_packed_colors(values), "colors"
        if isinstance(recode, Paint):
            form, palette = "colors", None
        before, values = values, recode(values)
        if isinstance(recode, Threshold | Snap):
            lost.append(f"{int((before != values).sum())} pixels changed")
        if isinstance(recode, Threshold):
            lost.append(losses.faint_areas(before, values, region_numbers()))
    if palette is not None and int(values.max(initial=0)) >= len(palette):
        palette = None
    written = write_mask(path.with_suffix(".png"), io.MaskFile(values, form, palette))
    if written != path:
        path.unlink()
    return Repair(
        path.relative_to(root).as_posix(),
        "rewritten",
        written.relative_to(root).as_posix(),
        str(rewrite),
        "; ".join(dict.fromkeys(rewrite.reasons)),
        ", ".join(filter(None, lost)),
    )


def translate_numbers(folder: Path, recodes: Iterable[Recode]) -> list[Repair]:
    """Write into a copy's settings the colors that masks have where they had numbers of a palette.

    Args:
        folder: The copy.
        recodes: What was done to masks.
    """
    palettes = [recode.colors for recode in recodes if isinstance(recode, Paint)]
    become = {n: io.value_text(c, "colors") for colors in palettes for n, c in enumerate(colors)}
    path = folder / FILE_NAME
    if not become or not path.exists():
        return []
    try:
        read_config(folder)
    except ImsegError:
        return []  # it is told when the copy is looked at
    settings = tomllib.loads(atomic.read_text(path))
    told = []
    if settings.get("void") in become:
        told.append(f"void = {settings['void']} became {become[settings['void']]}")
        settings["void"] = become[settings["void"]]
    classes = {}
    for text, entry in settings.get("classes", {}).items():
        key = parse_key(text)
        classes[become.get(key, text) if isinstance(key, int) else text] = entry
        told += [f"{text} became {become[key]}"] if isinstance(key, int) and key in become else []
    if not told:
        return []
    atomic.write_whole(path, tomli_w.dumps(settings | {"classes": classes}).encode())
    why = "masks of these numbers were painted in the colors of their palette"
    return [Repair(FILE_NAME, "rewritten", FILE_NAME, ", ".join(told), why)]


def write_mask(path: Path, mask: io.MaskFile) -> Path:
    """Write a mask without loss and return its path: PNG, or TIFF where PNG cannot hold it.

    Args:
        path: Where to, with the suffix ``.png``.
        mask: What to write.

    Raises:
        ImsegError: If the file cannot be written.
    """
    values = mask.values
    if mask.form == "colors":
        image_files.write_png(path, io.unpack_colors(values))
    elif mask.form == "numbers" or not 0 <= values.min() <= values.max() <= _MOST_OF_PNG:
        path = path.with_suffix(".tif")
        if mask.form == "values" and int(values.max()) > np.iinfo(np.int32).max:
            stream = BytesIO()
            tifffile.imwrite(stream, values, compression="zlib")
            atomic.publish(path, stream.getvalue())
        else:
            image_files.write_tiff(path, values)
    else:
        small = int(values.max(initial=0)) <= np.iinfo(np.uint8).max
        whole = values.astype(np.uint8 if small else np.uint16)
        image_files.write_png(path, whole, palette=mask.palette if small else None)
    return path


def same_shape(mask: tuple[int, int], image: tuple[int, int]) -> bool:
    """Return whether a mask has the sides of an image in proportion, to half a pixel."""
    (low_h, low_w), (high_h, high_w) = sorted((mask, image))
    return abs(low_h * high_w - low_w * high_h) <= max(high_h, high_w) / 2


def merged(rewrites: Sequence[Rewrite]) -> Rewrite:
    """Return several rewrites of one mask as one; what concerns its shape comes first."""
    rewrites = sorted(rewrites, key=lambda each: len(each.recodes))
    return Rewrite(
        next((each.turn for each in rewrites if each.turn), None),
        next((each.size for each in rewrites if each.size), None),
        tuple(recode for each in rewrites for recode in each.recodes),
        tuple(reason for each in rewrites for reason in each.reasons),
    )


def write_record(folder: Path, repairs: Sequence[Repair], *, source: str) -> None:
    """Write the list of changes into the copy, as a table and as JSON.

    Args:
        folder: The copy.
        repairs: Every change, in the order in which they were made.
        source: What was copied.
    """
    plain = [asdict(repair) for repair in repairs]
    record = {"source": source, "repairs": plain}
    atomic.write_whole(folder / JSON, (json.dumps(record, indent=1) + "\n").encode())
    header = [each.name for each in fields(Repair)]
    table = listing.sheet(header, [list(each.values()) for each in plain])
    atomic.write_whole(folder / CSV, table.encode("utf-8", "backslashreplace"))
