"""The answer in plain words: what a run or a comparison found, and what it cannot say."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imseg.approaches.running.stage import LITTLE
from imseg.comparison.result import Comparison, ComparisonRow
from imseg.comparison.scoring import PairedDifference
from imseg.report.comparison_tables import WHY_KEPT, doubts_about_chance
from imseg.report.html.parts import PageSummary
from imseg.report.html.run_facts import RunFacts, ScoredSplit
from imseg.report.tables import between, count, in_words, percent, score, signed
from imseg.tasks import Metric

FEW_VALIDATION = 20
"""Validation images below which choosing by them is mostly luck."""
FEW_TEST = 30
"""Images below which an interval is rough itself."""

_AREAS = "the area that is both predicted and true, divided by the area that is either"
_ENDS = "1 is perfect, 0 is a complete miss"
_MEANINGS = {
    ("iou", "binary"): f"{_AREAS}: {_ENDS}",
    ("iou", "multiclass"): f"for each class {_AREAS}, averaged over the classes in the image:"
    f" {_ENDS}",
    ("iou", "multilabel"): f"for each label {_AREAS}, averaged over the labels: {_ENDS}",
    ("iou", "instances"): f"{_AREAS}, all objects together: {_ENDS}",
    ("rmse", "regression"): "the typical error of a pixel (large errors weigh more): 0 is perfect,"
    " lower is better",
}


def meaning(metric: Metric, task: str) -> str:
    """Return half a sentence on what a score means.

    Args:
        metric: The score.
        task: The user's word for what masks hold.
    """
    better = "higher is better" if metric.higher_is_better else "lower is better"
    return _MEANINGS.get((metric.key, task), better)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """By how much a later stage beats the start, on the same images; higher is better."""

    value: float
    """Mean over images."""
    interval: tuple[float, float] | None
    """95 %; None where not every image was looked at."""
    images: str
    """On which images."""
    handed_over: bool = True
    """Whether the network that gained it is that of the run; else that is the best of the start."""

    @property
    def verdict(self) -> str:
        """Whether that is more than chance among images: ``better``, ``worse`` or ``open``."""
        low, high = self.interval or (0.0, 0.0)
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
    return f"95\N{NO-BREAK SPACE}% interval {between(*interval, metric, sign=sign)}"


def did_unlabeled_help(gain: Gain | None, metric: Metric, *, unlabeled: int) -> str:
    """Return what a single run can say about its unlabeled images.

    Args:
        gain: Of the network of the run over the best of the start; None without generations.
        metric: The score.
        unlabeled: Images without masks that the run learned from.
    """
    if gain is None and unlabeled:
        return (
            "**Did the unlabeled images help?** This run learned from them and from labels at the"
            " same time, so it holds no network without them to compare with. Train `--approach"
            " ldt-online` for as many steps, or see `imseg compare --help`."
        )
    if gain is None:
        return (
            "This run learned from labels alone, so it says nothing about what unlabeled images"
            " are good for."
        )
    amount = signed(gain.value, metric)
    better = "" if metric.higher_is_better else "; plus means a smaller error"
    who = "its network" if gain.handed_over else "the best network that saw them, not handed over,"
    if gain.interval is None:
        said = f"{who} differs from the best of the start by {amount}{better}"
    else:
        inside = f"({amount}; {in_95(gain.interval, metric, sign=True)}{better})"
        said = {
            "better": f"{who} is better than the best of the start {inside}",
            "worse": f"{who} is worse than the best of the start {inside}: unlabeled images"
            " have not helped here",
            "open": f"{who} and the best of the start cannot be told apart {inside}",
        }[gain.verdict]
    return (
        f"**Did the unlabeled images help?** On {gain.images} {said}. One run cannot prove more:"
        " its later networks had more training behind them, and it has one seed. The fair"
        " comparison is with labels alone for just as many steps (`--approach ldt-matched`); the"
        " command stands under [How to go on](#next)."
    )


def run_summary(facts: RunFacts, scored: ScoredSplit | None, *, data: str) -> PageSummary:
    """Return what people read first about a run.

    Args:
        facts: The run.
        scored: Scores of images, if any were scored.
        data: How commands name the data.
    """
    metric = facts.metric
    from_what = learned_from(facts.labeled, facts.unlabeled, facts.upper_bound_images)
    tested = scored is not None and scored.split == "test" and scored.whole
    value, on, interval = facts.validation_score, f"{facts.validation} validation images", None
    if scored is not None and scored.whole:
        value, on = scored.found.per_image[metric.key], count(scored.of, scored.words[:-1])
        interval = scored.found.ci95["per_image"][metric.key]
    on += " that it never saw" if tested else ""
    word = str(facts.summary["task"]) if scored is None else scored.found.task
    explained = [f"{metric.label} is {meaning(metric, word)}."]
    if not tested:
        explained.append(
            "Epochs, networks and generations were **chosen by these validation images**, so the"
            " score is optimistic. Test images, which nothing was chosen by, tell the truth:"
            f" `imseg report {quoted(facts.run.path)} {data}`."
        )
    if not facts.upper_bound_images:
        gain = _gain(facts, scored)
        explained.append(did_unlabeled_help(gain, metric, unlabeled=facts.unlabeled))
    return PageSummary(
        lead=f"Trained from {from_what}, the network {how_good(metric, value, interval, on)}.",
        explained=tuple(explained),
        doubts=tuple(_doubts_of_run(facts, scored)),
    )


def _doubts_of_run(facts: RunFacts, scored: ScoredSplit | None) -> Iterator[str]:
    """Yield what is doubtful about a run, the gravest first."""
    run, metric = facts.run, facts.metric
    if run.start_was_better:
        yield (
            f"On validation images the start ({run.best_of_start}) was better than every"
            f" generation. The network of the run is {facts.network};"
            f" `--network {run.best_of_start}` takes the other."
        )
    missing = sum(len(stage.failed) for stage in (*facts.stages, *facts.aside))
    if missing:
        yield f"{count(missing, 'network')} could not be trained."
    for stage in facts.stages:
        if collapsed := (stage.labels or {}).get("collapsed"):
            yield f"The pseudo-labels of {stage.title.lower()} had collapsed: {collapsed}."
    taken = ", taken from the labeled ones" if facts.chosen_by_labels else ""
    yield from _few_validation(facts.validation, taken)
    if scored is not None and scored.split == "test":
        yield from _few_test(scored.of)
    spread, risen = max(facts.final.values) - min(facts.final.values), abs(facts.gained)
    if len(facts.stages) > 1 and spread > risen:
        yield (
            f"Networks of one stage differ by up to {signed(spread, metric)[1:]} on validation"
            f" images, more than the stages do ({signed(risen, metric)[1:]})."
        )
    judgment = run.judgment
    if judgment is not None and judgment["rank_correlation"] < LITTLE:
        yield "The mask scorers hardly know good masks from bad ones."


def _few_validation(images: int, taken: str = "") -> Iterator[str]:
    if images < FEW_VALIDATION:
        chosen = f"Networks were chosen by only {count(images, 'validation image')}{taken}"
        yield f"{chosen}: which one is best is partly luck."


def _few_test(images: int) -> Iterator[str]:
    if images < FEW_TEST:
        yield f"{count(images, 'test image')} are few: intervals are rough."


def _gain(facts: RunFacts, scored: ScoredSplit | None) -> Gain | None:
    if len(facts.stages) < 2:
        return None
    if scored is not None and scored.whole and facts.final.name != "start":
        value, interval = scored.gain(facts.final.name, "start")
        images = f"the {count(scored.of, scored.words[:-1])}"
        return Gain(value=value, interval=interval, images=images)
    images, told = f"{facts.validation} validation images", facts.summary.get("gain")
    if told is None or (told["network"] != facts.network and facts.final.name != "start"):
        return Gain(value=facts.gained, interval=None, images=images)
    interval, own = told["interval"], told["network"] == facts.network
    return Gain(
        value=told["value"],
        interval=None if interval is None else (interval[0], interval[1]),
        images=images,
        handed_over=own,
    )


def quoted(path: Path | str) -> str:
    """Return a path as a shell reads it."""
    return shlex.quote(str(path))


MANY = 3
"""Approaches above which the best one is partly the luckiest."""


def comparison_summary(found: Comparison) -> PageSummary:
    """Return what people read first about a comparison."""
    explained = [f"{found.metric.label} is {meaning(found.metric, found.data.task)}."]
    explained += [text for text in (_differences_in_words(found), _gaps_in_words(found)) if text]
    return PageSummary(
        lead=_lead(found), explained=tuple(explained), doubts=tuple(_doubts_of_comparison(found))
    )


def _lead(found: Comparison) -> str:
    metric = found.metric
    measured = {row.name: row.difference for row in _that_used_them(found) if row.difference}
    where = f"on {count(found.images, 'test image')}, {count(len(found.seeds), 'seed')}"
    handed_over = [row.name for row in found.methods if row not in _that_used_them(found)]
    if not measured and handed_over:
        return (
            f"**Labels alone** were handed over by {in_words(handed_over)} with every seed,"
            f" {WHY_KEPT} ({where})."
        )
    if not measured:
        best = found.best
        return (
            f"**{best.name}** has the best {metric.label}, **{score(best.mean, metric)}**"
            f" ({where}). No approach has a matched baseline here, so what the unlabeled images"
            " were good for is not known."
        )
    ranked = sorted(measured, key=lambda name: -found.merit(measured[name].mean))
    won = [name for name in ranked if measured[name].verdict == "better"]
    if won:
        verb = "is" if len(won) == 2 else "are"
        also = f" So {verb} {in_words(won[1:])}." if won[1:] else ""
        return (
            f"The unlabeled images helped: **{won[0]}** is better than labels alone trained just"
            f" as long, {_how_much(measured[won[0]], found)} ({where}).{also}"
        )
    if all(each.verdict == "worse" for each in measured.values()):
        return (
            "The unlabeled images **did not help**: labels alone, trained just as long, are better"
            f" than {in_words(list(measured))} ({where})."
        )
    why = (
        "one seed cannot tell a method from chance in training"
        if len(found.seeds) == 1
        else "no method is ahead of labels alone, trained just as long, by more than chance in"
        " images and in training explains"
    )
    return (
        f"It is **not clear that the unlabeled images helped**: {why}. The best is {ranked[0]},"
        f" {_how_much(measured[ranked[0]], found)} ({where})."
    )


def _that_used_them(found: Comparison) -> list[ComparisonRow]:
    """Return the methods of which at least one network learned from unlabeled images."""
    return [row for row in found.methods if len(row.kept_start) < len(row.runs)]


def _differences_in_words(found: Comparison) -> str:
    """Return which approaches are better, open and worse, each with its difference."""
    told = {
        "better": "Better than its baseline",
        "open": "Not to be told apart from it",
        "worse": "Worse than it",
    }
    text = (
        "A baseline has the same labels, as many steps and as wide a network, and no unlabeled"
        " image."
    )
    used = _that_used_them(found)
    known = [(row.name, row.difference) for row in used if row.difference is not None]
    for verdict, words in told.items():
        rows = [f"{n} ({signed(d.mean, found.metric)})" for n, d in known if d.verdict == verdict]
        text += f" **{words}**: {in_words(rows)}." if rows else ""
    return text if known else ""


def _gaps_in_words(found: Comparison) -> str:
    gaps = {row.name: row.gap_closed for row in found.methods if row.gap_closed is not None}
    parts = [f"{name} {percent(gap.mean, 0)}" for name, gap in gaps.items()]
    way = "Of the way from labels alone (ldt) to all labels (fdt) the approaches made"
    return f"{way}: {', '.join(parts)}." if parts else ""


def _doubts_of_comparison(found: Comparison) -> Iterator[str]:
    yield from doubts_about_chance(found)
    seeds = {row.name: (0.0, *row.difference.of_seeds) for row in found.rows if row.difference}
    torn = [name for name, differences in seeds.items() if min(differences) < 0 < max(differences)]
    if torn:
        yield f"Seeds do not agree on the sign of the difference for {in_words(torn)}."
    yield from _few_test(found.images)
    if found.data.val:
        yield from _few_validation(found.data.val)
    if len(found.methods) > MANY:
        yield (
            f"{len(found.methods)} approaches were compared: the best of many is partly the"
            " luckiest, and intervals do not allow for that."
        )
    alone = [row.name for row in found.methods if row.baseline is None]
    if alone:
        yield f"No matched baseline for {in_words(alone)}."


def _how_much(gained: PairedDifference, found: Comparison) -> str:
    unit = f" {found.metric.unit}" if found.metric.unit else ""
    inside = in_95(gained.interval, found.metric, sign=True)
    return f"{found.metric.label} {signed(gained.mean, found.metric)}{unit}, {inside}"
