"""The page of a comparison."""

from __future__ import annotations

import statistics
from pathlib import PurePath

from imseg.comparison.result import Comparison
from imseg.report import comparison_tables as tables
from imseg.report import numbers
from imseg.report.html.blocks import Commands, Fold, PageBlock, ReportPage, Section, ShortList
from imseg.report.html.comparison_charts import differences_chart, generations_chart
from imseg.report.html.words import comparison_summary, quoted
from imseg.report.tables import DataTable, ends, fields
from imseg.types import VERSION


def comparison_page(found: Comparison, *, data: str, images: Section | None = None) -> ReportPage:
    """Return all content of the page of a comparison.

    Args:
        found: The comparison.
        data: How commands name the data.
        images: The section that shows images, if the data is there.
    """
    sections = (
        _scores(found), _differences(found), images, _warnings(found), _cost(found),
        _next(found, data=data),
    )  # fmt: skip
    size = found.data
    return ReportPage(
        title=f"{numbers.count(len(found.rows), 'approach')} on {PurePath(size.name).name}",
        subtitle=f"{size.labeled:,} labeled, {numbers.count(size.unlabeled, 'unlabeled image')};"
        f" {numbers.count(found.images, 'test image')}, {numbers.count(len(found.seeds), 'seed')}",
        summary=comparison_summary(found),
        sections=tuple(section for section in sections if section is not None),
        footer=f"Made by imseg {VERSION} from the comparison {found.path.name}.",
    )


def _scores(found: Comparison) -> Section:
    spread = " ± spread over seeds" if len(found.seeds) > 1 else ""
    table = DataTable(
        records=tables.approach_records(found),
        columns=(
            ("approach", "name", str),
            *tables.score_columns(found),
            tables.COSTS[0],
            ("learns from", "kind", tables.LEARNS_FROM.__getitem__),
        ),
        name="approaches",
        caption=f"The network of each run, chosen by validation images alone: mean{spread}."
        " Intervals are over test images. Compare like with like: an approach with its matched"
        " baseline, which took as many steps.",
    )
    stages = [
        {
            "name": row.name, "seed": run.seed, "stage": stage.name,
            **fields(stage, "network score"), **ends(stage.interval),
            "mean": statistics.fmean(stage.networks),
            "spread": statistics.stdev(stage.networks) if stage.networks[1:] else 0.0,
            "validation": stage.validation,
        }
        for row in found.rows
        for run in row.runs
        for stage in run.stages
    ]  # fmt: skip
    chart, blocks = generations_chart(found), (table, DataTable(records=stages, name="stages"))
    if chart is None:
        return Section("scores", "Scores", blocks)
    return Section("scores", "Scores by generation", (chart, *blocks))


def _differences(found: Comparison) -> Section | None:
    chart, metric = differences_chart(found), found.metric
    if chart is None:
        return None
    records = [
        {
            "name": row.name,
            "baseline": row.baseline,
            "difference": row.difference.mean,
            **ends(row.difference.interval),
            "images_better": row.difference.images_better,
            "gap_closed": None if row.gap_closed is None else row.gap_closed.mean,
            "_seeds": row.difference.of_seeds,
        }
        for row in found.rows
        if row.difference is not None
    ]

    def signed(*values: float) -> str:
        return ", ".join(numbers.signed(value, metric) for value in values)

    def between(low: float, high: float) -> str:
        return numbers.between(low, high, metric, sign=True)

    table = DataTable(
        records=records,
        columns=(
            ("approach", "name", str),
            ("baseline", "baseline", str),
            ("difference", "difference", signed),
            ("95 % interval", "low high", between),
            ("images better", "images_better", numbers.whole_percent),
            ("seed by seed", "_seeds", lambda seeds: signed(*seeds)),
        ),
        name="differences",
        caption=f"Differences in {metric.label}, image by image, means over seeds.",
    )
    return Section("differences", "Against labels alone, at equal cost", (chart, table))


def _warnings(found: Comparison) -> Section | None:
    lost = [f"{each.name}, seed {each.seed}, failed: {each.why}" for each in found.missing]
    same = [
        f"The networks of {row.name} are those of {row.same_as}, bit by bit."
        for row in found.rows
        if row.same_as is not None
    ]
    told = ShortList((*lost, *same))
    return Section("warnings", "What to know", (told,)) if told.items else None


def _cost(found: Comparison) -> Section:
    table = DataTable(
        records=tables.approach_records(found),
        columns=(("approach", "name", str), *tables.COSTS, ("width", "width", "{:g}".format)),
        caption="Means over seeds. Steps in all: every network that was trained, teachers included."
        " Times were taken on one machine with whatever else it did.",
    )
    return Section("cost", "What it cost", (table,))


def _next(found: Comparison, *, data: str) -> Section:
    folder, run = quoted(found.path), quoted(found.path / found.best.runs[0].path)
    blocks: list[PageBlock] = [
        Commands(
            (
                ("The page of one run, with images", f"imseg report {run} {data}"),
                ("Masks for new images", f"imseg predict {run} NEW_IMAGES --out masks/ --overlay"),
                ("This page again", f"imseg report {folder} {data}"),
                ("Continue it, or add approaches and seeds", command_of(found, data=data)),
            )
        )
    ]
    settings = "\n".join(f"{name} = {value}" for name, value in found.settings.items())
    if settings:
        blocks.append(Fold("All settings", settings))
    return Section("next", "How to go on, and how to repeat it", tuple(blocks))


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
