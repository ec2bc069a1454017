"""``imseg approaches``, ``explain``, ``compare``, ``reproduce`` and ``demo``: which is best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imseg.cli import show
from imseg.cli.arguments import Config, Data, Json, takes_settings
from imseg.errors import ImsegError
from imseg.progress import in_time

if TYPE_CHECKING:
    from imseg.comparison.comparison_plan import ComparisonEstimate, ComparisonPlan


def approaches(json: Json = False) -> int:
    """List all approaches, each with one plain sentence."""
    from imseg.approaches.methods.catalog import APPROACHES

    summaries = {name: each.summary for name, each in APPROACHES.items()}
    text = "\n".join(f"{name:<15} {summary}" for name, summary in summaries.items())
    return show.show_result(text, summaries, as_json=json)


def explain(
    name: Annotated[str, typer.Argument(help="See `imseg approaches`.")], json: Json = False
) -> int:
    """Show what an approach does and how it differs from the one it comes from."""
    from imseg.approaches.methods.catalog import find_approach
    from imseg.approaches.methods.explain import explain_approach

    explained = explain_approach(find_approach(name, "imseg explain {}"))
    return show.show_result(explained.as_text(), explained.as_dict(), as_json=json)


Approaches = Annotated[
    str, typer.Option(help="Names from `imseg approaches`, separated by commas.")
]
Seeds = Annotated[str, typer.Option(help="A run of every approach each, separated by commas.")]


SETTLED = ("approach", "start_with", "seed", "match", "reuse")
"""What a comparison chooses for each of its runs by itself."""


@takes_settings(without=(*SETTLED, "paper", "minutes"))
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
    from imseg.comparison import comparison_plan, runner
    from imseg.report import comparison_tables as tables

    options = values_from(settings, config=config)
    with show.Bars() as bars:
        planned = comparison_plan.plan_comparison(
            data,
            approaches=_words(approaches),
            seeds=_numbers(seeds),
            out=out,
            options=options,
            progress=bars,
        )
        if dry_run or planned.is_long:
            expected = comparison_plan.estimate_comparison(planned, bars)
            if dry_run:
                return _show_estimate(planned, expected, json=json)
            show.say(
                f"{len(planned.participants) * len(planned.seeds)} runs, about"
                f" {in_time(expected.seconds)} in all on this machine if nothing is done yet."
                " --effort quick takes minutes a run. Stop it whenever you like: the same command"
                " continues."
            )
        found = runner.carry_out(planned, bars)
        table, sheet = tables.write_tables(found, planned.out)
        page = show.page_of(planned.out, planned.dataset, bars)
    verdicts = "\n".join(f"* {line}" for line in tables.verdicts(found))
    text = f"{tables.comparison_table(found)}\n\n{tables.NOTES}\n\n{verdicts}"
    text += f"\n\nTables: {table} {sheet}" + (f"\nReport: {page}" if page else "")
    content = {"comparison": str(planned.out), "report": page and str(page), **found.as_dict()}
    return show.show_result(text, content, as_json=json, failed=bool(found.missing))


def _show_estimate(planned: ComparisonPlan, expected: ComparisonEstimate, *, json: bool) -> int:
    """Show what a comparison would take."""
    from imseg.report.comparison_tables import estimate_text

    content = {"comparison": str(planned.out), **expected.as_dict()}
    return show.show_result(estimate_text(planned, expected), content, as_json=json)


def _words(text: str) -> list[str]:
    """Return what stands between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[int]:
    """Return the whole numbers between commas.

    Raises:
        ImsegError: If there is anything else.
    """
    try:
        return [int(word) for word in _words(text)]
    except ValueError as error:
        raise ImsegError(
            "--seeds cannot be read.",
            expected="whole numbers from 0, separated by commas.",
            got=text,
            hint="--seeds 0,1,2",
        ) from error


ExperimentName = Annotated[str, typer.Argument(help="isic2018, hela, suim or cityscapes.")]
Download = Annotated[
    Path,
    typer.Argument(
        help="The download (each run then has a split of its own), or what `imseg prepare` made."
    ),
]


FIXED = (
    *("paper", "effort", "minutes", "scale", "patch", "whole_image", "object_size"),
    *("strength_schedule", "strength_level", "unlabeled_masks"),
)
"""Settings that the published experiment has."""


@takes_settings(without=(*SETTLED, *FIXED))
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
    config: Config = None,
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
    from imseg.comparison import comparison_plan, paper_comparison
    from imseg.report import comparison_tables as tables

    options = values_from(settings, config=config)
    with show.Bars() as bars:
        plans = paper_comparison.plan_reproduction(
            name,
            data,
            approaches=None if approaches is None else _words(approaches),
            runs=1 if dry_run else runs,
            out=out,
            matched=matched,
            options=options,
            progress=bars,
        )
        if dry_run:
            one = comparison_plan.estimate_comparison(plans[0], bars)
            return _show_estimate(plans[0], replace(one, seeds=runs), json=json)
        found, comparisons = paper_comparison.carry_out_all(plans, bars)
        for each, planned in zip(comparisons, plans, strict=True):
            tables.write_tables(each, planned.out)
            show.page_of(planned.out, planned.dataset, bars)
        table, sheet = tables.write_reproduction(found, plans[0].out.parent)
    place = plans[0].out.parent
    text = f"{tables.reproduction_table(found)}\n\n{tables.REPRODUCTION_NOTES}\n\n"
    text += f"{tables.departures_text(found)}\n\nTables: {table} {sheet}\n"
    text += f"All runs, scores, tables and the report of each split: {place}"
    failed = any(each.missing for each in comparisons)
    return show.show_result(text, found.as_dict(), as_json=json, failed=failed)


def demo(
    out: Annotated[Path, typer.Option(help="Where data, runs and pictures go.")] = Path("demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed and less data; ends within a minute.")
    ] = False,
    json: Json = False,
) -> int:
    """Train labels alone and inconsistency masks on made-up cells; show every seed and pictures."""
    from imseg.report import comparison_tables as tables
    from imseg.report.demo import FULL, QUICK, run_demo

    with show.Bars() as bars:
        show.say(f"The demo goes to {out}")
        outcome = run_demo(out, QUICK if quick else FULL, progress=bars)
        found = outcome.comparison
        tables.write_tables(found, outcome.folder)
        page = show.page_of(outcome.folder, outcome.data, bars)
    lines = [
        f"{tables.seeds_table(found)}\n\n{tables.comparison_table(found)}\n",
        "ldt learns from the labels alone; ldt-matched too, with as many steps as im's network.",
        *tables.verdicts(found),
    ]
    if quick:
        lines.append("`imseg demo` without --quick shows five seeds.")
    what = "Pictures (image, truth, prediction, where networks disagree), from best to worst image:"
    pictures = [str(path) for path in outcome.pictures]
    lines += [what, *(f"  {path}" for path in pictures)]
    if page is not None:
        lines.append(f"Report: {page}")
    content = {"comparison": found.as_dict(), "report": page and str(page), "pictures": pictures}
    return show.show_result("\n".join(lines), content, as_json=json)
