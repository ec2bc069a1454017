"""The page of a comparison."""

from __future__ import annotations

import statistics
from pathlib import PurePath

from imseg.comparison.result import Comparison, ComparisonRow
from imseg.report.html.blocks import Block, Commands, Csv, Fold, Page, Points, Section, Table
from imseg.report.html.comparison_charts import differences_chart, generations_chart
from imseg.report.html.numbers import (
    between,
    count,
    minutes,
    operations,
    short,
    signed,
    whole_percent,
)
from imseg.report.html.words import comparison_answer, quoted
from imseg.types import VERSION

KINDS = {
    "labels": "labels",
    "matched": "labels, matched",
    "method": "unlabeled images too",
    "bound": "hidden labels",
}
"""How kinds of rows are called."""
DASH = "\N{EN DASH}"


def comparison_page(found: Comparison, *, data: str, images: tuple[Section, ...] = ()) -> Page:
    """Return everything that the page of a comparison says.

    Args:
        found: The comparison.
        data: How commands name the data.
        images: Sections that show images, if the data is there.
    """
    sections = (
        _scores(found), _differences(found), *images, _warnings(found), _cost(found),
        _next(found, data=data),
    )  # fmt: skip
    material = found.data
    name = PurePath(material.name).name
    return Page(
        title=f"{count(len(found.rows), 'approach').replace('approachs', 'approaches')} on {name}",
        subtitle=f"{material.labeled:,} labeled, {count(material.unlabeled, 'unlabeled image')};"
        f" {count(found.images, 'test image')}, {count(len(found.seeds), 'seed')}",
        answer=comparison_answer(found),
        sections=tuple(section for section in sections if section is not None),
        footer=f"Made by imseg {VERSION} from the comparison {found.path.name}.",
    )


def _scores(found: Comparison) -> Section:
    metric = found.metric
    several = len(found.seeds) > 1
    rows = tuple(
        (
            row.name,
            short(row.mean, metric),
            between(row.interval, metric),
            *((short(row.spread, metric),) if several else ()),
            f"{row.network_steps:,.0f}",
            KINDS.get(row.kind, row.kind),
        )
        for row in found.rows
    )
    spread = ("spread over seeds",) if several else ()
    unit = f" in {metric.unit}" if metric.unit else ""
    table = Table(
        header=(
            "",
            f"test {metric.label}{unit}",
            "95 % interval",
            *spread,
            "network's steps",
            "learns from",
        ),
        rows=rows,
        caption="The network of each run, chosen by validation images alone. Intervals are over"
        " test images. Compare like with like: an approach with its matched baseline, which took"
        " as many steps.",
        words=(5 if several else 4,),
    )
    chart = generations_chart(found)
    blocks: tuple[Block, ...] = (table,) if chart is None else (chart, table)
    title = "Scores by generation" if chart is not None else "Scores"
    return Section(
        key="scores", title=title, blocks=blocks, tables=(_rows_csv(found), _stages_csv(found))
    )


def _differences(found: Comparison) -> Section | None:
    chart, metric = differences_chart(found), found.metric
    if chart is None:
        return None
    rows = tuple(
        (
            row.name,
            row.baseline or DASH,
            signed(row.difference.mean, metric),
            between(row.difference.interval, metric, sign=True),
            whole_percent(row.difference.images_better),
            ", ".join(signed(value, metric) for value in row.difference.of_seeds) or DASH,
        )
        for row in found.rows
        if row.difference is not None
    )
    table = Table(
        header=("", "baseline", "difference", "95 % interval", "images better", "seed by seed"),
        rows=rows,
        caption=f"Differences in {metric.label}, image by image, means over seeds.",
        words=(1,),
    )
    return Section(
        key="differences",
        title="Against labels alone, at equal cost",
        blocks=(chart, table),
        tables=(_differences_csv(found),),
    )


def _warnings(found: Comparison) -> Section | None:
    same = [
        f"The networks of {row.name} are those of {row.same_as}, bit by bit."
        for row in found.rows
        if row.same_as is not None
    ]
    lost = [f"{each.name}, seed {each.seed}, came to nothing: {each.why}" for each in found.missing]
    if not same and not lost:
        return None
    return Section(key="warnings", title="What to know", blocks=(Points((*lost, *same)),))


def _cost(found: Comparison) -> Section:
    rows = tuple(
        (
            row.name,
            f"{row.network_steps:,.0f}",
            f"{row.steps:,.0f}",
            operations(row.tflops * 1e12),
            minutes(row.minutes * 60),
            f"{row.width:g}",
        )
        for row in found.rows
    )
    table = Table(
        header=("", "network's steps", "all steps", "all operations", "time", "width"),
        rows=rows,
        caption="Means over seeds. All steps: every network that was trained, teachers included."
        " Times were taken on one machine with whatever else it did.",
    )
    return Section(key="cost", title="What it cost", blocks=(table,))


def _next(found: Comparison, *, data: str) -> Section:
    folder = quoted(found.path)
    best = _run_to_go_on_with(found)
    run = quoted(found.path / best)
    commands = Commands(
        (
            ("The page of one run, with images", f"imseg report {run} {data}"),
            ("Masks for new images", f"imseg predict {run} NEW_IMAGES --out masks/ --overlay"),
            ("This page again", f"imseg report {folder} {data}"),
            ("Continue it, or add approaches and seeds", command_of(found, data=data)),
        )
    )
    settings = "\n".join(f"{name} = {value}" for name, value in found.settings.items())
    blocks: tuple[Block, ...] = (commands, Fold("All settings", settings))
    return Section(
        key="next",
        title="How to go on, and how to repeat it",
        blocks=blocks if settings else (commands,),
    )


def command_of(found: Comparison, *, data: str) -> str:
    """Return the command that made a comparison; repeated, it continues."""
    names = ",".join(dict.fromkeys(row.approach for row in found.rows if row.asked))
    seeds = ",".join(map(str, found.seeds))
    words = [f"imseg compare {data} --approaches {names} --seeds {seeds} --out"]
    words.append(quoted(found.path))
    for name, value in found.settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            values = value if isinstance(value, list) else [value]
            words.append(f"--{option} {' '.join(quoted(str(each)) for each in values)}")
    return " ".join(words)


def _run_to_go_on_with(found: Comparison) -> str:
    """Return the run of the best approach that needs no hidden masks, its first seed."""
    sign = 1 if found.metric.higher_is_better else -1
    allowed = [row for row in found.rows if row.kind != "bound"] or list(found.rows)
    best = max(allowed, key=lambda row: sign * row.mean)
    return best.runs[0].path


def _rows_csv(found: Comparison) -> Csv:
    rows = [
        (
            row.name, row.approach, row.kind, row.baseline, row.mean, *row.interval, row.spread,
            row.network_steps, row.steps, row.tflops, row.minutes, row.width,
        )
        for row in found.rows
    ]  # fmt: skip
    header = ("name", "approach", "kind", "baseline", "mean", "low", "high", "spread_over_seeds")
    costs = ("network_steps", "steps", "tflops", "minutes", "width")
    return Csv(name="approaches", header=(*header, *costs), rows=rows)


def _stages_csv(found: Comparison) -> Csv:
    rows = [
        (
            row.name, run.seed, stage.name, stage.network, stage.score,
            *stage.interval, *_mean_and_spread(stage.networks), stage.validation,
        )
        for row in found.rows
        for run in row.runs
        for stage in run.stages
    ]  # fmt: skip
    header = ("name", "seed", "stage", "network", "score", "low", "high", "mean", "spread")
    return Csv(name="stages", header=(*header, "validation"), rows=rows)


def _mean_and_spread(values: tuple[float, ...]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def _differences_csv(found: Comparison) -> Csv:
    rows: list[tuple[str | float | None, ...]] = []
    for row in found.rows:
        if row.difference is not None:
            rows.append(_difference_row(row))
    header = ("name", "baseline", "difference", "low", "high", "images_better", "gap_closed")
    return Csv(name="differences", header=header, rows=rows)


def _difference_row(row: ComparisonRow) -> tuple[str | float | None, ...]:
    difference = row.difference
    if difference is None:
        return ()
    closed = None if row.gap_closed is None else row.gap_closed.mean
    numbers = (difference.mean, *difference.interval, difference.images_better, closed)
    return (row.name, row.baseline, *numbers)
