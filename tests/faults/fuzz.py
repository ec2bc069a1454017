"""Bad input by the thousand: ``python tests/faults/fuzz.py --minutes 20 --first 2000``.

One case again: ``python -m tests.faults.fuzz --case 1234``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.e2e.small_sets import Told, small_set, train
from tests.faults.cases import Outcome, Runs, play
from tests.faults.fixing import Fixed, mend

EVERY = 30.0
"""Seconds between two lines of progress."""


def runs_in(folder: Path) -> Runs:
    """Return a function that trains a run of a kind of masks when it is first asked for."""

    @cache
    def of_kind(kind: str) -> Path:
        return train(small_set(kind), "ldt", folder / kind, told=Told()).path

    return of_kind


def described(outcome: Outcome) -> str:
    """Return what was planted, what was wrong, and how to see it again."""
    lines = [f"case {outcome.number}: imseg {' '.join(map(ascii, outcome.words))}"]
    lines += [f"  planted: {fault}" for fault in outcome.faults]
    lines += [f"  wrong: {each}" for each in outcome.wrong]
    return "\n".join([*lines, f"  again: python -m tests.faults.fuzz --case {outcome.number}"])


def campaign(first: int, *, seconds: float, most: int, runs: Runs, place: Path) -> list[Outcome]:
    """Play case after case until the time is over, and say how it goes."""
    outcomes: list[Outcome] = []
    began = told = time.monotonic()
    while len(outcomes) < most and time.monotonic() - began < seconds:
        number = first + len(outcomes)
        folder = place / f"case-{number}"
        folder.mkdir()
        outcomes.append(play(number, folder, runs))
        if outcomes[-1].wrong:
            print(described(outcomes[-1]), flush=True)
        now = time.monotonic()
        if now - told > EVERY:
            told = now
            each = (now - began) / len(outcomes)
            expected = min(most, round(seconds / each))
            left = min(seconds - (now - began), each * (most - len(outcomes)))
            failed = sum(bool(one.wrong) for one in outcomes)
            print(
                f"{len(outcomes)} of about {expected} cases, {failed} failed, {each:.2f} s each,"
                f" about {left / 60:.1f} min left",
                flush=True,
            )
    return outcomes


def summary(outcomes: list[Outcome]) -> str:
    """Return cases by command and outcome, what refused them, and what failed."""
    lines = []
    for command in ("check", "train", "predict"):
        mine = [each for each in outcomes if each.command == command]
        done = sum(each.status == 0 for each in mine)
        refused = Counter(each.refused_by for each in mine if each.status == 2)
        failed = sum(bool(each.wrong) for each in mine)
        lines.append(
            f"{command}: {len(mine)} cases, {done} done, {refused.total()} refused, {failed} wrong"
        )
        lines += [f"  {count:5d}  {text}" for text, count in refused.most_common(12)]
    slowest = max(outcomes, key=lambda each: each.seconds, default=None)
    if slowest is not None:
        lines.append(f"slowest: case {slowest.number}, {slowest.seconds:.1f} s")
    wrong = [str(each.number) for each in outcomes if each.wrong]
    lines.append(f"wrong: {', '.join(wrong) or 'none'}")
    return "\n".join(lines)


def mend_many(numbers: Iterable[int], seconds: float) -> int:
    """Mend folder after folder until the time is over, and say what was lost; 0: nothing."""
    fixed: list[Fixed] = []
    began = told = time.monotonic()
    for number in numbers:
        if time.monotonic() - began > seconds:
            break
        with tempfile.TemporaryDirectory(prefix="imseg-fix-") as name, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fixed.append(mend(number, Path(name)))
        if fixed[-1].lost or fixed[-1].refused.startswith("A repaired copy would lose"):
            print(f"folder {number}: {fixed[-1]}", flush=True)
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            print(f"{len(fixed)} folders, {(told - began) / len(fixed):.2f} s each", flush=True)
    copies = [each for each in fixed if not each.refused]
    lost = sum(len(each.lost) for each in fixed)
    refused = Counter(each.refused.partition("\n")[0][:80] for each in fixed if each.refused)
    print(
        f"{len(fixed)} folders, {len(copies)} copies, {sum(each.fixes for each in fixed)} fixes "
        f"made, {sum(each.labels for each in copies)} labels, of which "
        f"{sum(each.reported for each in fixed)} reported as left out, labels lost = {lost}"
    )
    print("\n".join(f"  refused {count} x {text}" for text, count in refused.most_common()))
    return int(lost > 0)


def main() -> int:
    """Play one case, or as many as the time allows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=int, help="play this one alone and show all it says")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=10**9, help="at most so many")
    parser.add_argument("--minutes", type=float, default=20.0, help="for so long")
    parser.add_argument("--fix", action="store_true", help="mend folders and count lost labels")
    asked = parser.parse_args()
    if asked.fix:
        numbers = range(asked.first, asked.first + asked.cases)
        return mend_many(numbers if asked.case is None else [asked.case], asked.minutes * 60)
    with tempfile.TemporaryDirectory(prefix="imseg-fuzz-") as name:
        place = Path(name)
        runs = runs_in(place / "runs")
        if asked.case is not None:
            (place / "case").mkdir()
            outcome = play(asked.case, place / "case", runs)
            print(described(outcome))
            print(f"exit status {outcome.status}, {outcome.seconds:.1f} s")
            print(f"stdout:\n{outcome.out}\nstderr:\n{outcome.err}")
            return int(bool(outcome.wrong))
        outcomes = campaign(
            asked.first, seconds=asked.minutes * 60, most=asked.cases, runs=runs, place=place
        )
    print(summary(outcomes))
    return int(any(each.wrong for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
