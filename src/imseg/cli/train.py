"""``imseg train``: from a data folder to a finished run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imseg.cli.options import Data, Json
from imseg.cli.page import page_of
from imseg.cli.setting_options import takes_settings
from imseg.errors import ImsegError, shown

if TYPE_CHECKING:
    from imseg.approaches.settings import Settings
    from imseg.cli.show import Bars


@takes_settings()
def train(
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(help="The run folder.  [default: runs/<data>-<approach>-seed<N>]"),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings as TOML; options given here win over it.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Train and write nothing: say what it would take in time, memory and disk.",
        ),
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe/--no-probe", help="With --dry-run: measure a few steps here, or do without."
        ),
    ] = True,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Write report.html into the run at its end, from the validation images.",
        ),
    ] = True,
    json: Json = False,
    **settings: Any,
) -> int:
    """Train an approach. Repeat the command to continue a run that was stopped."""
    from imseg.approaches.experiment import fit
    from imseg.approaches.settings import settings_from
    from imseg.approaches.stage import missing_by_stage
    from imseg.cli import show
    from imseg.report.tables import stages_table, time_in_words

    if not probe and not dry_run:
        raise ImsegError(
            "--no-probe says nothing without --dry-run.",
            expected="it with --dry-run, which else measures a few steps.",
            hint="leave it out; --max-steps spares a training its measurement.",
        )
    asked = settings_from(settings, config=config)
    if dry_run:
        return _only_estimate(data, out, asked, probe=probe, json=json)
    with show.Bars() as bars:
        run = fit(data, out=out, settings=asked, progress=bars)
        page = _page(run.path, data, bars) if report else None
    if json:
        further = {"report": None if page is None else str(page)}
        show.show_json({"run": str(run.path), **further, **run.summary})
        return 0
    final = run.summary["network"]
    print(f"{stages_table(run)}\n")
    print(f"Network of the run: {final}, validation {run.metric.text(run.summary['validation'])}")
    for stage, missing in missing_by_stage(run.summary).items():
        print(f"{stage}: {missing}")
    if run.start_was_better:
        print(
            f"The start was better on validation: --network {run.best_of_start} takes it instead."
        )
    if spent := time_in_words(run.summary):
        print(f"Time: {spent}")
    better = f" --network {run.best_of_start}" if run.start_was_better else ""
    if page is not None:
        print(f"Report: {shown(page)}")
    path = shown(run.path)
    print(f"Next: imseg evaluate {path} {shown(data)}{better}")
    print(f"      imseg predict {path} IMAGES --out masks/{better}")
    return 0


def _page(run: Path, data: Path, bars: Bars) -> Path | None:
    """Return the report of a run, made now of the validation images; one that is there stays."""
    there = run / "report.html"
    return there if there.exists() else page_of(run, data, bars, test=False, quick=True)


def _only_estimate(
    data: Path, out: Path | None, settings: Settings, *, probe: bool, json: bool
) -> int:
    """Show what a training would take."""
    from imseg.approaches.estimate import estimate
    from imseg.cli import show
    from imseg.cli.estimate_text import estimate_text

    with show.Bars() as bars:
        found = estimate(data, out=out, settings=settings, progress=bars, probe=probe)
    if json:
        show.show_json(found.as_dict())
    else:
        print(estimate_text(found, datetime.now()))
    return 0
