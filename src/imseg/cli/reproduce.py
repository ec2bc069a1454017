"""``imseg reproduce``: the paper's experiments again, and ours beside its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imseg.cli.compare import FAILED, show_estimate, words
from imseg.cli.options import Json
from imseg.cli.page import page_of
from imseg.cli.setting_options import takes_settings

if TYPE_CHECKING:
    from imseg.approaches.comparison.planning import Planned
    from imseg.engine.progress import Progress

Name = Annotated[
    str, typer.Argument(help="isic2018, hela, suim or cityscapes.", show_default=False)
]
Raw = Annotated[
    Path,
    typer.Argument(
        help="The download (each run then has a split of its own), or what `imseg prepare` made.",
        show_default=False,
    ),
]


FIXED = ("paper", "effort", "ladder", "rung", "unlabeled_masks")
"""Settings that the published experiment has."""


@takes_settings(without=("approach", "seed", "match", "reuse", *FIXED))
def reproduce(
    name: Name,
    data: Raw,
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
    from imseg.approaches.comparison.reproduce import carry_out_all, plan_reproduction
    from imseg.approaches.settings import values_from
    from imseg.cli import show
    from imseg.report.comparison_tables import write_tables
    from imseg.report.reproduction_tables import (
        NOTES,
        departures_text,
        reproduction_table,
        write_reproduction,
    )

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
            write_tables(each, planned.out)
            page_of(planned.out, planned.dataset, bars)
        table, sheet = write_reproduction(found, plans[0].out.parent)
    if json:
        show.show_json(found.as_dict())
    else:
        print(reproduction_table(found))
        print(f"\n{NOTES}\n\n{departures_text(found)}")
        print(f"\nTables: {table} {sheet}")
        print(f"All runs, scores, tables and the report of each split: {plans[0].out.parent}")
    return FAILED if any(each.missing for each in comparisons) else 0


def _only_estimate(plans: list[Planned], progress: Progress, *, runs: int, json: bool) -> int:
    """Show what one split would take, times the number of runs."""
    from dataclasses import replace

    from imseg.approaches.comparison.estimate import estimate_comparison

    expected = estimate_comparison(plans[0], progress)
    return show_estimate(plans[0], replace(expected, seeds=runs), json=json)
