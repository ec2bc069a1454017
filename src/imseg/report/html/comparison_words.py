"""The answer of a comparison in plain words."""

from __future__ import annotations

from imseg.report.html.blocks import Answer
from imseg.report.html.comparison_data import Comparison, Difference, Row
from imseg.report.html.numbers import count, score, signed, whole_percent
from imseg.report.html.words import FEW_TEST, FEW_VALIDATION, in_95, meaning

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
    judged = [row for row in found.rows if row.kind == "method" and row.difference is not None]
    where = f"on {count(found.images, 'test image')}, {count(len(found.seeds), 'seed')}"
    if not judged:
        best = _best(list(found.rows), found)
        return (
            f"**{best.name}** has the best {metric.label}, **{score(best.mean, metric)}**"
            f" ({where}). No approach has a matched baseline here, so nobody can say what the"
            " unlabeled images were good for."
        )
    verdicts = {row.name: row.difference.verdict for row in judged if row.difference is not None}
    won = [row for row in judged if verdicts[row.name] == "better"]
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
            f" than {_list([row.name for row in judged])} ({where})."
        )
    best = max(judged, key=lambda row: _advantage(row, found))
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


def _torn(difference: Difference) -> bool:
    return len(difference.of_seeds) > 1 and min(difference.of_seeds) < 0 < max(difference.of_seeds)


def _how_much(row: Row, found: Comparison) -> str:
    if row.difference is None:
        return ""
    unit = f" {found.metric.unit}" if found.metric.unit else ""
    amount = signed(row.difference.mean, found.metric)
    inside = in_95(row.difference.interval, found.metric, sign=True)
    return f"{found.metric.label} {amount}{unit}, {inside}"


def _advantage(row: Row, found: Comparison) -> float:
    if row.difference is None:
        return float("-inf")
    return row.difference.mean if found.metric.higher_is_better else -row.difference.mean


def _best(rows: list[Row], found: Comparison) -> Row:
    sign = 1 if found.metric.higher_is_better else -1
    candidates = [row for row in rows if row.kind != "bound"] or rows
    return max(candidates, key=lambda row: sign * row.mean)


def _list(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
