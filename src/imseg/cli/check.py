"""``imseg check``: what is in a data folder, and every problem."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imseg.cli.options import Data, Json


def check(
    data: Data,
    task: Annotated[
        str | None, typer.Option(help="binary or multiclass; recognized from the masks by default.")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Where the contact sheet goes; imseg-check-<data>.png by default."),
    ] = None,
    json: Json = False,
) -> int:
    """Show what is in a data folder and every problem. Exit 0 (warnings at most) or 2 (errors)."""
    from imseg.cli import show
    from imseg.cli.check_text import as_text
    from imseg.cli.parse import parse_task
    from imseg.data.check import check_folder
    from imseg.report.figures import contact_sheet, save

    with show.Bars() as bars:
        report = check_folder(
            data, task=parse_task(task), progress=lambda d, t: bars.counted("looking", d, t)
        )
    picture = None
    if report.spec is not None and report.labeled:
        channels = 3 if report.channels.get("color") else 1
        path = sheet or Path(f"imseg-check-{data.resolve().name}.png")
        picture = save(path, contact_sheet(report.labeled, report.spec, channels=channels))
    if json:
        show.show_json({**report.as_dict(), "contact_sheet": str(picture) if picture else None})
    else:
        print(as_text(report, picture))
    return 2 if report.errors else 0
