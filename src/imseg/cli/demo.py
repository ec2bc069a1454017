"""``imseg demo``: see it work, on cells made by the program itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imseg.cli.options import Json
from imseg.cli.page import page_of


def demo(
    out: Annotated[Path, typer.Option(help="Where data, runs and pictures go.")] = Path("demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed and less data; ends within a minute.")
    ] = False,
    json: Json = False,
) -> int:
    """Train labels alone and inconsistency masks on made-up cells; show every seed and pictures."""
    from imseg.cli import show
    from imseg.report.comparison_tables import (
        comparison_table,
        seeds_table,
        verdicts,
        write_tables,
    )
    from imseg.report.demo import FULL, QUICK, run_demo

    with show.Bars() as bars:
        show.say(f"The demo goes to {out}")
        outcome = run_demo(out, QUICK if quick else FULL, progress=bars)
        found = outcome.comparison
        write_tables(found, outcome.folder)
        page = page_of(outcome.folder, outcome.data, bars)
    if json:
        pictures = [str(path) for path in outcome.pictures]
        further = {"report": None if page is None else str(page), "pictures": pictures}
        show.show_json({"comparison": found.as_dict(), **further})
        return 0
    print(seeds_table(found))
    print()
    print(comparison_table(found))
    print()
    print("ldt learns from the labels alone; ldt-matched too, with as many steps as im's network.")
    print("\n".join(verdicts(found)))
    if quick:
        print("`imseg demo` without --quick shows five seeds.")
    print("Pictures (image, truth, prediction, where networks disagree), from best to worst image:")
    for picture in outcome.pictures:
        print(f"  {picture}")
    if page is not None:
        print(f"Report: {page}")
    return 0
