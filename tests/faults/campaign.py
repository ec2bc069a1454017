"""Try faults on a small run and count what was lost: ``make faults``.

    python -m tests.faults.campaign --kills 20
    python -m tests.faults.campaign --slice 3 --of 40

For each write of the run, the process is killed there and, in another case, finds the disk full
from there on; the same command then continues, and the run must equal an undisturbed one to the
bit. Then a random byte is flipped in every file, and at last the command, with worker processes, is
killed at random moments. ``--slice`` tries one part of the writes and files: all get their turn.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.e2e.same_runs import check_same, files_of
from tests.faults.injection import CRASHED, KILLED, REFUSED, in_child
from tests.faults.random_kills import Command, killed_at_random
from tests.faults.small_disk import enlarge, may_mount, mounted, size_of
from tests.faults.small_run import fresh, small_run

NO_ROOM = "No space left on device"


@dataclass
class Tally:
    """What was tried and what came of it."""

    kills_at_writes: int = 0
    full_disks: int = 0
    real_full_disks: int = 0
    bytes_flipped: int = 0
    random_kills: int = 0
    lost: list[str] = field(default_factory=list)
    """Cases after which the run was not the same, and why."""


def main() -> int:
    """Try faults and return 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="at random moments")
    parser.add_argument("--slice", help="which part is tried: a number, or 'today'", default="0")
    parser.add_argument("--of", type=int, default=1, help="how many parts there are")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no case after so many")
    parser.add_argument("--seed", type=int, default=0, help="of random moments and bytes")
    arguments = parser.parse_args()
    today = datetime.date.today().toordinal()
    part = (today if arguments.slice == "today" else int(arguments.slice)) % arguments.of
    with tempfile.TemporaryDirectory(prefix="imseg-faults-") as folder:
        tally = Campaign(Path(folder), part, arguments.of, arguments.minutes, arguments.seed).run(
            arguments.kills
        )
    print(json.dumps(asdict(tally), indent=1))
    return 1 if tally.lost else 0


class Campaign:
    """Tries faults, one after the other.

    Args:
        place: A folder of its own.
        part: Which part of the cases is tried.
        of: How many parts there are.
        minutes: No case is begun after so many.
        seed: Of random moments and bytes.
    """

    def __init__(self, place: Path, part: int, of: int, minutes: float, seed: int) -> None:
        self._place, self._part, self._of = place, part, of
        self._until = time.monotonic() + 60 * minutes
        self._random = random.Random(seed + part)
        self._whole, self._out = place / "whole", place / "run"
        self._tally = Tally()

    def run(self, kills: int) -> Tally:
        """Try everything and return what came of it."""
        ended = in_child(lambda: small_run(self._place, self._whole), self._whole)
        if ended.how != "done":
            raise RuntimeError(f"the undisturbed run {ended.how}: {ended.said}")
        writes = range(1, ended.writes + 1)
        print(f"the undisturbed run makes {ended.writes} writes", flush=True)
        for at in self._chosen(writes, "killed at a write"):
            self._case(f"killed at write {at}", lambda at=at: self._fault(at, "kill"))
            self._tally.kills_at_writes += 1
        for at in self._chosen(writes, "disk full at a write"):
            self._case(f"disk full at write {at}", lambda at=at: self._fault(at, "full"))
            self._tally.full_disks += 1
        for share in self._chosen(self._shares(), "a disk that is really full"):
            self._case(f"a disk with {share:.0%} of the room", lambda s=share: self._small_disk(s))
            self._tally.real_full_disks += 1
        for name in self._chosen(self._files(), "a byte flipped"):
            self._case(f"a byte flipped in {name}", lambda name=name: self._flip(name))
            self._tally.bytes_flipped += 1
        if kills:
            command = Command.prepared(self._place / "command")
            self._case("killed at random", lambda: self._random_kills(command, kills))
        return self._tally

    def _shares(self) -> list[float]:
        """Return how much of the room that a run needs is there, case by case."""
        if not may_mount():
            print("real full disks: left out, only root can mount them", file=sys.stderr)
            return []
        return [number / 12 for number in range(1, 12)]

    def _small_disk(self, share: float) -> None:
        disk = self._place / "disk"
        disk.mkdir(exist_ok=True)
        run, room = disk / "run", int(share * size_of(self._whole))
        with mounted(disk, room):
            ended = in_child(lambda: small_run(self._place, run), run, notes=self._place)
            if ended.how != REFUSED or NO_ROOM not in ended.said:
                raise AssertionError(
                    f"a full disk is one clear error; it {ended.how}: {ended.said}"
                )
            enlarge(disk, 20 * size_of(self._whole))
            ended = in_child(lambda: small_run(self._place, run), run, notes=self._place)
            if ended.how != "done":
                raise AssertionError(f"continued, it {ended.how}: {ended.said}")
            check_same(run, self._whole)

    def _files(self) -> list[str]:
        told = ("log.jsonl", "report.html")
        return [name for name in files_of(self._whole) if not name.endswith(told)]

    def _chosen(self, cases: Sequence, what: str) -> Iterator:
        """Yield the cases of this part, with progress and an estimate on stderr."""
        mine = [case for number, case in enumerate(cases) if number % self._of == self._part]
        began = time.monotonic()
        for done, case in enumerate(mine):
            now = time.monotonic()
            if now > self._until:
                print(f"{what}: stopped after {done} of {len(mine)}", file=sys.stderr, flush=True)
                return
            if done and done % 10 == 0:
                left = (now - began) / done * (len(mine) - done) / 60
                text = f"{what}: {done} of {len(mine)}, about {left:.0f} min left"
                print(text, file=sys.stderr, flush=True)
            yield case

    def _case(self, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            self._tally.lost.append(f"{name}: {type(error).__name__}: {error}")
            print(self._tally.lost[-1], file=sys.stderr, flush=True)

    def _fault(self, at: int, fault: str) -> None:
        fresh(self._out)
        ended = in_child(lambda: small_run(self._place, self._out), self._out, at=at, fault=fault)
        if fault == "kill" and ended.how != KILLED:
            raise AssertionError(f"it was not killed but {ended.how}: {ended.said}")
        nothing_left = ended.how == "done"  # all that was missing was to remove the cache
        clear = ended.how == REFUSED and NO_ROOM in ended.said
        if fault == "full" and not clear and not nothing_left:
            raise AssertionError(
                f"a full disk is one clear error, but it {ended.how}: {ended.said}"
            )
        self._continue()

    def _flip(self, name: str) -> None:
        shutil.copytree(self._whole, fresh(self._out))
        path = self._out / name
        content = bytearray(path.read_bytes())
        content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)
        path.write_bytes(content)
        self._continue()

    def _continue(self) -> None:
        ended = in_child(lambda: small_run(self._place, self._out), self._out)
        if ended.how != "done":
            crashed = "it crashed" if ended.how == CRASHED else f"it {ended.how}"
            raise AssertionError(f"continued, {crashed}: {ended.said}")
        check_same(self._out, self._whole)

    def _random_kills(self, command: Command, kills: int) -> None:
        self._tally.random_kills = killed_at_random(command, kills, self._random, until=self._until)


if __name__ == "__main__":
    sys.exit(main())
