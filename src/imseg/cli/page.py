"""The report at the end of a command that trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imseg.cli.show import Bars
    from imseg.types import DataSet


def page_of(
    folder: Path, data: DataSet | Path, bars: Bars, *, test: bool = True, quick: bool = False
) -> Path | None:
    """Write the report of a run or a comparison; a failure is told and loses nothing else.

    Args:
        folder: The run or the comparison.
        data: What it was made from.
        bars: Shows how it goes on.
        test: Whether a run is scored on the test images.
        quick: Whether few images are looked at.
    """
    from imseg.cli import show
    from imseg.report.html.make import make_report

    try:
        return make_report(folder, data, test=test, quick=quick, progress=bars)
    except Exception as error:  # whatever goes wrong here, what was trained stays
        reason = str(error).partition("\n")[0] or type(error).__name__
        name = data.name if hasattr(data, "spec") else data
        show.say(f"warning: no report could be made ({reason}); imseg report {folder} {name}")
        return None
