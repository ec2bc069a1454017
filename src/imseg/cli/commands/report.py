"""``imseg report``: one HTML page about a run or a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imseg.cli.arguments import Device, Json, TrustNetwork
from imseg.cli.show import page_of


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
        Path | None, typer.Option(help="The page.  [default: report.html in the folder]")
    ] = None,
    device: Device = "auto",
    trust_network: TrustNetwork = False,
    json: Json = False,
) -> int:
    """Write a page that says what was found, with figures, images, and all numbers beside it."""
    from imseg.cli import show
    from imseg.errors import shown
    from imseg.report.html.make import figures_beside, make_report, place_of

    place_of(folder, out)  # a name that cannot be is told before anything is looked at
    with show.Bars() as bars:
        page = make_report(
            folder, data, out=out, device=device, trust_network=trust_network, progress=bars
        )
    if json:
        show.show_json({"report": str(page), "files": str(figures_beside(page))})
    else:
        print(f"Report: {shown(page)}")
        print(f"Figures and tables: {shown(figures_beside(page))}")
        if data is None:
            print(f"With images: imseg report {shown(folder)} DATA")
    return 0


def demo(
    out: Annotated[Path, typer.Option(help="Where data, runs and pictures go.")] = Path("demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed and less data; ends within a minute.")
    ] = False,
    json: Json = False,
) -> int:
    """Train labels alone and inconsistency masks on made-up cells; show every seed and pictures."""
    from imseg.cli import show
    from imseg.report import comparison_tables as tables
    from imseg.report.demo import FULL, QUICK, run_demo

    with show.Bars() as bars:
        show.say(f"The demo goes to {out}")
        outcome = run_demo(out, QUICK if quick else FULL, progress=bars)
        found = outcome.comparison
        tables.write_tables(found, outcome.folder)
        page = page_of(outcome.folder, outcome.data, bars)
    if json:
        pictures = [str(path) for path in outcome.pictures]
        further = {"report": None if page is None else str(page), "pictures": pictures}
        show.show_json({"comparison": found.as_dict(), **further})
        return 0
    print(f"{tables.seeds_table(found)}\n\n{tables.comparison_table(found)}\n")
    print("ldt learns from the labels alone; ldt-matched too, with as many steps as im's network.")
    print("\n".join(tables.verdicts(found)))
    if quick:
        print("`imseg demo` without --quick shows five seeds.")
    print("Pictures (image, truth, prediction, where networks disagree), from best to worst image:")
    for picture in outcome.pictures:
        print(f"  {picture}")
    if page is not None:
        print(f"Report: {page}")
    return 0
