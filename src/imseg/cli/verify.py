"""``imseg verify``: whether a run is whole, and whether a network comes out again as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imseg.cli.options import Json
from imseg.cli.status import RunOrComparison
from imseg.errors import ImsegError, shown

FAILED = 1
"""Exit status if something is damaged or differs."""


def verify(
    folder: RunOrComparison,
    retrain: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK",
            help="Train this network again as it was, such as start/network-0, and compare the two;"
            " the run itself is not touched.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="What the run was trained on; with --retrain.")
    ] = None,
    json: Json = False,
) -> int:
    """Compare every file of a run or a comparison with its checksum; nothing is changed."""
    from imseg.approaches.retraining import retrain as retrained
    from imseg.approaches.verification import verify as verified
    from imseg.cli import show
    from imseg.cli.verify_text import files_text, network_text

    _check(folder, retrain, data)
    again = None
    with show.Bars() as bars:
        found = verified(folder, progress=lambda d, t: bars.counted("checking files", d, t))
        if retrain is not None and data is not None and not found.damages:
            again = retrained(folder, retrain, data, progress=bars)
    if json:
        further = (
            {} if retrain is None else {"retrained": None if again is None else again.as_dict()}
        )
        show.show_json({**found.as_dict(), **further})
    else:
        print(files_text(found))
        if again is not None:
            print(f"\n{network_text(again)}")
        elif retrain is not None:
            print(f"\n{retrain} was not trained again: first let what is damaged be made again.")
    return FAILED if found.damages or (again is not None and not again.same) else 0


def _check(folder: Path, retrain: str | None, data: Path | None) -> None:
    """Check that both or neither of two options are given, for a run."""
    from imseg.approaches.comparison.status import is_comparison

    if retrain is not None and is_comparison(folder):
        raise ImsegError(
            f"{folder} is a comparison, and --retrain is about a network of a run.",
            expected=f"one of its runs, such as {shown(folder)}/seed-0/ldt.",
            hint=f"imseg status {shown(folder)} lists them.",
        )
    if (retrain is None) == (data is None):
        return
    missing = "--data" if data is None else "--retrain"
    raise ImsegError(
        f"{missing} is missing.",
        expected="--retrain NETWORK and --data DATA together, or neither.",
        got=f"--retrain {shown(retrain)}" if data is None else f"--data {shown(data)}",
        hint=f"imseg verify {shown(folder)} --retrain {shown(retrain or 'start/network-0')} --data"
        f" {shown(data or 'DATA')}",
    )
