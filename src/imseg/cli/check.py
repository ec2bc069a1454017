"""``imseg check``: what is in a data folder, every problem, and a repaired copy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imseg.cli.options import TASK_HELP, Data, Json
from imseg.errors import ImsegError


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
    json: Json = False,
) -> int:
    """Show what is in a data folder and every problem. Exit 0 (warnings at most) or 2 (errors).

    With --fix a copy is written in which what a program can mend is mended; the exit status is then
    that of the copy.
    """
    from imseg.cli import show
    from imseg.cli.check_text import as_text, repairs_as_text
    from imseg.cli.parse import parse_task
    from imseg.data.check import check_folder
    from imseg.data.listing import short_name
    from imseg.data.repair.repair import repair_folder
    from imseg.errors import shown
    from imseg.report.figures import contact_sheet, save

    word = parse_task(task)
    fixed = None
    with show.Bars() as bars:
        report = check_folder(data, task=word, progress=lambda d, t: bars.counted("looking", d, t))
        if fix is not None:
            show.say(f"The repaired copy goes to {fix}")
            fixed = repair_folder(
                data, fix, task=word, progress=lambda d, t: bars.counted("mending", d, t)
            )
    picture = unwritten = None
    if report.spec is not None and report.reading is not None and report.labeled:
        path = sheet or Path(f"imseg-check-{short_name(data)}.png")
        try:
            picture = save(path, contact_sheet(report.labeled, report.spec, reading=report.reading))
        except ImsegError as error:
            unwritten = error  # what was found is said all the same
    if json:
        found = {**report.as_dict(), "contact_sheet": str(picture) if picture else None}
        show.show_json({**found, "fixed": fixed.as_dict() if fixed else None})
    else:
        print(shown(as_text(report, picture), lines=True))
        if fixed is not None:
            print(shown(repairs_as_text(fixed), lines=True))
    if unwritten is not None:
        raise unwritten
    return 2 if (fixed.report if fixed else report).errors else 0
