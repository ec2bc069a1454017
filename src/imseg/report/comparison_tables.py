"""What a comparison found as tables: for a terminal, Markdown and spreadsheets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imseg.approaches.planning.duration import in_time
from imseg.comparison.comparison_estimate import ComparisonEstimate
from imseg.comparison.comparison_plan import ComparisonPlan
from imseg.comparison.paper_comparison import PaperLine, Reproduction
from imseg.comparison.result import Comparison, ComparisonRow
from imseg.comparison.statistics import LEAST_IMAGES, Gap, MeanScore, PairedDifference
from imseg.data.files.atomic import write_whole
from imseg.data.files.csv_files import sheet
from imseg.engine.inference.bootstrap import Interval
from imseg.report.tables import mean_and_spread, table
from imseg.tasks import Metric

TABLE_FILE, SHEET_FILE = "comparison.md", "comparison.csv"

NOTES = """\
mean +- spread over seeds, of the network of each run: that of the generation that is best on
validation (under the paper's schedule: of the last one). Intervals: 95 % over test images, drawn
anew 2,000 times and taken to be independent, which tiles of one picture are not. against its
baseline: the same images, paired; the baseline learns from labeled images alone, for as many
steps and with as wide a network. gap closed: share of the way from ldt to fdt, which has all
labels. steps: of the final network, and of everything trained, the start included; training
minutes likewise, summed over networks, as many side by side as the machine has room for."""


def write_tables(found: Comparison, out: Path) -> tuple[Path, Path]:
    """Write ``comparison.md`` and ``comparison.csv`` and return where they are."""
    text = f"{comparison_table(found)}\n\n{NOTES}\n\n" + "\n".join(
        f"* {line}" for line in verdicts(found)
    )
    for name, content in ((TABLE_FILE, text + "\n"), (SHEET_FILE, comparison_sheet(found))):
        write_whole(out / name, content.encode(errors="backslashreplace"))
    return out / TABLE_FILE, out / SHEET_FILE


def comparison_table(found: Comparison) -> str:
    """Return one line an approach; baselines that turned out to be the same share one."""
    metric, several = found.metric, len(found.seeds) > 1
    closed = any(row.gap_closed for row in found.rows)
    header = [
        "approach",
        f"test {metric.label}",
        "95 % interval",
        "last generation",
        "against its baseline",
        *(["gap closed"] if closed else []),
        "steps",
        "steps in all",
        "TFLOP",
        "training minutes",
    ]
    rows = []
    for row in ordered(found):
        generations = row.kind == "method"
        cells = [
            called(row, found) + _part(row, found),
            _level(row, metric, several=several),
            _interval(row.interval, metric),
            _level(row.last, metric, several=several) if generations else "-",
            _difference(row.difference, metric),
            *([_gap(row.gap_closed)] if closed else []),
            f"{row.network_steps:.0f}",
            f"{row.steps:.0f}",
            f"{row.tflops:.3g}",
            f"{row.minutes:.1f}",
        ]
        rows.append(cells)
    return table(header, rows)


def seeds_table(found: Comparison) -> str:
    """Return the test score of every run, a column a seed."""
    header = [f"test {found.metric.label}", *(f"seed {seed}" for seed in found.seeds)]
    rows = []
    for row in ordered(found):
        scores = {run.seed: found.metric.number(run.score) for run in row.runs}
        rows.append([called(row, found), *(scores.get(seed, "-") for seed in found.seeds)])
    return table(header, rows)


def ordered(found: Comparison) -> list[ComparisonRow]:
    """Return the rows that are shown: labels alone, methods, their baselines, upper bounds."""
    roles = ("labels", "method", "matched", "bound")
    shown = [row for row in found.rows if row.same_as is None]
    return sorted(shown, key=lambda row: roles.index(row.kind))


def called(row: ComparisonRow, found: Comparison) -> str:
    """Return what a row is called: a matched baseline with everything it is matched to."""
    if row.matched_to is None:
        return row.name
    same = [each for each in found.rows if row.name in (each.name, each.same_as)]
    return f"{row.approach} to {', '.join(str(each.matched_to) for each in same)}"


def verdicts(found: Comparison) -> list[str]:
    """Return what can be said about each method in a sentence, and what cannot."""
    lines = []
    for row in found.rows:
        if row.difference is not None and row.baseline is not None:
            lines.append(_verdict(row, row.difference, row.baseline, found=found))
        lines += [
            _verdict(row, each, name, found=found)
            for name, each in row.against.items()
            if found.row(name).same_as is None
        ]
    lines += _doubts(found)
    for row in found.rows:
        if row.ended_with_start:
            seeds = ", ".join(map(str, row.ended_with_start))
            lines.append(f"{row.name}, seed {seeds}: ended with its start, nothing unlabeled used.")
    lines += [f"Left out: {each.name}, seed {each.seed}: {each.why}" for each in found.missing]
    return lines


def _doubts(found: Comparison) -> list[str]:
    """Return why no more can be said."""
    lines = []
    if len(found.seeds) == 1:
        lines.append(
            "One seed cannot tell an approach from chance in training; take three or more."
        )
    elif len(found.seeds) == 2:
        lines.append("Two seeds say little about chance in training; three and more say more.")
    if found.images < LEAST_IMAGES:
        lines.append(f"{found.images} test images are too few to say that anything is better.")
    return lines


def _verdict(row: ComparisonRow, gained: PairedDifference, name: str, *, found: Comparison) -> str:
    metric, baseline = found.metric, found.row(name)
    words = {
        "better": "is better than",
        "worse": "is worse than",
        "open": "cannot be told apart from",
    }
    sign = 1 if metric.higher_is_better else -1
    seeds = gained.of_seeds
    ahead = sum(sign * each > 0 for each in seeds)
    images = f"on {gained.images_better:.0%} of the images"
    where = images if len(seeds) == 1 else f"in {ahead} of {len(seeds)} seeds and {images}"
    margin = ""
    if gained.margin is not None:
        chance = f"chance in training, judged from {len(seeds)} seeds"
        margin = f"; with {chance}, +-{metric.number(gained.margin)}"
    return (
        f"{row.name} {words[gained.verdict]} labeled images alone trained as long"
        f" ({baseline.approach}): {metric.label} {_difference(gained, metric)}{margin}; better"
        f" {where}."
    )


def _part(row: ComparisonRow, found: Comparison) -> str:
    """Return how many seeds a row has, where some are missing."""
    done, planned = len(row.runs), len(found.seeds)
    return "" if done == planned else f" ({done} of {planned} seeds)"


def estimate_text(planned: ComparisonPlan, expected: ComparisonEstimate) -> str:
    """Return what a comparison would train and how long it would take here."""
    lines = [
        [
            row.name,
            str(row.networks),
            str(row.network_steps),
            f"{row.width:g}",
            in_time(row.seconds),
            in_time(row.seconds * expected.seeds),
        ]
        for row in expected.rows
    ]
    header = ["approach", "networks", "steps each, at most", "width", "one seed", "all seeds"]
    count = f"{expected.seeds} seed" + ("s" if expected.seeds != 1 else "")
    return (
        f"{table(header, lines)}\n\n"
        f"All of it, {count}, one after the other on this machine: about"
        f" {in_time(expected.seconds)}.\n"
        "Starts that another row trains too are counted once. It may be less: all pseudo-labels"
        " are taken\nto be used and no generation to be left out. Nothing was trained;"
        f" it would go to {planned.out}"
    )


def comparison_sheet(found: Comparison) -> str:
    """Return one line a run and seed, with every number, for a spreadsheet."""
    lines = [entry for row in found.rows for entry in _lines(row, found)]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    return sheet(columns, [[line.get(name) for name in columns] for line in lines])


def _lines(row: ComparisonRow, found: Comparison) -> list[dict[str, Any]]:
    matched = found.row(row.baseline).runs if row.baseline else ()
    baseline = {run.seed: run.score for run in matched}
    return [
        {
            "approach": row.name,
            "kind": row.kind,
            "matched_to": row.matched_to or "",
            "same_as": row.same_as or "",
            "seed": run.seed,
            "stage": run.stage,
            "network": run.network,
            "width": run.width,
            "score": run.score,
            "last_score": run.last_score,
            "baseline": row.baseline or "",
            "difference": run.score - baseline[run.seed] if run.seed in baseline else "",
            "network_steps": run.network_steps,
            "steps": run.steps,
            "flops": run.flops,
            "seconds": run.seconds,
            **{f"image_{name}": value for name, value in run.per_image.items()},
            **{f"pixels_{name}": value for name, value in run.dataset.items()},
        }
        for run in row.runs
    ]


def _level(level: MeanScore | ComparisonRow, metric: Metric, *, several: bool) -> str:
    spread = f" +- {metric.number(level.spread)}" if several else ""
    return metric.number(level.mean) + spread


def _interval(interval: Interval, metric: Metric) -> str:
    low, high = interval
    return f"{metric.number(low)} to {metric.number(high)}"


def _difference(gained: PairedDifference | None, metric: Metric) -> str:
    if gained is None:
        return "-"
    low, high = gained.interval
    return f"{_signed(gained.mean, metric)} ({_signed(low, metric)} to {_signed(high, metric)})"


def _signed(value: float, metric: Metric) -> str:
    return f"{'+' if value >= 0 else '-'}{metric.number(abs(value))}"


def _gap(gap: Gap | None) -> str:
    if gap is None:
        return "-"
    low, high = gap.interval
    return f"{gap.mean:.0%} ({low:.0%} to {high:.0%})"


REPRODUCTION_TABLE, REPRODUCTION_SHEET = "reproduction.md", "reproduction.csv"

REPRODUCTION_NOTES = """\
published: read off the paper's figure, to about .0005; means over test images. ours: mean +-
spread over runs, each with the network that is best on validation in its generation. The
headline is an entry of the authors' leaderboard, probably their best single run; ours is the
network of the run."""


def write_reproduction(found: Reproduction, out: Path) -> tuple[Path, Path]:
    """Write ``reproduction.md`` and ``reproduction.csv`` and return where they are."""
    text = f"{reproduction_table(found)}\n\n{REPRODUCTION_NOTES}\n\n{departures_text(found)}\n"
    for name, content in (
        (REPRODUCTION_TABLE, text),
        (REPRODUCTION_SHEET, reproduction_sheet(found)),
    ):
        write_whole(out / name, content.encode(errors="backslashreplace"))
    return out / REPRODUCTION_TABLE, out / REPRODUCTION_SHEET


def reproduction_table(found: Reproduction) -> str:
    """Return one line a published score, the headline last."""
    lines = [*found.lines, *([found.headline] if found.headline is not None else [])]
    rows = [
        [
            _called(line, headline=line is found.headline),
            line.label,
            _published(line),
            mean_and_spread(line.ours),
            "-" if line.difference is None else f"{line.difference:+.3f}",
            str(len(line.ours)),
        ]
        for line in lines
    ]
    return table(["approach", "score", "published", "ours", "difference", "runs"], rows)


def departures_text(found: Reproduction) -> str:
    """Return whether this is the published experiment."""
    if not found.departures:
        return "The published settings, schedule and number of runs."
    return f"Not the published experiment: {'; '.join(found.departures)}."


def reproduction_sheet(found: Reproduction) -> str:
    """Return one line a score and run, for a spreadsheet."""
    header = ["approach", "generation", "score", "published", "run", "ours", "headline"]
    return sheet(
        header,
        [
            [
                line.approach, line.generation, line.label, line.published, run, ours,
                int(line is found.headline),
            ]
            for line in (*found.lines, *([found.headline] if found.headline is not None else []))
            for run, ours in enumerate(line.ours)
        ],
    )  # fmt: skip


def _called(line: PaperLine, *, headline: bool) -> str:
    if headline:
        return f"{line.approach}, headline"
    return line.approach + ("" if line.generation is None else f", generation {line.generation}")


def _published(line: PaperLine) -> str:
    if line.published is not None:
        return f"{line.published:.3f}"
    return "-" if line.below is None else f"< {line.below:.2f}"
