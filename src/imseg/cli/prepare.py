"""``imseg prepare``: a public data set as it is downloaded, into the folder layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imseg.cli.options import Json

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
    import dataclasses

    from imseg.cli import show
    from imseg.data.prepare import prepare_data_set
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
