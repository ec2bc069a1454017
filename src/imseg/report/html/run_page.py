"""The page of one run: its sections and figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from imseg.progress import Progress
from imseg.report import tables
from imseg.report.html import image_sections, parts, words
from imseg.report.html.run_facts import RunFacts, ScoredSplit, score_split
from imseg.report.tables import Column, DataTable, count, ends, fields, score, short, with_unit
from imseg.types import VERSION, DataSet

MOST_LINES = 60
"""Networks whose learning curves are drawn."""


def run_page(
    facts: RunFacts,
    dataset: DataSet | None,
    *,
    test: bool,
    quick: bool,
    device: str,
    progress: Progress,
) -> parts.ReportPage:
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
    scored, data = None, "DATA"
    if dataset is not None:
        data = words.quoted(dataset.name) if Path(dataset.name).is_dir() else data
        scored = score_split(
            facts, dataset, test=test, quick=quick, device=device, progress=progress
        )
    sections: list[parts.Section | None] = [
        _scores(facts, scored),
        _learning(facts),
        None if scored is None else _all_scores(facts, scored),
        image_sections.images_section(facts, scored, data=data),
        image_sections.followed_section(facts, scored),
        _pseudo_labels(facts),
        _mask_scorers(facts),
        image_sections.label_next_section(
            facts, dataset, quick=quick, device=device, progress=progress
        ),
        _warnings(facts),
        _cost(facts),
        _next(facts, data=data),
    ]
    plan = facts.run.plan
    from_what = words.learned_from(facts.labeled, facts.unlabeled, facts.upper_bound_images)
    return parts.ReportPage(
        title=f"{plan.approach.name} on {PurePath(str(facts.provenance['data']['name'])).name}",
        subtitle=f"{from_what}, seed {plan.seed}, {str(facts.provenance['started'])[:10]}",
        summary=words.run_summary(facts, scored, data=data),
        sections=tuple(section for section in sections if section is not None),
        footer=f"Made by imseg {VERSION} from the run {facts.run.path.name}.",
    )


def _scores(facts: RunFacts, scored: ScoredSplit | None) -> parts.Section:
    metric, key = facts.metric, facts.metric.key
    by_stage = {} if scored is None else scored.by_stage
    records = [
        {
            "stage": stage.title,
            "best": stage.best.rpartition("/")[2],
            "validation": stage.values[0],
            "mean": sum(stage.values) / len(stage.values),
            **ends((min(stage.values), max(stage.values))),
            "test": by_stage[stage.name].per_image[key] if stage.name in by_stage else None,
        }
        for stage in facts.stages
    ]

    def in_digits(value: float) -> str:
        return short(value, metric)

    def mean_of_all(mean: float, low: float, high: float) -> str:
        return f"{short(mean, metric)} ({tables.between(low, high, metric)})"

    columns: list[Column] = [
        ("", "stage", str),
        ("best network", "best", str),
        ("validation", "validation", in_digits),
        ("mean of all (least to most)", "mean low high", mean_of_all),
    ]
    if scored is not None and scored.split == "test":
        columns.append((scored.words, "test", in_digits))
    table = DataTable(
        records=records, columns=columns, caption=f"{with_unit(metric)}, means over images."
    )
    files = [_networks(facts)] + ([] if scored is None else [_stage_scores(scored)])
    title = "Scores by generation" if len(facts.stages) > 1 else "Scores of the networks"
    return parts.Section("scores", title, (scores_chart(facts, scored), table, *files))


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


def _learning(facts: RunFacts) -> parts.Section:
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
    return parts.Section("learning", "Learning curves", (learning_chart(facts), table))


def _all_scores(facts: RunFacts, scored: ScoredSplit) -> parts.Section:
    found = scored.found
    classes = tables.classes_table(found, facts.run.spec)
    records = [
        {"image": name, **{key: values[i] for key, values in found.each.items()}}
        for i, name in enumerate(found.names)
    ]
    blocks = (tables.scores_table(found), DataTable(records=records, name="images"))
    if not classes.records:
        return parts.Section("classes", "Errors", blocks)
    return parts.Section("classes", "Scores by class", (classes, *blocks))


def _pseudo_labels(facts: RunFacts) -> parts.Section | None:
    table = tables.labels_table(facts.run)
    title = "What was learned from unlabeled images"
    if len(table.records) > 1:
        chart = labels_chart(table.records, facts.metric.label)
        return parts.Section("labels", title, (chart, table))
    return parts.Section("labels", title, (table,)) if table.records else None


def _mask_scorers(facts: RunFacts) -> parts.Section | None:
    found = facts.run.judgment
    if found is None:
        return None
    pairs = zip(found["said"], found["true"], strict=True)
    records = [{"said": said, "true": true} for said, true in pairs]
    table = DataTable(records=records, name="mask-scorers")
    text = parts.Prose((tables.judgment_text(facts.run),))
    title = "How far the mask scorers can be trusted"
    return parts.Section("mask-scorers", title, (text, calibration_chart(found), table))


def _warnings(facts: RunFacts) -> parts.Section | None:
    failed = [why for stage in (*facts.stages, *facts.aside) for why in stage.failed]
    told = [text.partition(" is left out")[0] for text in facts.warnings]
    untold = [why for why in failed if why.partition(": ")[0] not in told]
    items = dict.fromkeys(item[:1].upper() + item[1:] for item in (*facts.warnings, *untold))
    blocks = (parts.ShortList(tuple(items)),)
    return parts.Section("warnings", "What the run warned of", blocks) if items else None


def _cost(facts: RunFacts) -> parts.Section:
    summary, final = facts.summary, facts.run.trained(facts.network)
    networks = sum(len(stage.networks) for stage in facts.stages)
    prose = parts.Prose(
        (
            f"{count(networks, 'network')}, {summary['steps']:,} optimizer steps and"
            f" {tables.operations(summary['flops'])} in all. The network of the run took"
            f" {final.steps:,} steps; it has {final.parameters:,} trainable numbers and sees"
            f" {facts.run.plan.seen_in_words}.",
        )
    )
    ranked = tables.seconds_by_activity(summary)
    whole = sum(ranked.values())
    share = ("share", "_share", tables.percent)
    time = DataTable(
        records=[{"activity": k, "seconds": v, "_share": v / whole} for k, v in ranked.items()],
        columns=(("", "activity", str), ("time", "seconds", tables.minutes), share),
        name="time",
        caption=f"Where the last call's {tables.minutes(whole)} went.",
    )
    return parts.Section("cost", "What it cost", (prose, time) if ranked else (prose,))


def _next(facts: RunFacts, *, data: str) -> parts.Section:
    run = words.quoted(facts.run.path)
    better = f" --network {facts.run.best_of_start}" if facts.run.start_was_better else ""
    new = "NEW_IMAGES --out masks/ --overlay"
    commands = [
        ("Score it on the test images", f"imseg evaluate {run} {data}{better}"),
        ("Make masks for new images", f"imseg predict {run} {new}{better}"),
        ("Report with the test images", f"imseg report {run} {data}"),
    ]
    if len(facts.stages) > 1:
        matched = words.quoted(facts.run.path.with_name(facts.run.path.name + "-matched"))
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
    blocks = (parts.Commands(tuple(commands)), table, parts.Fold("All settings", settings))
    return parts.Section("next", "How to go on, and how to repeat it", blocks)


def scores_chart(facts: RunFacts, scored: ScoredSplit | None) -> parts.Chart:
    """Return the scores of all networks, stage by stage."""
    metric, stages = facts.metric, facts.stages
    tested = scored if scored is not None and scored.whole else None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        places = np.arange(len(stages))
        for place, stage in zip(places, stages, strict=True):
            beside = np.linspace(-0.05, 0.05, len(stage.values)) * (len(stage.values) > 1)
            axes.scatter(
                place - 0.09 + beside, stage.values, s=26, color=parts.FAINT, alpha=0.55,
                linewidths=0, label="each network, validation" if place == 0 else None,
            )  # fmt: skip
        axes.plot(
            places - 0.09, [np.mean(stage.values) for stage in stages], color=parts.FAINT,
            linewidth=1.2, marker="_", markersize=14, label="their mean",
        )  # fmt: skip
        if tested is not None:
            _with_intervals(axes, facts, tested)
        else:
            axes.plot(
                places - 0.09, [stage.values[0] for stage in stages], color="C0",
                marker="o", markersize=6, label="best network, validation",
            )  # fmt: skip
        axes.set_xticks(places, [s.title if parts.is_wide(figure) else s.short for s in stages])
        axes.set(xlim=(-0.5, len(stages) - 0.5), ylabel=with_unit(metric, inside=" ({})"))
        if not parts.is_wide(figure) and len(stages) > 1:
            axes.set_xlabel("generation")
        parts.legend(figure, axes)

    return parts.Chart(
        name="scores-by-generation",
        draw=draw,
        alt=_scores_alt(facts, tested),
        caption=_scores_caption(facts, tested),
        height=3.5,
        narrow_height=3.6,
    )


def _with_intervals(axes: Axes, facts: RunFacts, scored: ScoredSplit) -> None:
    """Draw the scores of the best networks of stages on images, with intervals."""
    key = facts.metric.key
    names = [stage.name for stage in facts.stages]
    shown = [name for name in names if name in scored.by_stage]
    places = np.array([names.index(name) for name in shown]) + 0.09
    values = np.array([scored.by_stage[name].per_image[key] for name in shown])
    ends = np.array([scored.by_stage[name].ci95["per_image"][key] for name in shown])
    errors = np.abs(ends.T - values)
    axes.errorbar(
        places, values, yerr=errors, color="C0", marker="o", markersize=6, capsize=3,
        elinewidth=1.4, label=f"best network, {scored.of} {scored.words}",
    )  # fmt: skip


def _scores_alt(facts: RunFacts, scored: ScoredSplit | None) -> str:
    metric = facts.metric
    values = {stage.name: stage.values[0] for stage in facts.stages}
    for name, found in {} if scored is None else scored.by_stage.items():
        values[name] = found.per_image[metric.key]
    told = [f"{stage.title} {score(values[stage.name], metric)}" for stage in facts.stages]
    on = scored.words if scored is not None else "validation images"
    return f"{metric.label} of the best network of every stage on {on}: {', '.join(told)}."


def _scores_caption(facts: RunFacts, scored: ScoredSplit | None) -> str:
    direction = "Higher" if facts.metric.higher_is_better else "Lower"
    text = (
        f"{direction} is better. Gray: every network on the {facts.validation} validation images,"
        " by which the best one of each stage is chosen."
    )
    if scored is None:
        return f"{text} In color: that best one."
    interval = tables.between(*scored.found.ci95["per_image"][facts.metric.key], facts.metric)
    what = "chosen by validation, " if scored.split == "test" else ""
    count = scored.found.orientations
    averaged = f", averaged over {count} orientations of each image" if count > 1 else ""
    return (
        f"{text} In color: the best one, {what}on the {scored.of} {scored.words}{averaged}, with"
        f" 95\u00a0% intervals over images. The network of the run ({facts.network}): {interval}."
    )


def learning_chart(facts: RunFacts) -> parts.Chart:
    """Return how the score by which epochs are kept, and the loss, went on in training."""
    stages = facts.stages
    thin = sum(len(stage.networks) for stage in stages) > 12

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(1, 2) if parts.is_wide(figure) else figure.subplots(2, 1)
        left = MOST_LINES
        for number, stage in enumerate(stages):
            color = f"C{number}"
            look: dict[str, Any] = {"color": color, "linewidth": 2.0, "label": stage.title}
            for place, network in enumerate(stage.networks[: max(0, left)]):
                steps = np.linspace(0, network.steps, len(network.epoch_scores) + 1)[1:]
                above.plot(steps, network.epoch_scores, **look)
                ends_of_epochs = np.linspace(0, network.steps, len(network.losses) + 1)[1:]
                below.plot(ends_of_epochs, network.losses, **look)
                at = network.best_epoch - 1
                if place == 0 and 0 <= at < len(steps):
                    above.plot(steps[at], network.epoch_scores[at], "o", color=color, markersize=6)
                look |= {"linewidth": 0.9, "alpha": 0.3 if thin else 0.5, "label": None}
            left -= len(stage.networks)
        names = {above: "score that keeps an epoch", below: "training loss"}
        for axes, name in names.items():
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.set(xlabel="optimizer steps", ylabel=name, xlim=(0, None))
        parts.legend(figure, above, columns=6)

    best = facts.final.networks[0]
    return parts.Chart(
        name="learning-curves",
        draw=draw,
        alt=f"Learning curves of {sum(len(s.networks) for s in stages)} networks. The network of"
        f" the run was kept at look {best.best_epoch} of {best.epochs}.",
        caption="Thick: the best network of each stage; the dot is the moment at which its weights"
        " were kept. Thin: the others. A score that still rises at the end asks for more steps; a"
        " loss that falls while the score falls too is learning by heart. A score below 0 is a"
        " loss on validation images with a minus before it.",
        height=2.9,
        narrow_height=4.9,
    )


def labels_chart(records: Sequence[Mapping[str, Any]], label: str) -> parts.Chart:
    """Return how much was learned from unlabeled images, and how right that was.

    Args:
        records: Those of ``tables.labels_table``, one per generation.
        label: What scores are called.
    """
    places = [int(record["stage"].removeprefix("generation-")) for record in records]
    admitted = [record["admitted"] / max(1, record["images"]) for record in records]
    audited = any(record["coverage"] is not None for record in records)

    def line(axes: Axes, number: int, name: str, words: str) -> None:
        values = [np.nan if record[name] is None else record[name] for record in records]
        if not np.all(np.isnan(values)):
            axes.plot(places, values, marker="so"[number == 0], color=f"C{number}", label=words)

    def draw(figure: Figure) -> None:
        grid = (1, 2) if parts.is_wide(figure) else (2, 1)
        found = figure.subplots(*grid) if audited else [figure.add_subplot()]
        found[0].plot(places, admitted, marker="o", color="C2", label="images admitted")
        line(found[0], 1, "inconsistent_share", "pixels inconsistent")
        found[0].set(ylabel="share", ylim=(-0.03, 1.05))
        if audited:
            line(found[1], 0, "agree_score", "where teachers agree")
            line(found[1], 1, "disagree_score", "where they disagree")
            found[1].set_ylabel(f"{label} of labels")
        for axes in found:
            axes.set(xlabel="generation", xticks=places, xmargin=0.15)
            axes.legend(borderaxespad=0, loc="lower left", bbox_to_anchor=(0, 1.02))

    second = (
        f" The second panel: {label} of the labels over all pixels together, against hidden masks"
        " that no training saw: where teachers agree, and of the best teacher alone where they do"
        " not. The wider the gap, the better the mask finds mistakes."
    )
    return parts.Chart(
        name="pseudo-labels",
        draw=draw,
        alt=f"Pseudo-labels over {len(records)} generations; in the last one"
        f" {admitted[-1]:.0%} of the images were admitted.",
        caption="Images admitted: the share of unlabeled images that students learned from. Pixels"
        f" inconsistent: the share on which teachers disagreed.{second if audited else ''}",
        height=2.8,
        narrow_height=4.9 if audited else 2.8,
    )


def calibration_chart(judgment: dict[str, Any]) -> parts.Chart:
    """Return the scores that mask scorers gave to masks against the true ones."""
    said, true = np.array(judgment["said"]), np.array(judgment["true"])

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        low = float(min(said.min(), true.min(), 0.9))
        axes.plot([low, 1], [low, 1], color=parts.FAINT, linewidth=1, linestyle=(0, (4, 3)))
        axes.scatter(said, true, s=14, color="C0", alpha=0.4, linewidths=0)
        for threshold in judgment["thresholds"]:
            axes.axvline(threshold, color="C1", linewidth=1)
        axes.set(xlim=(low - 0.03, 1.03), ylim=(low - 0.03, 1.03))
        axes.set(xlabel="score that the mask scorers give", ylabel="true score")

    return parts.Chart(
        name="scorers",
        draw=draw,
        alt=f"What mask scorers say against the truth for {len(said)} masks: rank correlation"
        f" {judgment['rank_correlation']:.2f}, off by {judgment['mae']:.3f} on average.",
        caption="Each dot is a mask of a validation image. On the dashed line they are right."
        " Rank correlation says how well they put masks in order: 0 is guessing, 1 is perfect."
        " Upright lines: from the left one on a mask counts as good, from the right one as very"
        " good.",
        height=3.8,
        narrow_height=3.4,
    )
