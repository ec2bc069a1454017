"""What a look at every file of a run found, and a network trained twice, as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imseg.cli.arguments import Json, TrustNetwork
from imseg.cli.commands.status import RunOrComparison
from imseg.errors import ImsegError, shown

if TYPE_CHECKING:
    from imseg.approaches.runs.retraining import Retrained
    from imseg.approaches.runs.verification import Verified

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
    from imseg.report.tables import table

    rows = [[kind, str(each.whole), str(each.damaged)] for kind, each in found.counts.items()]
    parts = [
        f"{found.path}: every file compared with its checksum",
        table(["files", "whole", "damaged or missing"], rows),
    ]
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
    changed, most = len(again.differing_tensors), again.largest_difference
    lines = [
        f"weights: {changed} of {again.tensors} tensors differ, by {most:.3g} at most"
        if changed
        else f"weights: the same to the bit, all {again.tensors} tensors"
    ]
    for what, each in again.differing_scores.items():
        then, now = each["then"], each["now"]
        if isinstance(then, dict):
            lines += [
                f"{name}: {_number(then.get(name))} then, {_number(now.get(name))} now"
                for name in sorted({*then, *now})
                if repr(then.get(name)) != repr(now.get(name))
            ]
        else:
            lines.append(f"{what}: {'differ' if isinstance(then, tuple) else _then_now(each)}")
    parts.append("\n".join(f"* {line}" for line in lines))
    parts.append(_surroundings(again))
    return "\n\n".join(part for part in parts if part)


def _surroundings(again: Retrained) -> str:
    """Return what else differs, and what was to be expected."""
    changes = again.differing_surroundings.items()
    lines = [f"* {what}: {_then_now(each)}" for what, each in changes]
    told = "Versions and machine are those of then."
    if lines:
        told = "\n".join(["What is not as it was when the run was begun:", *lines])
    where = ELSEWHERE.format(device=again.device, precision=again.precision)
    expected = [EXPECTED, *([] if again.exact else [where])]
    if again.device != "cpu":
        expected.append(GPU)
    return f"{told}\n\n{' '.join(expected)}"


def _then_now(each: dict[str, Any]) -> str:
    return f"{each['then']} then, {each['now']} now"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.9g}"


FAILED = 1
"""Exit status if something is damaged or differs."""


def verify(
    folder: RunOrComparison,
    retrain: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK",
            help="Train this network again as it was, such as start/network-0, and compare the two;"
            " the run itself is not touched.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="What the run was trained on; with --retrain.")
    ] = None,
    trust_network: TrustNetwork = False,
    json: Json = False,
) -> int:
    """Compare every file of a run or a comparison with its checksum; nothing is changed."""
    from imseg.approaches.runs.retraining import retrain as retrained
    from imseg.approaches.runs.verification import verify as verified
    from imseg.cli import show

    if trust_network and retrain is None:
        raise ImsegError(
            "--trust-network says nothing without --retrain.",
            expected="it where a network is trained again; checksums need no network.",
            hint="leave it out.",
        )
    _check(folder, retrain, data)
    again = None
    with show.Bars() as bars:
        found = verified(folder, progress=lambda d, t: bars.counted("checking files", d, t))
        if retrain is not None and data is not None and not found.damages:
            again = retrained(folder, retrain, data, trust_network=trust_network, progress=bars)
    if json:
        further = (
            {} if retrain is None else {"retrained": None if again is None else again.as_dict()}
        )
        show.show_json({**found.as_dict(), **further})
    else:
        print(files_text(found))
        if again is not None:
            print(f"\n{network_text(again)}")
        elif retrain is not None:
            print(f"\n{retrain} was not trained again: first let what is damaged be made again.")
    return FAILED if found.damages or (again is not None and not again.same) else 0


def _check(folder: Path, retrain: str | None, data: Path | None) -> None:
    """Check that both or neither of two options are given, for a run."""
    from imseg.comparison.result import is_comparison

    if retrain is not None and is_comparison(folder):
        raise ImsegError(
            f"{folder} is a comparison, and --retrain is about a network of a run.",
            expected=f"one of its runs, such as {shown(folder)}/seed-0/ldt.",
            hint=f"imseg status {shown(folder)} lists them.",
        )
    if (retrain is None) == (data is None):
        return
    missing = "--data" if data is None else "--retrain"
    raise ImsegError(
        f"{missing} is missing.",
        expected="--retrain NETWORK and --data DATA together, or neither.",
        got=f"--retrain {shown(retrain)}" if data is None else f"--data {shown(data)}",
        hint=f"imseg verify {shown(folder)} --retrain {shown(retrain or 'start/network-0')} --data"
        f" {shown(data or 'DATA')}",
    )
