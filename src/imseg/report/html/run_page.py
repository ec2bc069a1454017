"""The page of one run."""

from __future__ import annotations

from pathlib import Path, PurePath

from imseg.approaches.running.stage import calibration_in_words
from imseg.progress import Progress
from imseg.report import tables
from imseg.report.html import image_sections as images
from imseg.report.html import run_charts as charts
from imseg.report.html.blocks import (
    Commands,
    Fold,
    PageBlock,
    Prose,
    ReportPage,
    Section,
    ShortList,
)
from imseg.report.html.run_facts import RunFacts, ScoredSplit, score_split
from imseg.report.html.words import learned_from, quoted, run_summary
from imseg.report.tables import Column, DataTable, count, ends, fields, minutes, operations, short
from imseg.types import VERSION, DataSet


def run_page(
    facts: RunFacts,
    dataset: DataSet | None,
    *,
    test: bool,
    quick: bool,
    device: str,
    progress: Progress,
) -> ReportPage:
    """Return all content of the page of a run.

    Args:
        facts: What the run folder knows.
        dataset: The data, if it is there.
        test: Score test images, if there are any.
        quick: Look at few images.
        device: Where to compute.
        progress: Told how it goes on.

    Raises:
        ImsegError: If the masks do not mean what they meant in the run.
    """
    named = dataset is not None and Path(dataset.name).is_dir()
    data = quoted(dataset.name) if dataset is not None and named else "DATA"
    scored = None
    if dataset is not None:
        scored = score_split(
            facts, dataset, test=test, quick=quick, device=device, progress=progress
        )
    sections: list[Section | None] = [
        _scores(facts, scored),
        _learning(facts),
        None if scored is None else _all_scores(facts, scored),
        images.images_section(facts, scored, data=data),
        images.followed_section(facts, scored),
        _pseudo_labels(facts),
        _mask_scorers(facts),
        images.label_next_section(facts, dataset, quick=quick, device=device, progress=progress),
        _warnings(facts),
        _cost(facts),
        _next(facts, data=data),
    ]
    plan = facts.run.plan
    from_what = learned_from(facts.labeled, facts.unlabeled, facts.upper_bound_images)
    return ReportPage(
        title=f"{plan.approach} on {PurePath(str(facts.provenance['data']['name'])).name}",
        subtitle=f"{from_what}, seed {plan.seed}, {str(facts.provenance['started'])[:10]}",
        summary=run_summary(facts, scored, data=data),
        sections=tuple(section for section in sections if section is not None),
        footer=f"Made by imseg {VERSION} from the run {facts.run.path.name}.",
    )


def _scores(facts: RunFacts, scored: ScoredSplit | None) -> Section:
    metric, key = facts.metric, facts.metric.key
    records = []
    for stage in facts.stages:
        values = stage.values
        found = None if scored is None else scored.by_stage.get(stage.name)
        records.append(
            {
                "stage": stage.title,
                "best": stage.best.rpartition("/")[2],
                "validation": values[0],
                "all": (sum(values) / len(values), min(values), max(values)),
                "test": None if found is None else found.per_image[key],
            }
        )

    def mean_of_all(values: tuple[float, float, float]) -> str:
        mean, low, high = (short(value, metric) for value in values)
        return f"{mean} ({low} to {high})"

    columns: list[Column] = [
        ("", "stage", str),
        ("best network", "best", str),
        ("validation", "validation", lambda value: short(value, metric)),
        ("mean of all (least to most)", "all", mean_of_all),
    ]
    if scored is not None and scored.split == "test":
        columns.append((scored.words, "test", lambda value: short(value, metric)))
    table = DataTable(
        records=records, columns=columns, caption=f"{tables.with_unit(metric)}, means over images."
    )
    blocks: list[PageBlock] = [charts.scores_chart(facts, scored), table, _networks(facts)]
    if scored is not None:
        blocks.append(_stage_scores(scored))
    title = "Scores by generation" if len(facts.stages) > 1 else "Scores of the networks"
    return Section("scores", title, tuple(blocks))


def _networks(facts: RunFacts) -> DataTable:
    """Return every network with all its validation scores and costs, as a file."""
    records = [
        {
            "stage": stage.name,
            "network": network.name,
            "rank": rank,
            **{f"validation_{key}": value for key, value in network.scores.items()},
            **fields(network, "images steps"),
            "best_look": network.best_epoch,
            "looks": network.epochs,
            "width": network.network.relative_width,
            **fields(network, "parameters flops seconds"),
        }
        for stage in facts.stages
        for rank, network in enumerate(stage.networks, 1)
    ]
    return DataTable(records=records, name="networks")


def _stage_scores(scored: ScoredSplit) -> DataTable:
    """Return all scores of the best network of each stage, as a file."""
    records = [
        {
            "stage": stage, "score": key, "value": value,
            **ends(found.ci95["per_image"][key]), "images": len(found.names),
            "split": scored.split,
        }
        for stage, found in scored.by_stage.items()
        for key, value in found.per_image.items()
    ]  # fmt: skip
    return DataTable(records=records, name=f"{scored.split}-scores")


def _learning(facts: RunFacts) -> Section:
    records = [
        {
            "network": network.name, "look": look,
            "steps": network.steps * look / max(1, len(network.epoch_scores)),
            "score": value, "loss": loss,
        }
        for stage in facts.stages
        for network in stage.networks
        for look, (value, loss) in enumerate(
            zip(network.epoch_scores, network.losses, strict=False), 1
        )
    ]  # fmt: skip
    table = DataTable(records=records, name="learning-curves")
    return Section("learning", "Learning curves", (charts.learning_chart(facts), table))


def _all_scores(facts: RunFacts, scored: ScoredSplit) -> Section:
    found = scored.found
    classes = tables.classes_table(found, facts.run.spec)
    records = [
        {"image": name, **{key: values[i] for key, values in found.each.items()}}
        for i, name in enumerate(found.names)
    ]
    blocks = (tables.scores_table(found), DataTable(records=records, name="images"))
    if not classes.records:
        return Section("classes", "Errors", blocks)
    return Section("classes", "Scores by class", (classes, *blocks))


def _pseudo_labels(facts: RunFacts) -> Section | None:
    table = tables.labels_table(facts.run)
    title = "What was learned from unlabeled images"
    if len(table.records) > 1:
        chart = charts.labels_chart(table.records, facts.metric.label)
        return Section("labels", title, (chart, table))
    return Section("labels", title, (table,)) if table.records else None


def _mask_scorers(facts: RunFacts) -> Section | None:
    found = facts.run.judgment
    if found is None:
        return None
    text = calibration_in_words(found)
    pairs = zip(found["said"], found["true"], strict=True)
    records = [{"said": said, "true": true} for said, true in pairs]
    return Section(
        "mask-scorers",
        "How far the mask scorers can be trusted",
        (
            Prose((f"{text[:1].upper()}{text[1:]}.",)),
            charts.calibration_chart(found),
            DataTable(records=records, name="mask-scorers"),
        ),
    )


def _warnings(facts: RunFacts) -> Section | None:
    failed = [why for stage in (*facts.stages, *facts.aside) for why in stage.failed]
    told = [text.partition(" is left out")[0] for text in facts.warnings]
    untold = [why for why in failed if why.partition(": ")[0] not in told]
    items = dict.fromkeys(item[:1].upper() + item[1:] for item in (*facts.warnings, *untold))
    blocks = (ShortList(tuple(items)),)
    return Section("warnings", "What the run warned of", blocks) if items else None


def _cost(facts: RunFacts) -> Section:
    summary, final = facts.summary, facts.run.trained(facts.network)
    networks = sum(len(stage.networks) for stage in facts.stages)
    prose = Prose(
        (
            f"{count(networks, 'network')}, {summary['steps']:,} optimizer steps and"
            f" {operations(summary['flops'])} in all. The network of the run took"
            f" {final.steps:,} steps; it has {final.parameters:,} trainable numbers and works on"
            " images of {} \N{MULTIPLICATION SIGN} {} px.".format(*facts.run.plan.image_size),
        )
    )
    spent = {k: v for k, v in (summary.get("seconds_by_activity") or {}).items() if v > 0}
    whole = sum(spent.values())
    ranked = sorted(spent.items(), key=lambda item: -item[1])
    time = DataTable(
        records=[{"activity": k, "seconds": v, "_share": v / whole} for k, v in ranked],
        columns=(
            ("", "activity", str),
            ("time", "seconds", minutes),
            ("share", "_share", tables.percent),
        ),
        name="time",
        caption=f"Where the last call's {minutes(whole)} went.",
    )
    return Section("cost", "What it cost", (prose, time) if spent else (prose,))


def _next(facts: RunFacts, *, data: str) -> Section:
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
        command = f"imseg train {data} --approach ldt-matched --match {run} --out {matched}"
        commands.append(("Labels alone with as many steps, the fair comparison", command))
    known = facts.provenance
    versions = ", ".join(f"{name} {value}" for name, value in known["versions"].items())
    gpu = f", {known['gpu']}" if known.get("gpu") else ""
    origin = {
        "trained": str(known["started"]).replace("T", " ").replace("+00:00", " UTC"),
        "data": str(known["data"]["name"]),
        "seed": str(facts.run.plan.seed),
        "versions": f"{versions}, Python {known['python']}",
        "machine": f"{known['machine']}, {count(known['cores'], 'core')}{gpu}",
    }
    table = DataTable(
        records=[{"what": name, "value": value} for name, value in origin.items()],
        columns=(("", "what", str), ("", "value", str)),
        caption="Where it comes from.",
    )
    settings = facts.folder.experiment.read_text(encoding="utf-8", errors="replace")
    blocks = (Commands(tuple(commands)), table, Fold("All settings", settings))
    return Section("next", "How to go on, and how to repeat it", blocks)
