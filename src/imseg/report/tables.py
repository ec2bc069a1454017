"""Numbers as people read them."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imseg.approaches.running.stage import calibration_in_words
from imseg.approaches.runs.run import Run
from imseg.data.files.listing import sheet
from imseg.engine.inference.evaluator import Evaluation
from imseg.errors import shown
from imseg.tasks import Metric
from imseg.types import TargetSpec

MINUS, DASH, SPACE = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{NO-BREAK SPACE}"
_ASCII = str.maketrans({MINUS: "-", DASH: "-", SPACE: " ", "\N{PLUS-MINUS SIGN}": "+-"})


def as_ascii(text: str) -> str:
    """Return numbers as every terminal shows them."""
    return text.translate(_ASCII)


def percent(value: float | None, digits: int = 1) -> str:
    """Return ``7.1 %``; an en dash where there is nothing."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.{digits}%}".replace("%", f"{SPACE}%").replace("-", MINUS)


def four_digits(value: float) -> str:
    """Return ``0.7123``, or four digits of a number that is very large or very small."""
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.4g}"


def short(value: float, metric: Metric) -> str:
    """Return a score without its unit."""
    return _digits(value, metric).replace("-", MINUS) if math.isfinite(value) else DASH


def score(value: float, metric: Metric) -> str:
    """Return a score with its unit: ``0.712``, ``3.46 m``."""
    return f"{short(value, metric)} {metric.unit}".rstrip()


def signed(value: float, metric: Metric) -> str:
    """Return a difference with its sign."""
    return (MINUS if value < 0 else "+") + _digits(abs(value), metric)


def between(low: float, high: float, metric: Metric, *, sign: bool = False) -> str:
    """Return ``0.68 to 0.73``."""
    as_text = signed if sign else short
    return f"{as_text(low, metric)} to {as_text(high, metric)}"


def with_unit(metric: Metric, *, inside: str = " in {}") -> str:
    """Return what a score is called, and its unit if it has one: ``RMSE in m``."""
    return metric.label + (inside.format(metric.unit) if metric.unit else "")


def count(number: int, noun: str) -> str:
    """Return ``1 image``, ``1,412 images``."""
    ending = "" if number == 1 else "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{ending}"


def in_words(names: list[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def minutes(seconds: float) -> str:
    """Return ``48 s``, ``1.5 min``, ``12 min`` or ``3.2 h``."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min" if seconds < 570 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def operations(flops: float) -> str:
    """Return ``18.4 TFLOP``: floating point operations of a training."""
    for size, name in ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP")):
        if flops >= size:
            return f"{flops / size:.3g} {name}"
    return f"{flops / 1e6:.3g} MFLOP"


def _digits(value: float, metric: Metric) -> str:
    if metric.higher_is_better and not metric.unit:
        return f"{value:.3f}"
    # Errors can have any unit: three digits, not more and not fewer.
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns; the first column is left-aligned."""
    cells = [[shown(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *rest]) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(cells[0]), rule, *(line(row) for row in cells[1:])])


Column = tuple[str, str, Callable[..., str]]
"""What people see of numbers: a heading, the names of the numbers in it, separated by spaces, and
how they are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTable:
    """Numbers in full precision, and how people see them.

    A column shows one or more numbers of each record, as text; where one of them is missing, a
    dash. A table without columns is only a file.
    """

    records: Sequence[Mapping[str, Any]]
    """A row each: numbers by their names in files. Names that begin with ``_`` are not in files."""
    columns: Sequence[Column] = ()
    """What people see; the first column names the rows."""
    name: str = ""
    """The file's name, without its ending; none if empty."""
    caption: str = ""
    """What is seen."""
    swatches: Sequence[tuple[int, int, int]] = ()
    """A color before each row's name; none when empty."""

    @property
    def header(self) -> list[str]:
        """Headings of columns."""
        return [heading for heading, _, _ in self.columns]

    @property
    def rows(self) -> list[list[str]]:
        """Text, ready to be shown."""
        return [
            [_cell(record, names, show) for _, names, show in self.columns]
            for record in self.records
        ]

    @property
    def words(self) -> list[int]:
        """Columns (from 0) that hold words; all others hold numbers."""
        firsts = [
            [record[names.split()[0]] for record in self.records] for _, names, _ in self.columns
        ]
        return [i for i, cells in enumerate(firsts) if any(isinstance(cell, str) for cell in cells)]

    def as_text(self) -> str:
        """Return a table for a terminal, a mail and Markdown."""
        return table(self.header, [[as_ascii(cell) for cell in row] for row in self.rows])

    def as_csv(self) -> str:
        """Return all numbers in full precision."""
        names = dict.fromkeys(name for record in self.records for name in record)
        header = [name for name in names if not name.startswith("_")]
        return sheet(header, [[record.get(name) for name in header] for record in self.records])


def _cell(record: Mapping[str, Any], names: str, show: Callable[..., str]) -> str:
    values = [record[name] for name in names.split()]
    # What is not a number is not equal to itself.
    return show(*values) if all(v is not None and v == v for v in values) else DASH


def fields(item: object, names: str) -> dict[str, Any]:
    """Return values of an object for a record, by their names, which are separated by spaces."""
    return {name: getattr(item, name) for name in names.split()}


def ends(interval: tuple[float, float]) -> dict[str, float]:
    """Return the ends of an interval for a record."""
    return dict(zip(("low", "high"), interval, strict=True))


def mean_and_spread(values: Sequence[float]) -> str:
    """Return ``0.712 +- 0.008``: mean and sample standard deviation."""
    spread = f" +- {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def stages_table(run: Run) -> str:
    """Return the stages of a run: the validation score of every network, steps and minutes."""
    rows, metric = [], run.metric
    begin, *generations = run.summary["stages"]
    aside = [stage for stage in run.summary.get("aside", ()) if stage["name"] != "scorers"]
    for stage in (begin, *aside, *generations):
        networks = stage["networks"]
        values = [metric.number(network["scores"][metric.key]) for network in networks]
        scores = " ".join(value.removesuffix(f" {metric.unit}") for value in values)
        minutes = sum(network["seconds"] for network in networks) / 60
        steps = "-".join(str(n) for n in sorted({network["steps"] for network in networks}))
        labels = stage.get("pseudo_labels") or {}
        admitted = f"{labels['admitted']}/{labels['images']}" if labels else "-"
        rows.append([stage["name"], scores, steps, admitted, f"{minutes:.1f}"])
    scored = f"validation {metric.label} of each network"
    return table(["stage", scored, "steps", "pseudo-labels", "minutes"], rows)


LEAST_SHARE = 0.01
"""Of the time; what took less is not worth a word."""


def seconds_by_activity(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return where the time of a run went, most first; empty if the run does not know.

    Args:
        summary: As in ``summary.json``.
    """
    spent = (summary.get("seconds_by_activity") or {}).items()
    return {name: s for name, s in sorted(spent, key=lambda item: -item[1]) if s > 0}


def time_in_words(summary: Mapping[str, Any]) -> str | None:
    """Return where the time of a run went, most first; None if the run does not know.

    Args:
        summary: As in ``summary.json``.
    """
    spent = seconds_by_activity(summary)
    whole = sum(spent.values())
    told = [f"{name} {s / whole:.0%}" for name, s in spent.items() if s / whole >= LEAST_SHARE]
    return f"{whole / 60:.1f} min: {', '.join(told)}" if told else None


REGIONS = {
    "outside": "agree",
    "inside": "disagree",
    "everywhere": "all",
    "not_admitted": "not_admitted",
}
"""Parts of the unlabeled images in ``audit.json``, and in tables: where teachers agree, where they
do not, both, and images that are not learned from."""


def labels_table(run: Run, *, every: bool = False) -> DataTable:
    """Return what became of the unlabeled images in each generation, and how right labels were.

    Scores are over all pixels together, against hidden masks where these were named.

    Args:
        run: The run.
        every: Show every number of the comparison with hidden masks, not only three.
    """
    audits, records, label = run.audits, [], run.metric.label
    for stage in run.summary["stages"]:
        labels, audit = stage.get("pseudo_labels"), audits.get(stage["name"], {})
        if labels is not None:
            names = ("images", "admitted", "inconsistent_share")
            record = {"stage": stage["name"], **{name: labels.get(name) for name in names}}
            record["coverage"] = audit.get("coverage")
            for region, name in REGIONS.items():
                for number in ("score", "precision"):
                    record[f"{name}_{number}"] = audit.get(region, {}).get(number)
            records.append(record)
    columns: list[Column] = [
        ("", "stage", str),
        ("images used", "admitted images", lambda used, of: f"{used:,} of {of:,}"),
    ]
    if any(record["inconsistent_share"] for record in records):
        columns.append(("pixels inconsistent", "inconsistent_share", percent))
    compared: list[Column] = [
        ("pixels agreed on", "coverage", four_digits),
        ("precision there", "agree_precision", four_digits),
        ("where teachers agree", "agree_score", four_digits),
        ("where they disagree*", "disagree_score", four_digits),
        ("all pixels*", "all_score", four_digits),
        ("unused images*", "not_admitted_score", four_digits),
    ]
    caption = "What students learned from the unlabeled images."
    if audits:
        columns += compared if every else compared[2:5]
        caption = (
            f"{caption[:-1]}; {label} against hidden masks, all pixels together. *: {label} of the"
            " best teacher alone."
        )
    return DataTable(records=records, columns=columns, name="pseudo-labels", caption=caption)


def audit_table(run: Run) -> str:
    """Return how good pseudo-labels were, by generation; empty without hidden masks."""
    if not run.audits:
        return ""
    found = labels_table(run, every=True)
    return f"Pseudo-labels against hidden masks:\n\n{found.as_text()}\n\n{found.caption}"


def judgment_text(run: Run) -> str:
    """Return how far the mask scorers of a run can be trusted; empty where there are none."""
    found = run.judgment
    text = "" if found is None else f"{calibration_in_words(found)}."
    return text[:1].upper() + text[1:]


_KNOWN = {
    "iou": "IoU",
    "miou": "mean IoU",
    "dice": "Dice",
    "boundary_iou": "IoU of outlines",
    "accuracy": "right pixels",
    "rmse": "RMSE",
    "mae": "mean absolute error",
    "delta_1.25": "pixels within 25 %",
    "cell_count_error": "cells miscounted",
    "object_count_error": "objects miscounted",
    "object_f1": "F1 of objects",
    "object_ap": "average precision of objects",
}
"""What scores are called."""


def scores_table(found: Evaluation) -> DataTable:
    """Return all scores: means over images, and over all pixels together."""
    pooled = {name: value for name, value in found.dataset.items() if isinstance(value, float)}
    nothing = (None, None)
    records = []
    for name in dict.fromkeys((*found.per_image, *pooled)):
        ends, all_ends = (found.ci95[kind].get(name, nothing) for kind in ("per_image", "dataset"))
        records.append(
            {
                "score": _KNOWN.get(name, name.replace("iou_", "IoU of ")),
                "mean": found.per_image.get(name), "low": ends[0], "high": ends[1],
                "pooled": pooled.get(name), "pooled_low": all_ends[0], "pooled_high": all_ends[1],
            }
        )  # fmt: skip
    unit = f" Errors are in {found.unit}." if found.unit else ""
    return DataTable(
        records=records,
        columns=(
            ("", "score", str),
            ("mean over images", "mean", four_digits),
            ("95 % interval", "low high", _interval),
            ("all pixels together", "pooled", four_digits),
            ("95 % interval", "pooled_low pooled_high", _interval),
        ),
        caption="All scores. Means over images are what the paper reports; all pixels together is"
        f" what the field reports.{unit}",
    )


def _interval(low: float, high: float) -> str:
    return f"{four_digits(low)} to {four_digits(high)}"


def classes_table(found: Evaluation, spec: TargetSpec | None = None) -> DataTable:
    """Return scores of each class or label, over all pixels together; no record without classes.

    Args:
        found: All scores.
        spec: Which colors classes have; None: no colors.
    """
    colors = {} if spec is None else dict(zip(spec.names, spec.colors, strict=True))
    classes = found.dataset.get("iou_per_class") or {}
    records = [
        {"class": name, "iou": value, "dice": found.dataset["dice_per_class"][name]}
        for name, value in classes.items()
    ]
    return DataTable(
        records=records,
        columns=(("", "class", str), ("IoU", "iou", four_digits), ("Dice", "dice", four_digits)),
        name="classes",
        caption=f"All pixels of the {len(found.names)} images together.",
        swatches=[colors[name] for name in classes] if colors else (),
    )


def evaluation_text(found: Evaluation) -> str:
    """Return scores with their intervals, and scores by class."""
    head = f"{len(found.names)} images, {found.task}"
    head += f", errors in {found.unit}" if found.unit else ""
    head += f", each seen in {found.orientations} orientations" if found.orientations > 1 else ""
    tables = (scores_table(found), classes_table(found))
    return "\n\n".join([head, *(each.as_text() for each in tables if each.records)])
