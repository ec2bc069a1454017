"""What a comparison found as tables and sentences: for a terminal, files, and the page."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from imseg.approaches.methods.catalog import APPROACHES
from imseg.comparison.comparison_plan import ComparisonEstimate, ComparisonPlan
from imseg.comparison.paper_comparison import PaperLine, Reproduction
from imseg.comparison.result import Comparison, ComparisonRow
from imseg.comparison.scoring import LEAST_IMAGES, PairedDifference
from imseg.data.files.atomic import write_whole
from imseg.progress import in_time
from imseg.report import tables

NOTES = """\
mean +- spread over seeds, of the network of each run: that of the generation that is best on
validation (under the paper's schedule: of the last one). Intervals: 95 % over test images, drawn
anew 2,000 times and taken to be independent, which tiles of one picture are not. against its
baseline: the same images, paired; the baseline learns from labeled images alone, for as many
steps and with as wide a network. gap closed: share of the way from ldt to fdt, which has all
labels. steps, operations and training time are means over seeds: steps of the final network, and
the rest of everything trained, the start included; time is summed over networks, as many side by
side as the machine has room for."""

LEARNS_FROM = {
    "labels": "labels", "matched": "labels, matched", "method": "unlabeled images too",
    "bound": "hidden labels",
}  # fmt: skip
"""How kinds of rows are called."""

COSTS: tuple[tables.Column, ...] = (
    ("steps", "network_steps", "{:,.0f}".format),
    ("steps in all", "steps", "{:,.0f}".format),
    ("operations", "tflops", lambda tflops: tables.operations(tflops * 1e12)),
    ("training time", "minutes", lambda minutes: tables.minutes(minutes * 60)),
)


def write_tables(found: Comparison, out: Path) -> tuple[Path, Path]:
    """Write ``comparison.md`` and ``comparison.csv`` and return where they are."""
    sentences = "\n".join(f"* {line}" for line in verdicts(found))
    text = f"{comparison_table(found)}\n\n{NOTES}\n\n{sentences}\n"
    return _write(out / "comparison", text, runs_table(found))


def _write(path: Path, text: str, sheet: tables.DataTable) -> tuple[Path, Path]:
    """Write a text as Markdown and a table as CSV, as whole files."""
    files = path.with_suffix(".md"), path.with_suffix(".csv")
    for file, content in zip(files, (text, sheet.as_csv()), strict=True):
        write_whole(file, content.encode(errors="backslashreplace"))
    return files


def approach_records(found: Comparison) -> list[dict[str, Any]]:
    """Return the numbers of each row; those that begin with ``_`` are not in files."""
    return [
        {
            **tables.fields(row, "name approach kind baseline mean"),
            **tables.ends(row.interval),
            "spread_over_seeds": row.spread,
            **tables.fields(row, "network_steps steps tflops minutes width"),
            "_called": called(row, found) + _seeds_missing(row, found),
            "_last": row.last if row.kind == "method" else None,
            "_difference": row.difference,
            "_gap": row.gap_closed,
        }
        for row in found.rows
    ]


def score_columns(found: Comparison) -> tuple[tables.Column, ...]:
    """Return the columns of a comparison that say how good an approach is."""
    metric = found.metric
    return (
        (
            f"test {tables.with_unit(metric)}", "mean spread_over_seeds",
            lambda mean, spread: _level(mean, spread, found),
        ),
        ("95 % interval", "low high", lambda low, high: tables.between(low, high, metric)),
    )  # fmt: skip


def comparison_table(found: Comparison) -> str:
    """Return one line per approach; baselines that turned out to be the same share one."""
    by_name = {record["name"]: record for record in approach_records(found)}
    columns: list[tables.Column] = [("approach", "_called", str), *score_columns(found)]
    columns += [
        ("last generation", "_last", lambda last: _level(last.mean, last.spread, found)),
        ("against its baseline", "_difference", lambda gained: _difference(gained, found)),
    ]
    if any(row.gap_closed for row in found.rows):
        columns.append(("gap closed", "_gap", _gap))
    records = [by_name[row.name] for row in ordered(found)]
    return tables.DataTable(records=records, columns=(*columns, *COSTS)).as_text()


def seeds_table(found: Comparison) -> str:
    """Return the test score of every run, a column per seed."""
    records = []
    for row in ordered(found):
        scores = {run.seed: run.score for run in row.runs}
        records.append({"row": called(row, found), **{str(s): scores.get(s) for s in found.seeds}})
    columns: list[tables.Column] = [(f"test {found.metric.label}", "row", str)]
    columns += [(f"seed {seed}", str(seed), found.metric.number) for seed in found.seeds]
    return tables.DataTable(records=records, columns=columns).as_text()


def runs_table(found: Comparison) -> tables.DataTable:
    """Return a record per run, with every number, for a spreadsheet."""
    return tables.DataTable(records=[each for row in found.rows for each in _runs_of(row, found)])


def _runs_of(row: ComparisonRow, found: Comparison) -> list[dict[str, Any]]:
    matched = found.row(row.baseline).runs if row.baseline else ()
    baseline = {run.seed: run.score for run in matched}
    return [
        {
            "approach": row.name,
            **tables.fields(row, "kind matched_to same_as"),
            **tables.fields(run, "seed stage network width score last_score"),
            "baseline": row.baseline,
            "difference": run.score - baseline[run.seed] if run.seed in baseline else None,
            **tables.fields(run, "network_steps steps flops seconds"),
            **{f"image_{name}": value for name, value in run.per_image.items()},
            **{f"pixels_{name}": value for name, value in run.dataset.items()},
        }
        for run in row.runs
    ]


def ordered(found: Comparison) -> list[ComparisonRow]:
    """Return the rows that are shown: labels alone, methods, their baselines, upper bounds."""
    kinds = ("labels", "method", "matched", "bound")
    shown = [row for row in found.rows if row.same_as is None]
    return sorted(shown, key=lambda row: kinds.index(row.kind))


def called(row: ComparisonRow, found: Comparison) -> str:
    """Return what a row is called: a matched baseline with everything it is matched to."""
    if row.matched_to is None:
        return row.name
    same = [each for each in found.rows if row.name in (each.name, each.same_as)]
    return f"{row.approach} to {', '.join(str(each.matched_to) for each in same)}"


def verdicts(found: Comparison) -> Iterator[str]:
    """Yield what can be said about each method in a sentence, and what cannot."""
    for row in found.rows:
        others = {} if row.baseline is None else {row.baseline: row.difference}
        others |= {n: d for n, d in row.other_differences.items() if not found.row(n).same_as}
        yield from (_verdict(row, each, n, found=found) for n, each in others.items() if each)
    yield from doubts_about_chance(found)
    for row in found.rows:
        if row.ended_with_start:
            seeds = ", ".join(map(str, row.ended_with_start))
            yield f"{row.name}, seed {seeds}: ended with its start, nothing unlabeled used."
        if row.kept_start:
            seeds = ", ".join(map(str, row.kept_start))
            yield f"{row.name}, seed {seeds}: its network learned from labels alone, {WHY_KEPT}."
    for lost in found.missing:
        yield f"Left out: {lost.name}, seed {lost.seed}: {lost.why}"


WHY_KEPT = "since unlabeled images brought nothing on validation images"
"""Why an approach hands over the network of its start."""


def doubts_about_chance(found: Comparison) -> Iterator[str]:
    """Yield why seeds and images may be too few to say more."""
    if len(found.seeds) == 1:
        yield "One seed cannot tell an approach from chance in training; take three or more."
    elif len(found.seeds) == 2:
        yield "Two seeds say little about chance in training; three and more say more."
    if found.images < LEAST_IMAGES:
        yield f"{found.images} test images are too few to say that anything is better."


VERDICTS = {
    "better": "is better than", "worse": "is worse than", "open": "cannot be told apart from",
}  # fmt: skip


def _verdict(row: ComparisonRow, gained: PairedDifference, name: str, *, found: Comparison) -> str:
    seeds = gained.of_seeds
    ahead = sum(found.merit(each) > 0 for each in seeds)
    images = f"on {gained.images_better:.0%} of the images"
    where = images if len(seeds) == 1 else f"in {ahead} of {len(seeds)} seeds and {images}"
    margin, as_much = "", "as long"
    baseline = APPROACHES.get(found.row(name).approach)
    if baseline is not None and baseline.at_cost:
        as_much = "at the cost of all its networks"
    if gained.margin is not None:
        chance = f"chance in training, estimated from {len(seeds)} seeds"
        margin = f"; with {chance}, +-{found.metric.number(gained.margin)}"
    return (
        f"{row.name} {VERDICTS[gained.verdict]} labeled images alone trained {as_much}"
        f" ({found.row(name).approach}): {found.metric.label}"
        f" {tables.as_ascii(_difference(gained, found))}{margin}; better {where}."
    )


def _seeds_missing(row: ComparisonRow, found: Comparison) -> str:
    done, planned = len(row.runs), len(found.seeds)
    return "" if done == planned else f" ({done} of {planned} seeds)"


def _level(mean: float, spread: float, found: Comparison) -> str:
    metric = found.metric
    several = f" \N{PLUS-MINUS SIGN} {tables.short(spread, metric)}" if found.seeds[1:] else ""
    return tables.short(mean, metric) + several


def _difference(gained: PairedDifference, found: Comparison) -> str:
    inside = tables.between(*gained.interval, found.metric, sign=True)
    return f"{tables.signed(gained.mean, found.metric)} ({inside})"


def _gap(gap: Any) -> str:
    return f"{gap.mean:.0%} ({gap.interval[0]:.0%} to {gap.interval[1]:.0%})"


def estimate_text(planned: ComparisonPlan, expected: ComparisonEstimate) -> str:
    """Return what a comparison would train and how long it would take here."""
    header = ["approach", "networks", "steps each, at most", "width", "one seed", "all seeds"]
    lines = [
        [
            row.name, str(row.networks), str(row.network_steps), f"{row.width:g}",
            in_time(row.seconds), in_time(row.seconds * expected.seeds),
        ]
        for row in expected.rows
    ]  # fmt: skip
    return (
        f"{tables.table(header, lines)}\n\n"
        f"All of it, {tables.count(expected.seeds, 'seed')}, one after the other on this machine:"
        f" about {in_time(expected.seconds)}.\n"
        "Starts that another row trains too are counted once. It may be less: all pseudo-labels"
        " are taken\nto be used and no generation to be left out. Nothing was trained;"
        f" it would go to {planned.out}"
    )


REPRODUCTION_NOTES = """\
published: read off the paper's figure, to about .0005; means over test images. ours: mean +-
spread over runs, each with the network that is best on validation in its generation. The
headline is an entry of the authors' leaderboard, probably their best single run; ours is the
network of the run."""


def write_reproduction(found: Reproduction, out: Path) -> tuple[Path, Path]:
    """Write ``reproduction.md`` and ``reproduction.csv`` and return where they are."""
    text = f"{reproduction_table(found)}\n\n{REPRODUCTION_NOTES}\n\n{departures_text(found)}\n"
    sheet = [
        {
            "approach": line.approach, "generation": line.generation, "score": line.label,
            "published": line.published, "run": run, "ours": ours,
            "headline": int(line is found.headline),
        }
        for line in _paper_lines(found)
        for run, ours in enumerate(line.ours)
    ]  # fmt: skip
    return _write(out / "reproduction", text, tables.DataTable(records=sheet))


def reproduction_table(found: Reproduction) -> str:
    """Return one line per published score, the headline last."""
    rows = [
        [
            f"{line.approach}{_of_generation(line, found)}",
            line.label,
            _published(line),
            tables.mean_and_spread(line.ours),
            "-" if line.difference is None else f"{line.difference:+.3f}",
            str(len(line.ours)),
        ]
        for line in _paper_lines(found)
    ]
    return tables.table(["approach", "score", "published", "ours", "difference", "runs"], rows)


def departures_text(found: Reproduction) -> str:
    """Return whether this is the published experiment."""
    if not found.departures:
        return "The published settings, schedule and number of runs."
    return f"Not the published experiment: {'; '.join(found.departures)}."


def _paper_lines(found: Reproduction) -> Sequence[PaperLine]:
    return [*found.lines, *filter(None, [found.headline])]


def _of_generation(line: PaperLine, found: Reproduction) -> str:
    if line is found.headline:
        return ", headline"
    return "" if line.generation is None else f", generation {line.generation}"


def _published(line: PaperLine) -> str:
    if line.published is not None:
        return f"{line.published:.3f}"
    return "-" if line.below is None else f"< {line.below:.2f}"
