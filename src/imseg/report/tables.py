"""Results as plain text tables that read well in a terminal, a mail and Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from imseg.approaches.running.announce import calibration_in_words
from imseg.approaches.runs.run import Run
from imseg.engine.inference.evaluator import Evaluation
from imseg.errors import shown


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


def mean_and_spread(values: Sequence[float]) -> str:
    """Return ``0.712 +- 0.008``: mean and sample standard deviation."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    return f"{statistics.fmean(values):.3f} +- {statistics.stdev(values):.3f}"


def stages_table(run: Run) -> str:
    """Return the stages of a run: the validation score of every network, steps and minutes."""
    rows, metric = [], run.metric
    begin, *generations = run.summary["stages"]
    aside = [stage for stage in run.summary.get("aside", ()) if stage["name"] != "scorers"]
    for stage in (begin, *aside, *generations):
        networks = stage["networks"]
        values = [network["scores"][metric.key] for network in networks]
        scores = " ".join(metric.number(value).removesuffix(f" {metric.unit}") for value in values)
        minutes = sum(network["seconds"] for network in networks) / 60
        steps = "-".join(str(n) for n in sorted({network["steps"] for network in networks}))
        labels = stage.get("pseudo_labels") or {}
        admitted = f"{labels['admitted']}/{labels['images']}" if labels else "-"
        rows.append([stage["name"], scores, steps, admitted, f"{minutes:.1f}"])
    return table(
        [
            "stage",
            f"validation {metric.label} of each network",
            "steps",
            "pseudo-labels",
            "minutes",
        ],
        rows,
    )


LEAST_SHARE = 0.01
"""Of the time; what took less is not worth a word."""


def time_in_words(summary: Mapping[str, Any]) -> str | None:
    """Return where the time of a run went, most first; None if the run does not know.

    Args:
        summary: As in ``summary.json``.
    """
    spent = summary.get("seconds_by_activity") or {}
    whole = sum(spent.values())
    if whole <= 0:
        return None
    shares = {name: seconds / whole for name, seconds in spent.items()}
    ranked = sorted(shares, key=lambda name: -shares[name])
    told = [f"{name} {shares[name]:.0%}" for name in ranked if shares[name] >= LEAST_SHARE]
    return f"{whole / 60:.1f} min: {', '.join(told)}"


def audit_table(run: Run) -> str:
    """Return how good pseudo-labels were, by generation; empty without hidden masks."""
    audits, label = run.audits, run.metric.label
    if not audits:
        return ""
    rows = [
        [
            name,
            f"{found['admitted']}/{found['images']}",
            _number(found["coverage"]),
            _number(found["outside"]["precision"]),
            *[
                _number(found[region]["score"])
                for region in ("outside", "inside", "everywhere", "not_admitted")
            ],
        ]
        for name, found in audits.items()
    ]
    header = ["", "used", "agreed", "precision", label, "disputed*", "all*", "unused*"]
    return (
        "Pseudo-labels against hidden masks:\n\n"
        f"{table(header, rows)}\n\n"
        "used: images learned from. agreed: share of their pixels on which the teachers agree;"
        f" precision and {label}\nof the labels there. *: {label} of the best teacher alone where"
        " teachers disagree, on all pixels of used images,\nand on images that were not used. All"
        " pixels together, not means over images."
    )


def judgment_text(run: Run) -> str:
    """Return how far the judges of a run can be trusted; empty where there are none."""
    found = run.judgment
    return "" if found is None else calibration_in_words(found).capitalize() + "."


def evaluation_tables(found: Evaluation) -> str:
    """Return scores with their intervals, and scores by class."""
    rows = [
        [f"{name} (mean over images)", _number(value), _interval(found.ci95["per_image"], name)]
        for name, value in found.per_image.items()
    ]
    for name, value in found.dataset.items():
        if isinstance(value, float):
            interval = _interval(found.ci95["dataset"], name)
            rows.append([f"{name} (all pixels together)", _number(value), interval])
    parts = [
        f"{len(found.names)} images, {found.task}"
        + (f", errors in {found.unit}" if found.unit else ""),
        table(["score", "value", "95 % interval"], rows),
    ]
    if "iou_per_class" in found.dataset:
        by_class = [
            [name, _number(value), _number(found.dataset["dice_per_class"][name])]
            for name, value in found.dataset["iou_per_class"].items()
        ]
        parts.append(table(["class (all pixels together)", "IoU", "Dice"], by_class))
    return "\n\n".join(parts)


def _interval(intervals: dict[str, tuple[float, float]], name: str) -> str:
    if name not in intervals:
        return "-"
    low, high = intervals[name]
    return f"{_number(low)} .. {_number(high)}"


def _number(value: Any) -> str:
    if value is None:
        return "-"
    # Errors can have any unit; shares have four digits.
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.4g}"
