"""Figures of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from imseg.report.html.blocks import Chart
from imseg.report.html.charts import Ink, dress, is_wide, legend
from imseg.report.html.run_facts import RunFacts, ScoredSplit
from imseg.report.tables import between, score, with_unit

MOST_LINES = 60
"""Networks whose learning curves are drawn."""


def scores_chart(facts: RunFacts, scored: ScoredSplit | None) -> Chart:
    """Return the scores of all networks, stage by stage."""
    metric, stages = facts.metric, facts.stages
    tested = scored if scored is not None and scored.whole else None

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.add_subplot()
        places = np.arange(len(stages))
        for place, stage in zip(places, stages, strict=True):
            values = stage.values
            beside = place - 0.09 + np.linspace(-0.05, 0.05, len(values)) * (len(values) > 1)
            axes.scatter(
                beside, values, s=26, color=ink.faint, alpha=0.55, linewidths=0,
                label="each network, validation" if place == 0 else None,
            )  # fmt: skip
        axes.plot(
            places - 0.09, [np.mean(stage.values) for stage in stages], color=ink.faint,
            linewidth=1.2, marker="_", markersize=14, label="their mean",
        )  # fmt: skip
        if tested is not None:
            _with_intervals(axes, facts, tested, ink)
        else:
            axes.plot(
                places - 0.09, [stage.values[0] for stage in stages], color=ink.line(0),
                marker="o", markersize=6, label="best network, validation",
            )  # fmt: skip
        axes.set_xticks(places, [s.title if is_wide(figure) else s.short for s in stages])
        axes.set_xlim(-0.5, len(stages) - 0.5)
        axes.set_ylabel(with_unit(metric, inside=" ({})"))
        if not is_wide(figure) and len(stages) > 1:
            axes.set_xlabel("generation")
        dress(axes, ink)
        legend(figure, axes, ink)

    return Chart(
        name="scores-by-generation",
        draw=draw,
        alt=_scores_alt(facts, tested),
        caption=_scores_caption(facts, tested),
        height=3.5,
        narrow_height=3.6,
    )


def _with_intervals(axes: Axes, facts: RunFacts, scored: ScoredSplit, ink: Ink) -> None:
    """Draw the scores of the best networks of stages on images, with intervals."""
    key = facts.metric.key
    names = [stage.name for stage in facts.stages]
    shown = [name for name in names if name in scored.by_stage]
    places = np.array([names.index(name) for name in shown]) + 0.09
    values = np.array([scored.by_stage[name].per_image[key] for name in shown])
    ends = np.array([scored.by_stage[name].ci95["per_image"][key] for name in shown])
    errors = np.abs(ends.T - values)
    axes.errorbar(
        places, values, yerr=errors, color=ink.line(0), marker="o", markersize=6, capsize=3,
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
    interval = between(*scored.found.ci95["per_image"][facts.metric.key], facts.metric)
    what = "chosen by validation, " if scored.split == "test" else ""
    return (
        f"{text} In color: the best one, {what}on the {scored.of} {scored.words}, with 95\u00a0%"
        f" intervals over images. The network of the run ({facts.network}): {interval}."
    )


def learning_chart(facts: RunFacts) -> Chart:
    """Return how the score by which epochs are kept, and the loss, went on in training."""
    stages = facts.stages
    thin = sum(len(stage.networks) for stage in stages) > 12

    def draw(figure: Figure, ink: Ink) -> None:
        above, below = figure.subplots(1, 2) if is_wide(figure) else figure.subplots(2, 1)
        left = MOST_LINES
        for number, stage in enumerate(stages):
            for place, network in enumerate(stage.networks[: max(0, left)]):
                color = ink.line(number)
                steps = np.linspace(0, network.steps, len(network.epoch_scores) + 1)[1:]
                width = 2.0 if place == 0 else 0.9
                look: dict[str, Any] = {
                    "color": color,
                    "linewidth": width,
                    "alpha": 1.0 if place == 0 else 0.3 if thin else 0.5,
                }
                label = stage.title if place == 0 else None
                above.plot(steps, network.epoch_scores, label=label, **look)
                losses = np.array(network.losses)
                below.plot(np.linspace(0, network.steps, len(losses) + 1)[1:], losses, **look)
                if place == 0 and 1 <= network.best_epoch <= len(steps):
                    at = network.best_epoch - 1
                    above.plot(steps[at], network.epoch_scores[at], "o", color=color, markersize=6)
            left -= len(stage.networks)
        above.set_ylabel("score that keeps an epoch")
        below.set_ylabel("training loss")
        for axes in (above, below):
            axes.set_xlabel("optimizer steps")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.set_xlim(left=0)
            dress(axes, ink)
        legend(figure, above, ink, columns=6)

    best = facts.final.networks[0]
    return Chart(
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


def labels_chart(records: Sequence[Mapping[str, Any]], label: str) -> Chart:
    """Return how much was learned from unlabeled images, and how right that was.

    Args:
        records: Those of ``tables.labels_table``, one per generation.
        label: What scores are called.
    """
    places = [int(record["stage"].removeprefix("generation-")) for record in records]
    admitted = [record["admitted"] / max(1, record["images"]) for record in records]
    audited = any(record["coverage"] is not None for record in records)

    def line(axes: Axes, ink: Ink, number: int, name: str, words: str) -> None:
        values = [np.nan if record[name] is None else record[name] for record in records]
        if not np.all(np.isnan(values)):
            axes.plot(places, values, marker="so"[number == 0], color=ink.line(number), label=words)

    def draw(figure: Figure, ink: Ink) -> None:
        grid = (1, 2) if is_wide(figure) else (2, 1)
        found = figure.subplots(*grid) if audited else [figure.add_subplot()]
        found[0].plot(places, admitted, marker="o", color=ink.line(2), label="images admitted")
        line(found[0], ink, 1, "inconsistent_share", "pixels inconsistent")
        found[0].set_ylabel("share")
        found[0].set_ylim(-0.03, 1.05)
        if audited:
            line(found[1], ink, 0, "agree_score", "where teachers agree")
            line(found[1], ink, 1, "disagree_score", "where they disagree")
            found[1].set_ylabel(f"{label} of labels")
        for axes in found:
            axes.set_xlabel("generation")
            axes.set_xticks(places)
            axes.margins(x=0.15)
            dress(axes, ink)
            above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.02)}
            for text in axes.legend(borderaxespad=0, **above).get_texts():
                text.set_color(ink.text)

    second = (
        f" The second panel: {label} of the labels over all pixels together, against hidden masks"
        " that no training saw: where teachers agree, and of the best teacher alone where they do"
        " not. The wider the gap, the better the mask finds mistakes."
    )
    return Chart(
        name="pseudo-labels",
        draw=draw,
        alt=f"Pseudo-labels over {len(records)} generations; in the last one"
        f" {admitted[-1]:.0%} of the images were admitted.",
        caption="Images admitted: the share of unlabeled images that students learned from. Pixels"
        f" inconsistent: the share on which teachers disagreed.{second if audited else ''}",
        height=2.8,
        narrow_height=4.9 if audited else 2.8,
    )


def calibration_chart(judgment: dict[str, Any]) -> Chart:
    """Return the scores that mask scorers gave to masks against the true ones."""
    said, true = np.array(judgment["said"]), np.array(judgment["true"])

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.add_subplot()
        low = float(min(said.min(), true.min(), 0.9))
        axes.plot([low, 1], [low, 1], color=ink.faint, linewidth=1, linestyle=(0, (4, 3)))
        axes.scatter(said, true, s=14, color=ink.line(0), alpha=0.4, linewidths=0)
        for threshold in judgment["thresholds"]:
            axes.axvline(threshold, color=ink.line(1), linewidth=1)
        axes.set_xlabel("score that the mask scorers give")
        axes.set_ylabel("true score")
        axes.set_xlim(low - 0.03, 1.03)
        axes.set_ylim(low - 0.03, 1.03)
        dress(axes, ink)

    return Chart(
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
