"""``imseg report``: one HTML page about a run or a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imseg.cli.options import Device, Json


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            help="The folder of a finished run, or of a comparison.",
            metavar="RUN|COMPARISON",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Argument(
            help="The data folder: adds images and scores on its test split.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page.  [default: report.html in the folder]"),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Write a page that says what was found, with figures, images, and all numbers beside it."""
    from imseg.cli import show
    from imseg.errors import shown
    from imseg.report.html.make import figures_beside, make_report, place_of

    place_of(folder, out)  # a name that cannot be is told before anything is looked at
    with show.Bars() as bars:
        page = make_report(folder, data, out=out, device=device, progress=bars)
    if json:
        show.show_json({"report": str(page), "files": str(figures_beside(page))})
    else:
        print(f"Report: {shown(page)}")
        print(f"Figures and tables: {shown(figures_beside(page))}")
        if data is None:
            print(f"With images: imseg report {shown(folder)} DATA")
    return 0
