"""Tables of one run: in full precision for files, and all scores for the page."""

from __future__ import annotations

from imseg.engine.evaluator import Evaluation
from imseg.report.html.blocks import Cell, Csv, Table
from imseg.report.html.facts import RunFacts, StageFacts
from imseg.report.html.looks import Looked
from imseg.types import TargetSpec

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
    "f1": "F1 of objects",
    "precision": "precision of objects",
    "recall": "recall of objects",
}
"""What scores are called."""


def networks_csv(facts: RunFacts) -> Csv:
    """Return every network with all its validation scores and costs."""
    keys = list(facts.final.networks[0].scores)
    rows = [
        (
            stage.name, network.name, rank, *[network.scores.get(key) for key in keys],
            network.images, network.steps, network.best_epoch, network.epochs,
            network.network.width, network.parameters, network.flops, network.seconds,
        )
        for stage in facts.stages
        for rank, network in enumerate(stage.networks, 1)
    ]  # fmt: skip
    header = ("stage", "network", "rank", *[f"validation_{key}" for key in keys], "images", "steps")
    more = ("best_look", "looks", "width", "parameters", "flops", "seconds")
    return Csv(name="networks", header=(*header, *more), rows=rows)


def stages_csv(looked: Looked | None) -> tuple[Csv, ...]:
    """Return all scores of the best network of each stage."""
    if looked is None:
        return ()
    rows = [
        (name, key, value, *found.ci95["per_image"][key], len(found.names), looked.split)
        for name, found in looked.by_stage.items()
        for key, value in found.per_image.items()
    ]
    header = ("stage", "score", "value", "low", "high", "images", "split")
    return (Csv(name=f"{looked.split}-scores", header=header, rows=rows),)


def all_scores(found: Evaluation, spec: TargetSpec) -> Table:
    """Return all scores, per image and over all pixels."""
    plain = {name: value for name, value in found.dataset.items() if isinstance(value, float)}
    names = [n for n in dict.fromkeys((*found.per_image, *plain)) if n not in _of_planes(spec)]
    rows = []
    for name in names:
        one, many = found.per_image.get(name), plain.get(name)
        low, high = found.ci95["per_image"].get(name, (float("nan"), float("nan")))
        inside = "\N{EN DASH}" if one is None else f"{_any(low)} to {_any(high)}"
        rows.append((_KNOWN.get(name, name), _any(one), inside, _any(many)))
    unit = f" Errors are in {found.unit}." if found.unit else ""
    return Table(
        header=("", "mean over images", "95 % interval", "all pixels together"),
        rows=tuple(rows),
        caption="All scores. Means over images are what the paper reports; all pixels together is"
        f" what the field reports.{unit}",
    )


def _of_planes(spec: TargetSpec) -> set[str]:
    return {f"iou_{name}" for name in spec.names}


def _any(value: float | None) -> str:
    if value is None or value != value:
        return "\N{EN DASH}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def images_csv(looked: Looked) -> Csv:
    """Return the scores of each image."""
    found = looked.found
    keys = list(found.each)
    rows: list[list[Cell]] = [
        [name, *[found.each[key][i] for key in keys]] for i, name in enumerate(found.names)
    ]
    return Csv(name="images", header=("image", *keys), rows=rows)


def labels_csv(stages: list[StageFacts]) -> Csv:
    """Return what became of unlabeled images in each generation."""
    rows = []
    for stage in stages:
        labels, audit = stage.labels or {}, stage.audit or {}
        values = [labels["images"], labels["admitted"], labels.get("inconsistent_share")]
        values += [audit.get("coverage")]
        for region in ("outside", "inside", "everywhere", "not_admitted"):
            values += [audit.get(region, {}).get(each) for each in ("score", "precision")]
        rows.append((stage.name, *values))
    header = ["stage", "images", "admitted", "inconsistent_share", "coverage"]
    for region in ("agree", "disagree", "all", "not_admitted"):
        header += [f"{region}_score", f"{region}_precision"]
    return Csv(name="pseudo-labels", header=header, rows=rows)
