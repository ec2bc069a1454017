"""Figures of a comparison of approaches."""

import shlex
import statistics
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from imseg.comparison.result import Comparison, ComparisonRow
from imseg.comparison.scoring import PairedDifference
from imseg.report import comparison_tables, tables
from imseg.report.html import parts, words
from imseg.report.tables import DataTable, between, ends, fields, short, signed, with_unit
from imseg.tasks import Metric
from imseg.types import VERSION

LEVELS = ("ldt", "aldt", "fdt")
"""Approaches without generations whose scores are lines to compare with."""
_MARKS = "os^Dv<>P"


def generations_chart(found: Comparison) -> parts.Chart | None:
    """Return scores by generation, a line per approach; None where no row has generations."""
    drawn = [(row, stages) for row in found.rows if len(stages := _stages_of(row)) > 1]
    if not drawn:
        return None
    methods = [row for row, _ in drawn]
    levels = [row for row in found.rows if row.approach in LEVELS and row not in methods]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        most = max(len(stages) for _, stages in drawn)
        for number, (row, stages) in enumerate(drawn):
            places = np.arange(len(stages)) + (number - (len(methods) - 1) / 2) * 0.035
            means = [mean for mean, _, _ in stages]
            bars = np.array([[mean - low, high - mean] for mean, low, high in stages]).T
            axes.errorbar(
                places, means, yerr=np.maximum(bars, 0),
                color=f"C{number}", marker=_MARKS[number % len(_MARKS)], markersize=5,
                elinewidth=1, capsize=2, label=row.name,
            )  # fmt: skip
        axes.set_xlim(-0.3, most - 1 + (0.55 if parts.is_wide(figure) else 0.75))
        _draw_levels(axes, levels)
        axes.set_xticks(range(most), ["start", *[str(n) for n in range(1, most)]])
        axes.set(xlabel="generation", ylabel=f"test {with_unit(found.metric, inside=' ({})')}")
        parts.legend(figure, axes, columns=5)

    best = max(methods, key=lambda row: found.merit(row.mean))
    averaged = f", mean over {len(found.seeds)} seeds; bars are the spread over seeds"
    averaged = averaged if len(found.seeds) > 1 else "; bars are 95\u00a0% intervals over images"
    return parts.Chart(
        name="scores-by-generation",
        draw=draw,
        alt=f"{found.metric.label} on test images by generation for"
        f" {', '.join(row.name for row in methods)}; the best run networks are those of"
        f" {best.name}, {short(best.mean, found.metric)}.",
        caption=f"The best network of each stage (by validation) on the {found.images} test images"
        f"{averaged}. Dashed: labels alone (ldt), with augmented copies (aldt), and all labels"
        " (fdt), as far as they were trained.",
        height=4.0,
        narrow_height=4.2,
    )


def _draw_levels(axes: Axes, levels: list[ComparisonRow]) -> None:
    """Draw dashed lines and their names, beside each other where they are too near."""
    for level in levels:
        axes.axhline(level.mean, color=parts.FAINT, linewidth=1.1, linestyle=(0, (5, 3)))
    low, high = axes.get_ylim()
    place, before = 1.0, -np.inf
    for level in sorted(levels, key=lambda row: row.mean):
        place = place - 0.16 if level.mean - before < 0.06 * (high - low) else 1.0
        axes.annotate(
            level.name, (place, level.mean), xycoords=("axes fraction", "data"),
            xytext=(0, 3), textcoords="offset points", ha="right", va="bottom",
            color=parts.FAINT, fontsize=9,
        )  # fmt: skip
        before = level.mean


def differences_chart(
    rows: Sequence[tuple[ComparisonRow, PairedDifference]], metric: Metric
) -> parts.Chart:
    """Return differences of rows from their baselines, with intervals."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, (_, difference) in enumerate(reversed(rows)):
            _forest_line(axes, difference, place)
        axes.axvline(0, color=parts.TEXT, linewidth=1)
        names = [f"{row.name}\nvs {row.baseline}" for row, _ in reversed(rows)]
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.xaxis.set_major_locator(MaxNLocator(7 if parts.is_wide(figure) else 4))
        further = " from the baseline" if parts.is_wide(figure) else ""
        axes.set_xlabel(f"difference in {with_unit(metric, inside=' ({})')}{further}")
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)

    told = [
        f"{row.name} {signed(each.mean, metric)} ({between(*each.interval, metric, sign=True)})"
        for row, each in rows
    ]
    better = "right" if metric.higher_is_better else "left"
    return parts.Chart(
        name="differences",
        draw=draw,
        alt="Differences from matched baselines: " + "; ".join(told) + ".",
        caption=f"To the {better} of the line an approach is better than its baseline: labels"
        " alone with as many steps and as wide a network. Thick bars: 95\u00a0% intervals over"
        " images, which say nothing about other seeds. Thin lines: with chance in training too,"
        " which needs two seeds at the least and is wide with few. Small dots: the seeds one by"
        " one. Colored: can be told apart from the baseline.",
        height=0.9 + 0.52 * len(rows),
        narrow_height=0.9 + 0.55 * len(rows),
    )


def _forest_line(axes: Axes, difference: PairedDifference, place: int) -> None:
    low, high = difference.interval
    color = parts.FAINT if difference.verdict == "open" else "C0"
    if difference.margin is not None:
        ends = [difference.mean - difference.margin, difference.mean + difference.margin]
        axes.plot(ends, [place, place], color=color, linewidth=0.8)
    axes.plot([low, high], [place, place], color=color, linewidth=2.2, solid_capstyle="butt")
    axes.plot(difference.mean, place, "o", color=color, markersize=7)
    seeds = np.array(difference.of_seeds)
    if len(seeds) > 1:
        axes.plot(seeds, np.full(len(seeds), place - 0.24), ".", color=parts.FAINT, markersize=5)


def _stages_of(row: ComparisonRow) -> list[tuple[float, float, float]]:
    """Return the mean over seeds of each stage that all seeds have, and the ends of its bar."""
    found = []
    for stages in zip(*[run.stages for run in row.runs], strict=False):
        scores = [stage.score for stage in stages]
        mean, ends = float(np.mean(scores)), stages[0].interval
        if len(scores) > 1:
            spread = float(np.std(scores, ddof=1))
            ends = (mean - spread, mean + spread)
        found.append((mean, *ends))
    return found


def comparison_page(
    found: Comparison, *, data: str, images: parts.Section | None = None
) -> parts.ReportPage:
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
    return parts.ReportPage(
        title=f"{tables.count(len(found.rows), 'approach')} on {PurePath(size.name).name}",
        subtitle=f"{size.labeled:,} labeled, {tables.count(size.unlabeled, 'unlabeled image')};"
        f" {tables.count(found.images, 'test image')}, {tables.count(len(found.seeds), 'seed')}",
        summary=words.comparison_summary(found),
        sections=tuple(section for section in sections if section is not None),
        footer=f"Made by imseg {VERSION} from the comparison {found.path.name}.",
    )


def _scores(found: Comparison) -> parts.Section:
    spread = " ± spread over seeds" if len(found.seeds) > 1 else ""
    table = DataTable(
        records=comparison_tables.approach_records(found),
        columns=(
            ("approach", "name", str),
            *comparison_tables.score_columns(found),
            comparison_tables.COSTS[0],
            ("learns from", "kind", comparison_tables.LEARNS_FROM.__getitem__),
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
        return parts.Section("scores", "Scores", blocks)
    return parts.Section("scores", "Scores by generation", (chart, *blocks))


def _differences(found: Comparison) -> parts.Section | None:
    metric = found.metric
    rows = [(row, row.difference) for row in found.rows if row.difference is not None]
    if not rows:
        return None
    records = [
        {
            "name": row.name,
            "baseline": row.baseline,
            "difference": difference.mean,
            **ends(difference.interval),
            "images_better": difference.images_better,
            "gap_closed": None if row.gap_closed is None else row.gap_closed.mean,
            "_seeds": difference.of_seeds,
        }
        for row, difference in rows
    ]

    def all_signed(*values: float) -> str:
        return ", ".join(signed(value, metric) for value in values)

    table = DataTable(
        records=records,
        columns=(
            ("approach", "name", str),
            ("baseline", "baseline", str),
            ("difference", "difference", all_signed),
            ("95 % interval", "low high", lambda low, high: between(low, high, metric, sign=True)),
            ("images better", "images_better", lambda part: tables.percent(part, 0)),
            ("seed by seed", "_seeds", lambda seeds: all_signed(*seeds)),
        ),
        name="differences",
        caption=f"Differences in {metric.label}, image by image, means over seeds.",
    )
    return parts.Section(
        "differences",
        "Against labels alone, at equal cost",
        (differences_chart(rows, metric), table),
    )


def _warnings(found: Comparison) -> parts.Section | None:
    lost = [f"{each.name}, seed {each.seed}, failed: {each.why}" for each in found.missing]
    same = [
        f"The networks of {row.name} are those of {row.same_as}, bit by bit."
        for row in found.rows
        if row.same_as is not None
    ]
    told = parts.ShortList((*lost, *same))
    return parts.Section("warnings", "What to know", (told,)) if told.items else None


def _cost(found: Comparison) -> parts.Section:
    table = DataTable(
        records=comparison_tables.approach_records(found),
        columns=(
            ("approach", "name", str),
            *comparison_tables.COSTS,
            ("width", "width", "{:g}".format),
        ),
        caption="Means over seeds. Steps in all: every network that was trained, teachers included."
        " Times were taken on one machine with whatever else it did.",
    )
    return parts.Section("cost", "What it cost", (table,))


def _next(found: Comparison, *, data: str) -> parts.Section:
    folder, run = words.quoted(found.path), words.quoted(found.path / found.best.runs[0].path)
    commands = parts.Commands(
        (
            ("The page of one run, with images", f"imseg report {run} {data}"),
            ("Masks for new images", f"imseg predict {run} NEW_IMAGES --out masks/ --overlay"),
            ("This page again", f"imseg report {folder} {data}"),
            ("Continue it, or add approaches and seeds", _command_of(found, data=data)),
        )
    )
    settings = "\n".join(f"{name} = {value}" for name, value in found.settings.items())
    folds = [parts.Fold("All settings", settings)] if settings else []
    return parts.Section("next", "How to go on, and how to repeat it", (commands, *folds))


def _command_of(found: Comparison, *, data: str) -> str:
    """Return the command that made a comparison; repeated, it continues."""
    names = ",".join(dict.fromkeys(row.approach for row in found.rows if row.asked))
    seeds = ",".join(map(str, found.seeds))
    out = words.quoted(found.path)
    command = [f"imseg compare {data} --approaches {names} --seeds {seeds} --out {out}"]
    for name, value in found.settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            command.append(f"--{option}" if value else f"--no-{option}")
        else:
            values = value if isinstance(value, list) else [value]
            command.append(f"--{option} {shlex.join(map(str, values))}")
    return " ".join(command)
