"""The answer in plain words: what a run found, and what it cannot say."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from imseg.approaches.running.announce import LITTLE
from imseg.comparison.result import Comparison, ComparisonRow
from imseg.comparison.statistics import PairedDifference
from imseg.report.html.blocks import Answer
from imseg.report.html.numbers import between, count, score, signed, whole_percent
from imseg.report.html.run_facts import Looked, RunFacts
from imseg.tasks import Metric

FEW_VALIDATION = 20
"""Validation images below which choosing by them is mostly luck."""
FEW_TEST = 30
"""Images below which an interval is rough itself."""

_MEANINGS = {
    ("iou", "binary"): "the area that is both predicted and true, divided by the area that is"
    " either: 1 is perfect, 0 is a complete miss",
    ("iou", "multiclass"): "for each class the area that is both predicted and true, divided by the"
    " area that is either, averaged over the classes in the image: 1 is perfect, 0 is a complete"
    " miss",
    ("iou", "multilabel"): "for each label the area that is both predicted and true, divided by the"
    " area that is either, averaged over the labels: 1 is perfect, 0 is a complete miss",
    ("iou", "instances"): "the area of all objects that is both predicted and true, divided by the"
    " area that is either: 1 is perfect, 0 is a complete miss",
    ("rmse", "regression"): "the typical error of a pixel (large errors weigh more): 0 is perfect,"
    " lower is better",
}


def meaning(metric: Metric, task: str) -> str:
    """Return half a sentence on what a score means.

    Args:
        metric: The score.
        task: The user's word for what masks hold.
    """
    found = _MEANINGS.get((metric.key, task))
    if found is not None:
        return found
    return "higher is better" if metric.higher_is_better else "lower is better"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """By how much a later stage beats the start, on the same images; higher is better."""

    value: float
    """Mean over images."""
    interval: tuple[float, float] | None
    """95 %; None where not every image was looked at."""
    images: str
    """On which images."""

    @property
    def verdict(self) -> str:
        """Whether that is more than chance among images: ``better``, ``worse`` or ``open``."""
        if self.interval is None:
            return "open"
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "open"


def learned_from(labeled: int, unlabeled: int, hidden: int = 0) -> str:
    """Return ``12 labeled and 34 unlabeled images``."""
    if hidden:
        both = f"{count(labeled, 'labeled image')} and the hidden masks of"
        return f"{both} {count(hidden, 'further image')}"
    if not unlabeled:
        return f"{count(labeled, 'labeled image')} alone"
    return f"{labeled:,} labeled and {count(unlabeled, 'unlabeled image')}"


def how_good(metric: Metric, value: float, interval: tuple[float, float] | None, on: str) -> str:
    """Return ``reaches an IoU of 0.70 on 50 test images (95 % interval 0.68 to 0.72)``."""
    verb = "reaches" if metric.higher_is_better else "has"
    article = "an" if metric.label[:1].lower() in "aeiou" or metric.label == "RMSE" else "a"
    told = f"{verb} {article} **{metric.label} of {score(value, metric)}** on {on}"
    return told if interval is None else f"{told} ({in_95(interval, metric)})"


def in_95(interval: tuple[float, float], metric: Metric, *, sign: bool = False) -> str:
    """Return ``95 % interval 0.68 to 0.72``."""
    return f"95\N{NO-BREAK SPACE}% interval {between(interval, metric, sign=sign)}"


def did_unlabeled_help(gain: Gain | None, metric: Metric) -> str:
    """Return what a single run can say about its unlabeled images.

    Args:
        gain: Of the network of the run over the best of the start; None without generations.
        metric: The score.
    """
    if gain is None:
        return (
            "This run learned from labels alone, so it says nothing about what unlabeled images"
            " are good for."
        )
    amount = signed(gain.value, metric)
    inside = "" if gain.interval is None else f"; {in_95(gain.interval, metric, sign=True)}"
    better = "" if metric.higher_is_better else "; plus means a smaller error"
    said = {
        "better": f"its network is better than the best of the start ({amount}{inside}{better})",
        "worse": f"its network is worse than the best of the start ({amount}{inside}{better}):"
        " unlabeled images have not helped here",
        "open": f"its network and the best of the start cannot be told apart ({amount}{inside}"
        f"{better})"
        if gain.interval is not None
        else f"its network differs from the best of the start by {amount}{better}",
    }[gain.verdict]
    return (
        f"**Did the unlabeled images help?** On {gain.images} {said}. One run cannot prove more:"
        " its later networks had more training behind them, and it has one seed. The fair"
        " comparison is with labels alone for just as many steps (`--approach ldt-matched`); the"
        " command stands under [How to go on](#next)."
    )


def answer_of(facts: RunFacts, looked: Looked | None, *, data: str) -> Answer:
    """Return what people read first.

    Args:
        facts: The run.
        looked: Scores of images, if any were looked at.
        data: How commands name the data.
    """
    metric = facts.metric
    from_what = learned_from(facts.labeled, facts.unlabeled, facts.upper_bound_images)
    whole = looked is not None and looked.whole
    tested = looked is not None and looked.split == "test" and whole
    if looked is not None and whole:
        value, on = looked.found.per_image[metric.key], count(looked.of, looked.words[:-1])
        interval = looked.found.ci95["per_image"][metric.key]
    else:
        value, on, interval = facts.validation_score, f"{facts.validation} validation images", None
    on += " that it never saw" if tested else ""
    lead = f"Trained from {from_what}, the network {how_good(metric, value, interval, on)}."
    word = str(facts.summary["task"]) if looked is None else looked.found.task
    explained = [f"{metric.label} is {meaning(metric, word)}."]
    if not tested:
        explained.append(
            "Epochs, networks and generations were **chosen by these validation images**, so the"
            " score is optimistic. Test images, which nothing was chosen by, tell the truth:"
            f" `imseg report {quoted(facts.run.path)} {data}`."
        )
    if not facts.upper_bound_images:
        explained.append(did_unlabeled_help(_gain(facts, looked), metric))
    return Answer(lead=lead, explained=tuple(explained), doubts=doubts_of(facts, looked))


def doubts_of(facts: RunFacts, looked: Looked | None) -> tuple[str, ...]:
    """Return what is doubtful about a run, the gravest first."""
    found, metric = [], facts.metric
    if facts.run.start_was_better:
        found.append(
            f"On validation images the start ({facts.run.best_of_start}) was better than every"
            f" generation. The network of the run is {facts.network};"
            f" `--network {facts.run.best_of_start}` takes the other."
        )
    missing = sum(len(stage.failed) for stage in (*facts.stages, *facts.aside))
    if missing:
        found.append(f"{count(missing, 'network')} could not be trained.")
    found += [
        f"The pseudo-labels of {stage.title.lower()} had collapsed: {stage.labels['collapsed']}."
        for stage in facts.stages
        if stage.labels is not None and "collapsed" in stage.labels
    ]
    if facts.validation < FEW_VALIDATION:
        taken = ", taken from the labeled ones" if facts.chosen_by_labels else ""
        found.append(
            f"Networks were chosen by only {count(facts.validation, 'validation image')}{taken}:"
            " which one is best is partly luck."
        )
    if looked is not None and looked.split == "test" and looked.of < FEW_TEST:
        found.append(f"{count(looked.of, 'test image')} are few: the interval itself is rough.")
    scores = [metric.merit(network.scores) for network in facts.final.networks]
    if len(scores) > 1 and len(facts.stages) > 1:
        spread = max(scores) - min(scores)
        risen = abs(facts.final_merit - facts.start_merit)
        if spread > risen:
            found.append(
                f"Networks of one stage differ by up to {signed(spread, metric)[1:]} on validation"
                f" images, more than the stages do ({signed(risen, metric)[1:]})."
            )
    judgment = facts.run.judgment
    if judgment is not None and judgment["rank_correlation"] < LITTLE:
        found.append("The judges of masks hardly know good masks from bad ones.")
    return tuple(found)


def _gain(facts: RunFacts, looked: Looked | None) -> Gain | None:
    if len(facts.stages) < 2:
        return None
    if looked is not None and looked.whole and facts.final.name != "start":
        value, interval = looked.gain(facts.final.name, "start")
        on = f"the {count(looked.of, looked.words[:-1])}"
        return Gain(value=value, interval=interval, images=on)
    value = facts.final_merit - facts.start_merit
    return Gain(value=value, interval=None, images=f"{facts.validation} validation images")


def quoted(path: Path | str) -> str:
    """Return a path as a shell reads it."""
    return shlex.quote(str(path))


FEW_SEEDS = 3
"""Seeds below which their spread says little."""
MANY = 3
"""Approaches above which the best one is partly the luckiest."""


def comparison_answer(found: Comparison) -> Answer:
    """Return what people read first."""
    metric = found.metric
    explained = [f"{metric.label} is {meaning(metric, found.data.task)}."]
    explained += [text for text in (_verdicts(found), _gap(found)) if text]
    return Answer(lead=_lead(found), explained=tuple(explained), doubts=_doubts(found))


def _lead(found: Comparison) -> str:
    metric = found.metric
    scored = [row for row in found.rows if row.kind == "method" and row.difference is not None]
    where = f"on {count(found.images, 'test image')}, {count(len(found.seeds), 'seed')}"
    if not scored:
        best = _best(list(found.rows), found)
        return (
            f"**{best.name}** has the best {metric.label}, **{score(best.mean, metric)}**"
            f" ({where}). No approach has a matched baseline here, so nobody can say what the"
            " unlabeled images were good for."
        )
    verdicts = {row.name: row.difference.verdict for row in scored if row.difference is not None}
    won = [row for row in scored if verdicts[row.name] == "better"]
    if won:
        best = max(won, key=lambda row: _advantage(row, found))
        others = [row.name for row in won if row is not best]
        verb = "is" if len(others) == 1 else "are"
        also = f" So {verb} {_list(others)}." if others else ""
        return (
            f"The unlabeled images helped: **{best.name}** is better than labels alone trained just"
            f" as long, {_how_much(best, found)} ({where}).{also}"
        )
    if all(verdict == "worse" for verdict in verdicts.values()):
        return (
            "The unlabeled images **did not help**: labels alone, trained just as long, are better"
            f" than {_list([row.name for row in scored])} ({where})."
        )
    best = max(scored, key=lambda row: _advantage(row, found))
    why = (
        "one seed cannot tell a method from chance in training"
        if len(found.seeds) == 1
        else "no method is ahead of labels alone, trained just as long, by more than chance in"
        " images and in training explains"
    )
    return (
        f"It is **not clear that the unlabeled images helped**: {why}. The best is {best.name},"
        f" {_how_much(best, found)} ({where})."
    )


def _verdicts(found: Comparison) -> str:
    """Return which approaches are better, open and worse, each with its difference."""
    metric = found.metric
    groups: dict[str, list[str]] = {"better": [], "open": [], "worse": []}
    for row in found.rows:
        if row.difference is not None:
            groups[row.difference.verdict].append(
                f"{row.name} ({signed(row.difference.mean, metric)})"
            )
    told = {
        "better": "Better than its baseline",
        "open": "Not to be told apart from it",
        "worse": "Worse than it",
    }
    parts = [f"**{told[name]}**: {_list(rows)}." for name, rows in groups.items() if rows]
    if not parts:
        return ""
    return (
        "A baseline has the same labels, as many steps and as wide a network, and no unlabeled"
        f" image. {' '.join(parts)}"
    )


def _gap(found: Comparison) -> str:
    parts = [
        f"{row.name} {whole_percent(row.gap_closed.mean)}"
        for row in found.methods
        if row.gap_closed is not None
    ]
    if not parts:
        return ""
    return (
        "Of the way from labels alone (ldt) to all labels (fdt) the approaches made:"
        f" {', '.join(parts)}."
    )


def _doubts(found: Comparison) -> tuple[str, ...]:
    doubts = []
    if len(found.seeds) == 1:
        doubts.append(
            "One seed: another draw of networks can turn small differences around. Intervals are"
            " over images only."
        )
    elif len(found.seeds) < FEW_SEEDS:
        doubts.append(f"{len(found.seeds)} seeds say little about how results spread over seeds.")
    torn = [row.name for row in found.rows if row.difference and _torn(row.difference)]
    if torn:
        doubts.append(f"Seeds do not agree on the sign of the difference for {_list(torn)}.")
    if found.images < FEW_TEST:
        doubts.append(f"{count(found.images, 'test image')} are few: intervals are rough.")
    if 0 < found.data.val < FEW_VALIDATION:
        doubts.append(
            f"Networks were chosen by only {count(found.data.val, 'validation image')}, which is"
            " partly luck."
        )
    if len(found.methods) > MANY:
        doubts.append(
            f"{len(found.methods)} approaches were compared: the best of many is partly the"
            " luckiest, and intervals do not allow for that."
        )
    alone = [row.name for row in found.methods if row.baseline is None]
    if alone:
        doubts.append(f"No matched baseline for {_list(alone)}.")
    return tuple(doubts)


def _torn(difference: PairedDifference) -> bool:
    return len(difference.of_seeds) > 1 and min(difference.of_seeds) < 0 < max(difference.of_seeds)


def _how_much(row: ComparisonRow, found: Comparison) -> str:
    if row.difference is None:
        return ""
    unit = f" {found.metric.unit}" if found.metric.unit else ""
    amount = signed(row.difference.mean, found.metric)
    inside = in_95(row.difference.interval, found.metric, sign=True)
    return f"{found.metric.label} {amount}{unit}, {inside}"


def _advantage(row: ComparisonRow, found: Comparison) -> float:
    if row.difference is None:
        return float("-inf")
    return row.difference.mean if found.metric.higher_is_better else -row.difference.mean


def _best(rows: list[ComparisonRow], found: Comparison) -> ComparisonRow:
    sign = 1 if found.metric.higher_is_better else -1
    candidates = [row for row in rows if row.kind != "bound"] or rows
    return max(candidates, key=lambda row: sign * row.mean)


def _list(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
