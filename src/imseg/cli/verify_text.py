"""What a look at every file of a run found, and a network trained twice, as text."""

from __future__ import annotations

from imseg.approaches.network_differences import Retrained
from imseg.approaches.verification import Verified
from imseg.report.tables import table

EXPECTED = (
    "At equal versions of imseg and its libraries, on one machine, a network that is trained in"
    " float32 on the CPU\nis the same to the bit."
)
ELSEWHERE = "This one was trained on {device} in {precision}, where that is not promised."
GPU = (
    "A GPU does not always add in the\nsame order: small differences of weights are to be expected"
    " there, and scores that are close."
)


def files_text(found: Verified) -> str:
    """Return how many files of each kind are whole, and what is damaged."""
    rows = [
        [kind, str(each.whole), str(each.without), str(each.damaged)]
        for kind, each in found.counts.items()
    ]
    parts = [
        f"{found.path}: every file compared with its checksum",
        table(["files", "whole", "without a checksum", "damaged or missing"], rows),
    ]
    if any(each.without for each in found.counts.values()):
        parts.append(
            "Files without a checksum are from an early version: they can be read, that is all."
        )
    if not found.damages:
        return "\n\n".join([*parts, "Nothing is damaged or missing."])
    lines = [f"* {each.wrong}\n  Try: {each.remedy}" for each in found.damages]
    return "\n\n".join([*parts, "\n".join(lines)])


def network_text(again: Retrained) -> str:
    """Return whether a network that was trained again is the same, and where it is not."""
    if again.same:
        return (
            f"{again.network} trained again is the same to the bit: all {again.tensors} tensors,"
            " scores and losses."
        )
    parts = [f"{again.network} trained again differs."]
    if not again.same_job:
        parts.append(
            "It was not trained on the same: networks that it learns from, stored settings or imseg"
            " have changed since."
        )
    changed = len(again.weights)
    lines = [
        f"weights: {changed} of {again.tensors} tensors differ, by {again.most:.3g} at most"
        if changed
        else f"weights: the same to the bit, all {again.tensors} tensors"
    ]
    for each in again.known:
        if isinstance(each.then, dict):
            for name in sorted({*each.then, *each.now}):
                then, now = each.then.get(name), each.now.get(name)
                if repr(then) != repr(now):
                    lines.append(f"{name}: {_number(then)} then, {_number(now)} now")
        elif isinstance(each.then, tuple):
            lines.append(f"{each.what}: differ")
        else:
            lines.append(f"{each.what}: {each.then} then, {each.now} now")
    parts.append("\n".join(f"* {line}" for line in lines))
    parts.append(_surroundings(again))
    return "\n\n".join(part for part in parts if part)


def _surroundings(again: Retrained) -> str:
    """Return what else differs, and what was to be expected."""
    lines = [f"* {each.what}: {each.then} then, {each.now} now" for each in again.surroundings]
    told = "Versions and machine are those of then."
    if lines:
        told = "\n".join(["What is not as it was when the run was begun:", *lines])
    where = ELSEWHERE.format(device=again.device, precision=again.precision)
    expected = [EXPECTED, *([] if again.exact else [where])]
    if again.device != "cpu":
        expected.append(GPU)
    return f"{told}\n\n{' '.join(expected)}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.9g}"
