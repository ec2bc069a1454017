"""Figures of a comparison of approaches."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from imseg.comparison.result import Comparison, ComparisonRow
from imseg.comparison.statistics import PairedDifference
from imseg.report.html.blocks import Chart
from imseg.report.html.charts import Ink, dress, is_wide, legend
from imseg.report.numbers import between, short, signed, with_unit

LEVELS = ("ldt", "aldt", "fdt")
"""Approaches without generations whose scores are lines to compare with."""
_MARKS = "os^Dv<>P"


def generations_chart(found: Comparison) -> Chart | None:
    """Return scores by generation, a line per approach; None where no row has generations."""
    methods = [row for row in found.rows if len(_stages_of(row)) > 1]
    if not methods:
        return None
    levels = [row for row in found.rows if row.approach in LEVELS and row not in methods]

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.add_subplot()
        most = max(len(_stages_of(row)) for row in methods)
        for number, row in enumerate(methods):
            stages = _stages_of(row)
            places = np.arange(len(stages)) + (number - (len(methods) - 1) / 2) * 0.035
            means = [mean for mean, _, _ in stages]
            bars = np.array([[mean - low, high - mean] for mean, low, high in stages]).T
            axes.errorbar(
                places, means, yerr=np.maximum(bars, 0),
                color=ink.line(number), marker=_MARKS[number % len(_MARKS)], markersize=5,
                elinewidth=1, capsize=2, label=row.name,
            )  # fmt: skip
        axes.set_xlim(-0.3, most - 1 + (0.55 if is_wide(figure) else 0.75))
        _draw_levels(axes, levels, ink)
        axes.set_xticks(range(most), ["start", *[str(n) for n in range(1, most)]])
        axes.set_xlabel("generation")
        axes.set_ylabel(f"test {with_unit(found.metric, inside=' ({})')}")
        dress(axes, ink)
        legend(figure, axes, ink, columns=5)

    best = max(methods, key=lambda row: found.merit(row.mean))
    averaged = f", mean over {len(found.seeds)} seeds; bars are the spread over seeds"
    averaged = averaged if len(found.seeds) > 1 else "; bars are 95\u00a0% intervals over images"
    return Chart(
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


def _draw_levels(axes: Axes, levels: list[ComparisonRow], ink: Ink) -> None:
    """Draw dashed lines and their names, beside each other where they are too near."""
    for level in levels:
        axes.axhline(level.mean, color=ink.faint, linewidth=1.1, linestyle=(0, (5, 3)))
    low, high = axes.get_ylim()
    place, before = 1.0, -np.inf
    for level in sorted(levels, key=lambda row: row.mean):
        place = place - 0.16 if level.mean - before < 0.06 * (high - low) else 1.0
        axes.annotate(
            level.name, (place, level.mean), xycoords=("axes fraction", "data"),
            xytext=(0, 3), textcoords="offset points", ha="right", va="bottom",
            color=ink.faint, fontsize=9,
        )  # fmt: skip
        before = level.mean


def differences_chart(found: Comparison) -> Chart | None:
    """Return differences from baselines with intervals; None where there are none."""
    rows = [(row, row.difference) for row in found.rows if row.difference is not None]
    if not rows:
        return None
    metric = found.metric

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.add_subplot()
        for place, (_, difference) in enumerate(reversed(rows)):
            _forest_line(axes, difference, place, ink)
        axes.axvline(0, color=ink.text, linewidth=1)
        names = [f"{row.name}\nvs {row.baseline}" for row, _ in reversed(rows)]
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.xaxis.set_major_locator(MaxNLocator(7 if is_wide(figure) else 4))
        further = " from the baseline" if is_wide(figure) else ""
        axes.set_xlabel(f"difference in {with_unit(metric, inside=' ({})')}{further}")
        dress(axes, ink, grid="x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)

    told = [
        f"{row.name} {signed(each.mean, metric)} ({between(*each.interval, metric, sign=True)})"
        for row, each in rows
    ]
    better = "right" if metric.higher_is_better else "left"
    return Chart(
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


def _forest_line(axes: Axes, difference: PairedDifference, place: int, ink: Ink) -> None:
    low, high = difference.interval
    color = ink.faint if difference.verdict == "open" else ink.line(0)
    if difference.margin is not None:
        ends = [difference.mean - difference.margin, difference.mean + difference.margin]
        axes.plot(ends, [place, place], color=color, linewidth=0.8)
    axes.plot([low, high], [place, place], color=color, linewidth=2.2, solid_capstyle="butt")
    axes.plot(difference.mean, place, "o", color=color, markersize=7)
    seeds = np.array(difference.of_seeds)
    if len(seeds) > 1:
        axes.plot(seeds, np.full(len(seeds), place - 0.24), ".", color=ink.faint, markersize=5)


def _stages_of(row: ComparisonRow) -> list[tuple[float, float, float]]:
    """Return the mean over seeds of each stage that all seeds have, and the ends of its bar."""
    stages = min((len(run.stages) for run in row.runs), default=0)
    found = []
    for place in range(stages):
        scores = [run.stages[place].score for run in row.runs]
        mean = float(np.mean(scores))
        ends = row.runs[0].stages[place].interval
        if len(scores) > 1:
            spread = float(np.std(scores, ddof=1))
            ends = (mean - spread, mean + spread)
        found.append((mean, *ends))
    return found
