"""``imseg status``: how far a run or a comparison has come."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imseg.cli.options import Json

RunOrComparison = Annotated[
    Path,
    typer.Argument(
        help="The folder of a run or of a comparison.",
        metavar="RUN|COMPARISON",
        show_default=False,
    ),
]


def status(folder: RunOrComparison, json: Json = False) -> int:
    """Show what is done, under way and left; a training that goes on is not disturbed."""
    from imseg.approaches.comparison.status import (
        ComparisonStatus,
        comparison_status,
        is_comparison,
    )
    from imseg.approaches.status import RunStatus, status_of
    from imseg.cli import show
    from imseg.cli.status_text import comparison_text, run_text

    found: RunStatus | ComparisonStatus
    if is_comparison(folder):
        found = comparison = comparison_status(folder)
        text = comparison_text(comparison)
    else:
        found = run = status_of(folder)
        text = run_text(run)
    if json:
        show.show_json(found.as_dict())
    else:
        print(text)
    return 0
