"""``imseg demo``: see it work, on cells made by the program itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imseg.cli.options import Json


def demo(
    out: Annotated[Path, typer.Option(help="Where data, runs and pictures go.")] = Path("demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed and less data; ends within a minute.")
    ] = False,
    json: Json = False,
) -> int:
    """Train labels alone and inconsistency masks on made-up cells; show every seed and pictures."""
    from imseg.cli import show
    from imseg.report.demo import FULL, QUICK, as_plain, results_table, run_demo

    with show.Bars() as bars:
        show.say(f"The demo goes to {out}")
        outcome = run_demo(out, QUICK if quick else FULL, progress=bars)
    if json:
        show.show_json(as_plain(outcome))
        return 0
    print(results_table(outcome))
    print()
    print("ldt learns from the labels alone; ldt-matched too, with as many steps as im's network.")
    if quick:
        print("One seed says nothing about which is better; `imseg demo` shows five.")
    print("Pictures (image, truth, prediction, where networks disagree), from best to worst image:")
    for picture in outcome.pictures:
        print(f"  {picture}")
    return 0
