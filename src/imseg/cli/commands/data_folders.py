"""``imseg check``, ``prepare`` and ``polygons``: what is in a data folder, and making one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imseg.cli import show
from imseg.cli.arguments import TASK_HELP, Data, FollowLinks, Json, parse_task
from imseg.errors import Finding, ImsegError, and_more, explained, look_up, shown

if TYPE_CHECKING:
    from imseg.data.checks.folder_check import CheckReport
    from imseg.data.checks.repair import Repaired
    from imseg.data.files.listing import Links
    from imseg.data.polygons import Conversion

_SHOWN = 12
NewFolder = Annotated[Path, typer.Option(help="A new folder for the data.")]


def as_text(report: CheckReport, sheet: Path | None) -> str:
    """Return the whole report: what is there, then problems, then a verdict."""
    parts = [_counts(report), _pictures(report), _targets(report), _seen(report)]
    if sheet is not None:
        parts.append(f"Contact sheet: {shown(sheet)}")
    parts += [finding_as_text(finding) for finding in report.findings]
    parts.append(_verdict(report))
    return "\n\n".join(part for part in parts if part)


def repairs_as_text(fixed: Repaired) -> str:
    """Return what was changed in a repaired copy, and what is left to mend by hand."""
    from imseg.data.checks.repaired_files import CSV

    report, repairs = fixed.report, fixed.repairs
    kinds = [
        (f"{each.change}: {each.did}" if each.did else each.change, each.why) for each in repairs
    ]
    first = {kind: each.file for kind, each in zip(kinds[::-1], repairs[::-1], strict=True)}
    lines = [
        f"  {count} x {what} ({why}), such as {first[what, why]}"
        for (what, why), count in Counter(kinds).most_common()
    ]
    more = len(lines) - _SHOWN
    head = f"Repaired copy: {fixed.folder}, {len(repairs)} change(s) in {CSV}"
    parts = ["\n" + (head if repairs else f"Copy: {fixed.folder}; nothing could be mended")]
    if lines:
        parts.append("\n".join(lines[:_SHOWN] + [f"  and {more} more kinds"] * (more > 0)))
    parts.append(f"Checked again: {_counts(report)}")
    parts += [finding_as_text(finding) for finding in report.findings]
    if report.errors:
        parts.append("What is left cannot be mended by a program.")
    parts.append(_verdict(report))
    return "\n\n".join(parts)


def finding_as_text(finding: Finding) -> str:
    """Return a finding: what is wrong, why it matters, and what to do."""
    return explained(f"{finding.severity}: {finding.what}", finding)


def _counts(report: CheckReport) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in report.counts.items())
    return f"{shown(report.folder)}: {counts}"


def _pictures(report: CheckReport) -> str:
    if report.sizes is None:
        return ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.channels.items() if count)
    if set(report.depths) - {"uint8"}:
        deep = ", ".join(f"{count} {depth}" for depth, count in report.depths.items())
        kinds += f" ({deep})"
    height, width = report.sizes.median
    if report.sizes.all_equal:
        return f"Images: {kinds}; all {height}x{width} px"
    (low_h, low_w), (high_h, high_w) = report.sizes.smallest, report.sizes.largest
    return f"Images: {kinds}; from {low_h}x{low_w} to {high_h}x{high_w} px, median {height}x{width}"


def _seen(report: CheckReport) -> str:
    """Return what networks will see of the images."""
    from imseg.data.doubts.small_objects import DEFAULT_PATCH

    seen = report.seen
    if seen is None:
        return ""
    size = "{}x{} px".format(*seen.size)
    if seen.scale is None:
        text = f"Networks will see whole images, at {size}"
    else:
        scale = "full size" if seen.scale == 1 else f"scale {seen.scale:.2g} ({size})"
        patch = f"{DEFAULT_PATCH}x{DEFAULT_PATCH} px"
        text = f"Networks will see windows of {patch} of images at {scale}"
    if seen.narrow is not None:
        text += f"; the narrowest tenth of the labeled objects is {seen.narrow:.2g} px wide there"
    text += " (--scale, --patch, --image-size)"
    if seen.scale is not None and seen.pixel_sizes is not None and seen.pixel_sizes.differ:
        text += f"\n{seen.pixel_sizes.seen_in_words(seen.scale).rstrip('.')}"
    return text


def _targets(report: CheckReport) -> str:
    """Return what the masks mean and show."""
    from imseg.report.tables import table

    spec = report.spec
    if spec is None:
        return ""
    head = f"Task: {report.task}{'' if report.asked else ', recognized from the masks'}"
    if spec.void is not None:
        void = f"color #{spec.void:06x}" if spec.coding == "colors" else f"value {spec.void}"
        head += f"; {void} is void"
    if report.classes:
        known_by = {"colors": "mask color", "planes": "label"}.get(spec.coding, "mask value")
        rows = [
            [each.name, each.key, f"{each.share:.2%}", str(each.images)] for each in report.classes
        ]
        return head + "\n\n" + table(["class", known_by, "pixels", "images"], rows)
    if (objects := report.objects) is not None:
        area = f"{objects.area:.0f} px"
        if objects.area_um2 is not None:
            area += f" ({objects.area_um2:.1f} square micrometers)"
        head += (
            f"\nObjects: {objects.total} in all, {objects.fewest} to {objects.most} per image "
            f"(median {objects.median:g}); median area {area}; {objects.share:.2%} of the pixels"
        )
    elif (numbers := report.numbers) is not None:
        unit = f" {numbers.unit}" if numbers.unit else ""
        head += (
            f"\nNumbers: {numbers.low:g} to {numbers.high:g}{unit}, mean {numbers.mean:g};"
            f" {numbers.missing:.2%} of the pixels unknown"
        )
    return head


def _verdict(report: CheckReport) -> str:
    counts = Counter(finding.severity for finding in report.findings)
    known = f"{counts['warning']} warning(s)"
    if counts["note"]:
        known += f", {counts['note']} note(s)"
    ready = f"ready for imseg train {shown(report.folder)}"
    if report.links:
        ready += " --follow-links"
    if counts["error"]:
        return f"{counts['error']} error(s), {known}: training would be refused."
    if counts:
        return f"No errors, {known}: {ready}"
    return f"Nothing to complain about: {ready}"


def check(
    data: Data,
    task: Annotated[str | None, typer.Option(help=TASK_HELP)] = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            help="A new folder for a repaired copy; the data folder itself is never changed."
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Where the contact sheet goes; imseg-check-<data>.png by default."),
    ] = None,
    follow_links: FollowLinks = False,
    json: Json = False,
) -> int:
    """Show what is in a data folder and every problem. Exit 0 (warnings at most) or 2 (errors).

    With --fix a copy is written in which what a program can mend is mended; the exit status is then
    that of the copy.
    """
    from imseg.data.checks.folder_check import check_folder
    from imseg.data.checks.repair import repair_folder
    from imseg.data.files.listing import short_name
    from imseg.report.figures import contact_sheet, save

    word = parse_task(task)
    fixed = None
    with show.Bars() as bars:
        links_are: Links = "follow" if follow_links else "read"
        looking = partial(bars.counted, "looking")
        report = check_folder(data, task=word, links_are=links_are, progress=looking)
        if fix is not None:
            show.say(f"The repaired copy goes to {fix}")
            mending = partial(bars.counted, "mending")
            fixed = repair_folder(data, fix, task=word, follow_links=follow_links, progress=mending)
    picture = unwritten = None
    if report.spec is not None and report.reading is not None and report.labeled:
        path = sheet or Path(f"imseg-check-{short_name(data)}.png")
        try:
            picture = save(path, contact_sheet(report.labeled, report.spec, reading=report.reading))
        except ImsegError as error:
            unwritten = error  # what was found is said all the same
    text = as_text(report, picture) + (f"\n{repairs_as_text(fixed)}" if fixed else "")
    found = {"contact_sheet": picture and str(picture), "fixed": fixed and fixed.as_dict()}
    show.show_result(shown(text, lines=True), {**report.as_dict(), **found}, as_json=json)
    if unwritten is not None:
        raise unwritten
    return 2 if (fixed.report if fixed else report).errors else 0


def prepare(
    name: Annotated[
        str,
        typer.Argument(help="isic2018 (2017 works too), hela, suim, cityscapes, camvid or nuclei."),
    ],
    raw: Annotated[
        Path,
        typer.Argument(help="The download: unpacked, a zip or tar file, or a folder of these."),
    ],
    out: NewFolder,
    labeled: Annotated[
        float, typer.Option(help="Share of the training images that keep their masks.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Which images those are.")] = 0,
    classes: Annotated[
        int | None, typer.Option(help="cityscapes: 34 label ids or 19 classes.  [default: 34]")
    ] = None,
    paper_split: Annotated[
        bool | None,
        typer.Option(
            "--paper-split", help="cityscapes: val and test are random halves, not cities."
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Sort a downloaded data set into labeled, unlabeled, val and test. Nothing is downloaded."""
    from imseg.data.datasets import prepare_data_set

    with show.Bars() as bars:
        show.say(f"The data goes to {out}")
        counts = prepare_data_set(
            name,
            raw,
            out,
            labeled=labeled,
            seed=seed,
            classes=classes,
            paper_split=paper_split,
            progress=bars.counted,
        )
    lines = [
        f"{shown(out)}: {counts.labeled} labeled, {counts.unlabeled} unlabeled,"
        f" {counts.val} val, {counts.test} test ({counts.source})"
    ]
    if counts.figures:
        figures = (f"{what.replace('_', ' ')} {count:,}" for what, count in counts.figures.items())
        lines.append(f"Counted: {', '.join(figures)}")
    lines += [f"Note: {shown(note)}" for note in counts.notes]
    lines.append(f"Next: imseg check {shown(out)}")
    content = {"out": str(out), **dataclasses.asdict(counts)}
    return show.show_result("\n".join(lines), content, as_json=json)


def polygons(
    annotations: Annotated[
        list[Path],
        typer.Argument(
            help="Files of COCO, LabelMe, CVAT for images 1.1, YOLO, Label Studio, QuPath (GeoJSON)"
            " or ImageJ (ROIs), their folders, or .zip files of them; several are joined."
        ),
    ],
    out: NewFolder,
    images: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the pictures.  [default: where the names lead, near ANNOTATIONS]"
        ),
    ] = None,
    way: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="classes: a class number per pixel; instances: a number per object; labels:"
            " a mask per label, overlaps kept.  [default: by what is drawn]",
        ),
    ] = None,
    crowds: Annotated[
        str | None,
        typer.Option(
            help="What COCO's iscrowd marks: objects (painted with a brush) or void (many objects"
            " in one region).  [default: by what they look like]"
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(help="Of files that are not UTF-8, such as gb18030, cp1251 or cp932."),
    ] = None,
    pages: Annotated[
        str,
        typer.Option(
            help="What several pages in a picture file are: first, max (the maximum over all), the"
            " number of a plane, or channels. Goes to imseg.toml."
        ),
    ] = "refuse",
    json: Json = False,
) -> int:
    """Turn outlines of annotation tools (COCO, YOLO, ImageJ ...) into masks, in a data folder."""
    from imseg.data.folder.config import parse_pages
    from imseg.data.polygons import CROWDS, MODES, convert_polygons

    modes, kinds = {str(mode): mode for mode in MODES}, {str(kind): kind for kind in CROWDS}
    noun = "way to write masks"
    mode = None if way is None else look_up(way, modes, noun=noun, command="--as {}")
    noun = "meaning of crowds"
    kind = None if crowds is None else look_up(crowds, kinds, noun=noun, command="--crowds {}")
    planes = parse_pages(pages)
    with show.Bars() as bars:
        show.say(f"The data goes to {out}")
        made = convert_polygons(
            annotations,
            out,
            images=images,
            mode=mode,
            crowds=kind,
            encoding=encoding,
            pages=planes,
            progress=partial(bars.counted, "drawing"),
        )
    content = {"out": str(out), **dataclasses.asdict(made)}
    return show.show_result(_conversion_text(made, out), content, as_json=json)


def _conversion_text(made: Conversion, out: Path) -> str:
    """Return what was made, and everything that was left out or changed."""
    from imseg.data.files.listing import counted
    from imseg.data.polygons import MODES

    others = " or ".join(f"--as {mode}" for mode in MODES if mode != made.mode)
    lines = [
        f"Read {made.format} annotations; pictures from {shown(made.images)}",
        f"Wrote masks as {made.mode} ({made.reason}); choose another way with {others}",
        f"{shown(out)}: {made.labeled} labeled, {made.unlabeled} unlabeled"
        + (f", {made.val} val, {made.test} test" if made.val or made.test else ""),
    ]
    if made.val or made.test:
        lines.append("  val and test as the annotations say; they are never trained on")
    if made.listed_empty:
        empty = counted(made.listed_empty, "picture")
        lines.append(f"  {empty} listed without a region: taken for unlabeled, not for empty")
    if made.unlisted:
        others = counted(made.unlisted, "picture")
        lines.append(f"  {others} not listed, beside listed ones: unlabeled")
    lines += [f"  {shown(label)}: {counted(n, 'object')}" for label, n in made.objects.items()]
    if made.unused:
        lines.append(f"  declared, but drawn nowhere: {and_more(made.unused, 8)}")
    if made.overlap_pixels:
        pixels = counted(made.overlap_pixels, "pixel")
        pictures = counted(made.overlap_pictures, "picture")
        what = "labels" if made.mode != "instances" else "objects"
        kept = "kept in both" if made.mode == "labels" else "the topmost counts"
        lines.append(f"  {pixels} in {pictures} on more than one of the {what}: {kept}")
    if made.void_pixels:
        lines.append(f"  {counted(made.void_pixels, 'pixel')} void (crowds and __ignore__)")
    lines += [f"  {len(places)} {what}: {and_more(places)}" for what, places in made.noted.items()]
    if made.renamed:
        pairs = [f"{name} is now {stem}" for name, stem in made.renamed.items()]
        lines.append(f"  renamed, because stems were equal: {and_more(pairs)}")
    lines += [finding_as_text(finding) for finding in made.findings]
    return "\n".join([*lines, f"Next: imseg check {shown(out)}"])
