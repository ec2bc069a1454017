"""Tables of one run: in full precision for files, and all scores for the page."""

from __future__ import annotations

from imseg.approaches.running.announce import calibration_in_words
from imseg.engine.inference.evaluator import Evaluation
from imseg.report.html.blocks import Cell, Commands, Csv, Fold, Points, Prose, Section, Table
from imseg.report.html.numbers import count, minutes, operations, percent, share, short
from imseg.report.html.run_charts import (
    calibration_chart,
    labels_chart,
    learning_chart,
    scores_chart,
)
from imseg.report.html.run_facts import Looked, RunFacts, StageFacts
from imseg.report.html.words import quoted
from imseg.types import Color, TargetSpec

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
            network.network.relative_width, network.parameters, network.flops, network.seconds,
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


def scores_section(facts: RunFacts, looked: Looked | None) -> Section:
    """Return the scores of all stages."""
    metric, key = facts.metric, facts.metric.key
    tested = looked if looked is not None and looked.split == "test" else None
    rows = []
    for stage in facts.stages:
        values = [network.scores[key] for network in stage.networks]
        mean, low, high = sum(values) / len(values), min(values), max(values)
        row = [
            stage.title,
            stage.best.rpartition("/")[2],
            short(values[0], metric),
            f"{short(mean, metric)} ({short(low, metric)} to {short(high, metric)})",
        ]
        if tested is not None:
            found = tested.by_stage.get(stage.name)
            row.append("\N{EN DASH}" if found is None else short(found.per_image[key], metric))
        rows.append(tuple(row))
    header = ("", "best network", "validation", "mean of all (least to most)")
    table = Table(
        header=(*header, tested.words) if tested is not None else header,
        rows=tuple(rows),
        caption=f"{metric.label}{f' in {metric.unit}' if metric.unit else ''}, means over images.",
        words=(1,),
    )
    title = "Scores by generation" if len(facts.stages) > 1 else "Scores of the networks"
    return Section(
        key="scores",
        title=title,
        blocks=(scores_chart(facts, looked), table),
        tables=(networks_csv(facts), *stages_csv(looked)),
    )


def learning_section(facts: RunFacts) -> Section:
    """Return learning curves."""
    rows = [
        (network.name, look, network.steps * look / max(1, len(network.epoch_scores)), value, loss)
        for stage in facts.stages
        for network in stage.networks
        for look, (value, loss) in enumerate(
            zip(network.epoch_scores, network.losses, strict=False), 1
        )
    ]
    table = Csv(
        name="learning-curves",
        header=("network", "look", "steps", "score", "loss"),
        rows=rows,
    )
    return Section(
        key="learning",
        title="Learning curves",
        blocks=(learning_chart(facts),),
        tables=(table,),
    )


def classes_section(looked: Looked, spec: TargetSpec) -> Section:
    """Return scores by class or label, and all scores."""
    found, blocks, tables = looked.found, [], []
    classes = found.dataset.get("iou_per_class")
    if classes:
        dices = found.dataset["dice_per_class"]
        colors: dict[str, Color] = dict(zip(spec.names, spec.colors, strict=True))
        blocks.append(
            Table(
                header=("", "IoU", "Dice"),
                rows=tuple((n, share(v), share(dices[n])) for n, v in classes.items()),
                caption=f"All pixels of the {len(found.names)} {looked.words} together.",
                swatches=tuple(colors[name] for name in classes),
            )
        )
        rows = [(name, value, dices[name]) for name, value in classes.items()]
        tables.append(Csv(name="classes", header=("class", "iou", "dice"), rows=rows))
    blocks.append(all_scores(found, spec))
    tables.append(images_csv(looked))
    title = "Scores by class" if classes else "Errors"
    return Section(key="classes", title=title, blocks=tuple(blocks), tables=tuple(tables))


def labels_section(facts: RunFacts) -> Section | None:
    """Return what became of unlabeled images; None where nothing did."""
    stages = [stage for stage in facts.stages if stage.labels is not None]
    if not stages:
        return None
    audited = any(stage.audit for stage in stages)
    masked = any((stage.labels or {}).get("inconsistent_share") for stage in stages)
    rows = []
    for stage in stages:
        labels, audit = stage.labels or {}, stage.audit or {}
        row = [stage.title, f"{labels['admitted']:,} of {labels['images']:,}"]
        if masked:
            row.append(percent(labels.get("inconsistent_share")))
        if audited:
            regions = ("outside", "inside", "everywhere")
            row += [share(audit.get(region, {}).get("score")) for region in regions]
        rows.append(tuple(row))
    header = ("", "images used", *(("pixels inconsistent",) if masked else ()))
    if audited:
        header += ("where teachers agree", "where they disagree", "best teacher, all pixels")
    table = Table(
        header=header,
        rows=tuple(rows),
        caption="What students learned from the unlabeled images"
        + (f"; {facts.metric.label} against hidden masks." if audited else "."),
    )
    blocks = (labels_chart(stages, facts.metric.label), table)
    return Section(
        key="labels",
        title="What was learned from unlabeled images",
        blocks=blocks if len(stages) > 1 else (table,),
        tables=(labels_csv(stages),),
    )


def scorers_section(facts: RunFacts) -> Section | None:
    """Return how far judges of masks can be trusted; None where there are none."""
    judgment = facts.run.judgment
    if judgment is None:
        return None
    text = calibration_in_words(judgment)
    pairs = list(zip(judgment["said"], judgment["true"], strict=True))
    return Section(
        key="scorers",
        title="How far the judges of masks can be trusted",
        blocks=(Prose((f"{text[:1].upper()}{text[1:]}.",)), calibration_chart(judgment)),
        tables=(Csv(name="scorers", header=("said", "true"), rows=pairs),),
    )


def warnings_section(facts: RunFacts) -> Section | None:
    """Return what the run warned of; None if of nothing."""
    failed = [why for stage in (*facts.stages, *facts.aside) for why in stage.failed]
    told = [text.partition(" is left out")[0] for text in facts.warnings]
    untold = [why for why in failed if why.partition(": ")[0] not in told]
    items = tuple(dict.fromkeys((*facts.warnings, *untold)))
    if not items:
        return None
    said = tuple(item[:1].upper() + item[1:] for item in items)
    return Section(key="warnings", title="What the run warned of", blocks=(Points(said),))


def cost_section(facts: RunFacts, *, data: str) -> Section:
    """Return what the run cost, how to go on, and every setting."""
    summary = facts.summary
    spent = {k: v for k, v in (summary.get("seconds_by_activity") or {}).items() if v > 0}
    whole = sum(spent.values())
    rows = [
        (name, minutes(value), percent(value / whole))
        for name, value in sorted(spent.items(), key=lambda item: -item[1])
        if value / whole >= 0.01
    ]
    networks = sum(len(stage.networks) for stage in facts.stages)
    final = facts.run.trained(facts.network)
    prose = Prose(
        (
            f"{count(networks, 'network')}, {summary['steps']:,} optimizer steps and"
            f" {operations(summary['flops'])} in all. The network of the run took"
            f" {final.steps:,} steps; it has {final.parameters:,} trainable numbers and works on"
            " images of {} \N{MULTIPLICATION SIGN} {} px.".format(*facts.run.plan.image_size),
        )
    )
    tables = (Csv(name="time", header=("activity", "seconds"), rows=list(spent.items())),)
    time = Table(
        header=("", "time", "share"),
        rows=tuple(rows),
        caption=f"Where the last call's {minutes(whole)} went.",
    )
    return Section(
        key="cost",
        title="What it cost",
        blocks=(prose, time) if rows else (prose,),
        tables=tables if spent else (),
    )


def next_section(facts: RunFacts, *, data: str) -> Section:
    """Return how to go on, and every setting."""
    run = quoted(facts.run.path)
    better = f" --network {facts.run.best_of_start}" if facts.run.start_was_better else ""
    new = "NEW_IMAGES --out masks/ --overlay"
    commands = [
        ("Score it on the test images", f"imseg evaluate {run} {data}{better}"),
        ("Make masks for new images", f"imseg predict {run} {new}{better}"),
        ("Report with the test images", f"imseg report {run} {data}"),
    ]
    if len(facts.stages) > 1:
        matched = quoted(facts.run.path.with_name(facts.run.path.name + "-matched"))
        commands.append(
            (
                "Labels alone with as many steps, the fair comparison",
                f"imseg train {data} --approach ldt-matched --match {run} --out {matched}",
            )
        )
    provenance = facts.provenance
    versions = ", ".join(f"{name} {value}" for name, value in provenance["versions"].items())
    where = f"{provenance['machine']}, {count(provenance['cores'], 'core')}"
    if provenance.get("gpu"):
        where += f", {provenance['gpu']}"
    rows = (
        ("trained", str(provenance["started"]).replace("T", " ").replace("+00:00", " UTC")),
        ("data", str(provenance["data"]["name"])),
        ("seed", str(facts.run.plan.seed)),
        ("versions", f"{versions}, Python {provenance['python']}"),
        ("machine", where),
    )
    settings = facts.folder.experiment.read_text(encoding="utf-8", errors="replace")
    origin = Table(header=("", ""), rows=rows, caption="Where it comes from.", words=(1,))
    return Section(
        key="next",
        title="How to go on, and how to repeat it",
        blocks=(Commands(tuple(commands)), origin, Fold("All settings", settings)),
    )
