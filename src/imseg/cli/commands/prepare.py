"""``imseg prepare``: a public data set as it is downloaded, into the folder layout."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imseg.cli.arguments import Json

if TYPE_CHECKING:
    from imseg.data.polygons import Conversion, Mode


Name = Annotated[
    str,
    typer.Argument(
        help="isic2018 (2017 works too), hela, suim, cityscapes, camvid or nuclei.",
        show_default=False,
    ),
]
Raw = Annotated[
    Path,
    typer.Argument(
        help="The download: unpacked, a zip or tar file, or a folder of these.", show_default=False
    ),
]
Out = Annotated[Path, typer.Option(help="A new folder for the data.", show_default=False)]


def prepare(
    name: Name,
    raw: Raw,
    out: Out,
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
    from imseg.cli import show
    from imseg.data.datasets import prepare_data_set
    from imseg.errors import shown

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
    if json:
        show.show_json({"out": str(out), **dataclasses.asdict(counts)})
        return 0
    print(
        f"{shown(out)}: {counts.labeled} labeled, {counts.unlabeled} unlabeled,"
        f" {counts.val} val, {counts.test} test ({counts.source})"
    )
    if counts.figures:
        figures = (f"{what.replace('_', ' ')} {count:,}" for what, count in counts.figures.items())
        print(f"Counted: {', '.join(figures)}")
    for note in counts.notes:
        print(f"Note: {shown(note)}")
    print(f"Next: imseg check {shown(out)}")
    return 0


def polygons(
    annotations: Annotated[
        Path,
        typer.Argument(
            help="A COCO instances .json, LabelMe .json files (their folder, or one), a CVAT for"
            " images 1.1 .xml, or a .zip of one of these.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="A new folder for the data.", show_default=False)],
    images: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the pictures.  [default: where the names lead, near ANNOTATIONS]",
            show_default=False,
        ),
    ] = None,
    way: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="classes: a class number per pixel; instances: a number per object; labels:"
            " a mask per label, overlaps kept.  [default: by what is drawn]",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Turn outlines (COCO, LabelMe, CVAT) into masks, in a data folder to train on."""
    from imseg.cli import show
    from imseg.data.polygons import convert_polygons

    mode = None if way is None else _parse_mode(way)
    with show.Bars() as bars:
        show.say(f"The data goes to {out}")
        made = convert_polygons(
            annotations,
            out,
            images=images,
            mode=mode,
            progress=lambda done, total: bars.counted("drawing", done, total),
        )
    if json:
        show.show_json({"out": str(out), **dataclasses.asdict(made)})
        return 0
    _show(made, out)
    return 0


def _parse_mode(word: str) -> Mode:
    """Return the way to write masks that is meant."""
    from imseg.data.polygons import MODES
    from imseg.errors import look_up

    known: dict[str, Mode] = {mode: mode for mode in MODES}
    return look_up(word, known, noun="way to write masks", command="--as {}")


def _show(made: Conversion, out: Path) -> None:
    """Print what was made, and everything that was left out or changed."""
    from imseg.data.files.listing import counted
    from imseg.data.polygons import MODES
    from imseg.errors import and_more, shown

    others = " or ".join(f"--as {mode}" for mode in MODES if mode != made.mode)
    print(f"Read {made.format} annotations; pictures from {shown(made.images)}")
    print(f"Wrote masks as {made.mode} ({made.reason}); choose another way with {others}")
    print(f"{shown(out)}: {made.labeled} labeled, {made.unlabeled} unlabeled")
    if made.listed_empty:
        print(
            f"  {counted(made.listed_empty, 'picture')} listed without a region: taken for"
            " unlabeled, not for empty"
        )
    if made.unlisted:
        print(f"  {counted(made.unlisted, 'picture')} not listed, beside listed ones: unlabeled")
    for label, count in made.objects.items():
        print(f"  {shown(label)}: {counted(count, 'object')}")
    if made.unused:
        print(f"  declared, but drawn nowhere: {and_more(made.unused, 8)}")
    if made.overlap_pixels:
        what = "labels" if made.mode != "instances" else "objects"
        kept = "kept in both" if made.mode == "labels" else "the topmost counts"
        pictures = counted(made.overlap_pictures, "picture")
        print(
            f"  {counted(made.overlap_pixels, 'pixel')} in {pictures} on more than one of the"
            f" {what}: {kept}"
        )
    if made.void_pixels:
        print(f"  {counted(made.void_pixels, 'pixel')} void (crowds and __ignore__)")
    for what, places in made.noted.items():
        print(f"  {len(places)} {what}: {and_more(places)}")
    if made.renamed:
        pairs = [f"{name} is now {stem}" for name, stem in made.renamed.items()]
        print(f"  renamed, because stems were equal: {and_more(pairs)}")
    print(f"Next: imseg check {shown(out)}")
