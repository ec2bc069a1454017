"""``imseg compare``: approaches under the same conditions, with the baselines fairness asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imseg.cli.options import Data, Json
from imseg.cli.page import page_of
from imseg.cli.setting_options import takes_settings
from imseg.errors import ImsegError

if TYPE_CHECKING:
    from imseg.approaches.comparison.estimate import ComparisonEstimate
    from imseg.approaches.comparison.planning import Planned

FAILED = 1
"""Exit status if a run is missing."""

Approaches = Annotated[
    str, typer.Option(help="Names from `imseg approaches`, separated by commas.")
]
Seeds = Annotated[str, typer.Option(help="A run of every approach each, separated by commas.")]


@takes_settings(without=("approach", "seed", "match", "reuse", "paper"))
def compare(
    data: Data,
    approaches: Approaches = "ldt,aldt,im,aim++",
    seeds: Seeds = "0,1,2",
    out: Annotated[
        Path | None,
        typer.Option(help="The folder of the comparison.  [default: runs/<data>-compare]"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Settings of all runs as TOML; options given here win over it."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Train and write nothing: say how long it would take."),
    ] = False,
    json: Json = False,
    **settings: Any,
) -> int:
    """Compare approaches on the test images, each method with a baseline that trains as long."""
    from imseg.approaches.comparison.compare import carry_out
    from imseg.approaches.comparison.estimate import estimate_comparison
    from imseg.approaches.comparison.planning import plan_comparison
    from imseg.approaches.duration import in_time
    from imseg.approaches.settings import values_from
    from imseg.cli import show
    from imseg.report.comparison_tables import NOTES, comparison_table, verdicts, write_tables

    options = values_from(settings, config=config)
    with show.Bars() as bars:
        planned = plan_comparison(
            data,
            approaches=words(approaches),
            seeds=numbers(seeds),
            out=out,
            options=options,
            progress=bars,
        )
        if dry_run:
            expected = estimate_comparison(planned, bars)
            return show_estimate(planned, expected, json=json)
        if planned.is_long:
            expected = estimate_comparison(planned, bars)
            show.say(
                f"{len(planned.entrants) * len(planned.seeds)} runs, about"
                f" {in_time(expected.seconds)} in all on this machine if nothing is done yet."
                " --effort quick takes minutes a run. Stop it whenever you like: the same command"
                " continues."
            )
        found = carry_out(planned, bars)
        table, sheet = write_tables(found, planned.out)
        page = page_of(planned.out, planned.dataset, bars)
    if json:
        further = {"report": None if page is None else str(page)}
        show.show_json({"comparison": str(planned.out), **further, **found.as_dict()})
    else:
        print(comparison_table(found))
        print(f"\n{NOTES}\n")
        print("\n".join(f"* {line}" for line in verdicts(found)))
        print(f"\nTables: {table} {sheet}")
        if page is not None:
            print(f"Report: {page}")
    return FAILED if found.missing else 0


def show_estimate(planned: Planned, expected: ComparisonEstimate, *, json: bool) -> int:
    """Show what a comparison would take."""
    from imseg.cli import show
    from imseg.report.comparison_tables import estimate_text

    if json:
        show.show_json({"comparison": str(planned.out), **expected.as_dict()})
    else:
        print(estimate_text(planned, expected))
    return 0


def words(text: str) -> list[str]:
    """Return what stands between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(text: str) -> list[int]:
    """Return the whole numbers between commas.

    Raises:
        ImsegError: If there is anything else.
    """
    try:
        return [int(word) for word in words(text)]
    except ValueError as error:
        raise ImsegError(
            "--seeds cannot be read.",
            expected="whole numbers from 0, separated by commas: --seeds 0,1,2",
            got=text,
        ) from error
