"""``imseg compare``: approaches under the same conditions, with the baselines fairness asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imseg.cli.arguments import Data, Json, takes_settings
from imseg.cli.show import page_of
from imseg.errors import ImsegError

if TYPE_CHECKING:
    from imseg.comparison.comparison_plan import ComparisonEstimate, ComparisonPlan
    from imseg.progress import Progress


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
        bool, typer.Option("--dry-run", help="Train and write nothing: say how long it would take.")
    ] = False,
    json: Json = False,
    **settings: Any,
) -> int:
    """Compare approaches on the test images, each method with a baseline that trains as long."""
    from imseg.approaches.planning.settings import values_from
    from imseg.cli import show
    from imseg.comparison.comparison_plan import estimate_comparison, plan_comparison
    from imseg.comparison.runner import carry_out
    from imseg.progress import in_time
    from imseg.report import comparison_tables as tables

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
                f"{len(planned.participants) * len(planned.seeds)} runs, about"
                f" {in_time(expected.seconds)} in all on this machine if nothing is done yet."
                " --effort quick takes minutes a run. Stop it whenever you like: the same command"
                " continues."
            )
        found = carry_out(planned, bars)
        table, sheet = tables.write_tables(found, planned.out)
        page = page_of(planned.out, planned.dataset, bars)
    if json:
        further = {"report": None if page is None else str(page)}
        show.show_json({"comparison": str(planned.out), **further, **found.as_dict()})
    else:
        print(f"{tables.comparison_table(found)}\n\n{tables.NOTES}\n")
        print("\n".join(f"* {line}" for line in tables.verdicts(found)))
        print(f"\nTables: {table} {sheet}")
        if page is not None:
            print(f"Report: {page}")
    return FAILED if found.missing else 0


def show_estimate(planned: ComparisonPlan, expected: ComparisonEstimate, *, json: bool) -> int:
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


ExperimentName = Annotated[
    str, typer.Argument(help="isic2018, hela, suim or cityscapes.", show_default=False)
]
Download = Annotated[
    Path,
    typer.Argument(
        help="The download (each run then has a split of its own), or what `imseg prepare` made.",
        show_default=False,
    ),
]


FIXED = ("paper", "effort", "strength_schedule", "strength_level", "unlabeled_masks")
"""Settings that the published experiment has."""


@takes_settings(without=("approach", "seed", "match", "reuse", *FIXED))
def reproduce(
    name: ExperimentName,
    data: Download,
    approaches: Annotated[
        str | None,
        typer.Option(
            help="Names, separated by commas.  [default: ldt, aldt, fdt, im and the paper's best]"
        ),
    ] = None,
    runs: Annotated[int, typer.Option(help="How often everything is done; the paper has 3.")] = 3,
    out: Annotated[
        Path | None, typer.Option(help="The folder.  [default: runs/reproduce-<name>]")
    ] = None,
    matched: Annotated[
        bool,
        typer.Option(
            "--matched/--no-matched",
            help="Add baselines that train as long as each method, which the paper lacks.",
        ),
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="Settings as TOML; options given here win over it.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Train nothing: say how many hours it would take here. Of a download one split is"
            " prepared for that, which is used later.",
        ),
    ] = False,
    json: Json = False,
    **settings: Any,
) -> int:
    """Train approaches under the published settings and compare with the published scores."""
    from imseg.approaches.planning.settings import values_from
    from imseg.cli import show
    from imseg.comparison.paper_comparison import carry_out_all, plan_reproduction
    from imseg.report import comparison_tables as tables

    options = values_from(settings, config=config)
    with show.Bars() as bars:
        plans = plan_reproduction(
            name,
            data,
            approaches=None if approaches is None else words(approaches),
            runs=1 if dry_run else runs,
            out=out,
            matched=matched,
            options=options,
            progress=bars,
        )
        if dry_run:
            return _only_estimate(plans, bars, runs=runs, json=json)
        found, comparisons = carry_out_all(name, plans, options=options, progress=bars)
        for each, planned in zip(comparisons, plans, strict=True):
            tables.write_tables(each, planned.out)
            page_of(planned.out, planned.dataset, bars)
        table, sheet = tables.write_reproduction(found, plans[0].out.parent)
    if json:
        show.show_json(found.as_dict())
    else:
        print(tables.reproduction_table(found))
        print(f"\n{tables.REPRODUCTION_NOTES}\n\n{tables.departures_text(found)}")
        print(f"\nTables: {table} {sheet}")
        print(f"All runs, scores, tables and the report of each split: {plans[0].out.parent}")
    return FAILED if any(each.missing for each in comparisons) else 0


def _only_estimate(
    plans: list[ComparisonPlan], progress: Progress, *, runs: int, json: bool
) -> int:
    """Show what one split would take, times the number of runs."""
    from dataclasses import replace

    from imseg.comparison.comparison_plan import estimate_comparison

    expected = estimate_comparison(plans[0], progress)
    return show_estimate(plans[0], replace(expected, seeds=runs), json=json)
