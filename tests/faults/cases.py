"""One case by its number: what is planted, which command is run, and what was wrong with that."""

from __future__ import annotations

import contextlib
import csv
import faulthandler
import io
import json
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.faults import odd_texts, trees

from imseg.cli.main import app, run

LIMIT = 20.0
"""Most seconds of a case."""
MEMORY = 3 << 30
"""Most bytes that a case may take beyond what the process has."""
RUN_KINDS = ("binary", "multiclass", "multilabel", "instances", "regression")
_LOOKED_AT_FIRST = {"--pixel-size", "--network", "--ensemble"}
Runs = Callable[[str], Path]
"""Gives the folder of a finished run of a kind of masks."""


@dataclass
class Outcome:
    """How a case ended."""

    number: int
    command: str
    words: list[str]
    faults: list[str]
    status: int | None = None
    seconds: float = 0.0
    out: str = ""
    err: str = ""
    wrong: list[str] = field(default_factory=list)

    @property
    def refused_by(self) -> str:
        """What the first error says, without what differs from case to case; empty: a success."""
        if self.status == 0:
            return ""
        if self.out.startswith("{"):
            findings = json.loads(self.out)["findings"]
            text = "\n".join(f"{each['severity']}: {each['what']}" for each in findings)
        else:
            text = self.out if "error: " in self.out else self.err
        for line in text.splitlines():
            if line.startswith(("error: ", "imseg: ")):
                words = line.split(": ", 1)[1].split()
                return " ".join(w for w in words if w.isalpha() or w[:-1].isalpha())[:60]
        return "?"


def play(number: int, folder: Path, runs: Runs) -> Outcome:
    """Plant a case in an empty folder, run its command in this process, and check the outcome."""
    rng = random.Random(f"imseg {number}")
    command = rng.choice(("check", "train", "predict"))
    here, work = Path.cwd(), folder / "work"
    work.mkdir()
    os.chdir(work)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            words, tree, places = _plan(rng, command, folder, runs)
        outcome = Outcome(number, command, words, tree.faults)
        before, lay_there = _listing(folder, places), _listing(folder / "out", [])
        _run(outcome)
        _check_outcome(outcome, tree, before, _listing(folder, places))
        if command == "predict":
            _check_predictions(outcome, folder / "out", lay_there)
        return outcome
    finally:
        os.chdir(here)
        _remove(folder)


def _plan(
    rng: random.Random, command: str, folder: Path, runs: Runs
) -> tuple[list[str], trees.Tree, list[str]]:
    """Return the command line, the tree, and the names in ``folder`` that may change."""
    name = "data" if rng.random() < 0.9 else odd_texts.odd_name(rng)[:200]
    name = name if name not in ("work", "out") else "data"
    root = folder / (name if rng.random() < 0.95 else "data")
    if command == "predict":
        return _plan_predict(rng, folder, root, runs)
    tree = (trees.noise_tree if rng.random() < 0.06 else trees.good_tree)(rng, root)
    if rng.random() < 0.85:
        trees.spoil(rng, tree)
    words = [command, str(root) if rng.random() < 0.9 else os.path.relpath(root)]
    if words[1].startswith("-"):
        words[1] = str(root)
    if command == "check":
        if rng.random() < 0.3:
            words += ["--task", rng.choice(RUN_KINDS)]
        if rng.random() < 0.3:
            words += ["--json"]
        if rng.random() < 0.2:
            words += ["--sheet", str(_odd_place(rng, folder))]
        return words, tree, ["work", "out"]
    words += ["--dry-run", "--no-probe", "--image-size", "32", "32", "--device", "cpu"]
    if root.name != root.name.encode(errors="ignore").decode():
        tree.culprit = None  # the name is looked at first
    if rng.random() < 0.25:
        (folder / "settings.toml").write_bytes(odd_texts.odd_settings(rng))
        words += ["--config", str(folder / "settings.toml")]
        tree.faults.append(f"settings {(folder / 'settings.toml').read_bytes()[:100]!r}")
        tree.culprit = None
        if rng.random() < 0.5:
            del words[4:7]
    if rng.random() < 0.7:
        some = ("ldt", "ldt", "aldt", "im", "im++", "evalnet", "consistency")
        words += ["--approach", rng.choice(some)]
    if rng.random() < 0.2:
        words += ["--out", str(_odd_place(rng, folder))]
        tree.culprit = None  # the place is looked at first
    if rng.random() < 0.2:
        words += ["--json"]
    return words, tree, []


def _plan_predict(
    rng: random.Random, folder: Path, root: Path, runs: Runs
) -> tuple[list[str], trees.Tree, list[str]]:
    tree = trees.pictures_tree(rng, root)
    if rng.random() < 0.9:
        trees.spoil(rng, tree)
    inside = sorted(root.iterdir()) if root.is_dir() else []
    place = root if rng.random() < 0.9 else rng.choice([*inside, root / "nowhere"])
    out = folder / "out" if rng.random() < 0.8 else _odd_place(rng, folder)
    words = ["predict", str(runs(rng.choice(RUN_KINDS))), str(place), "--out", str(out)]
    for option in ("--overlay", "--inconsistency", "--overwrite", "--json"):
        if rng.random() < 0.3:
            words.append(option)
    if rng.random() < 0.1:
        words += ["--pixel-size", rng.choice(("0.5", "nan", "1e300", "1e-300", "-1", "inf"))]
    if rng.random() < 0.1:
        odd = (
            "../..",
            "start/network-9",
            "/etc/passwd",
            "a\nb",
            "start",
            "x" * 300,
            "scorers/network-0",
        )
        words += ["--network", rng.choice(odd)]
    if rng.random() < 0.1:
        words += ["--ensemble", rng.choice(("0", "1", "2", "-1", "99"))]
    if place != root or len(words) != len(set(words) - _LOOKED_AT_FIRST):
        tree.culprit = None
    if out != folder / "out" or out.exists():
        tree.culprit = None  # the place is looked at first
    words += ["--device", "cpu"]
    return words, tree, ["work", "out"]


def _odd_place(rng: random.Random, folder: Path) -> Path:
    """Return a place for files below ``folder/out`` that makes trouble, or none."""
    out = folder / "out"
    way = rng.randrange(8)
    if way == 0:
        out.write_text("a file")
        return out
    if way == 1:
        out.write_text("a file")
        return out / "inner"
    if way == 2:
        out.symlink_to("nowhere")
        return out
    if way == 3:
        out.symlink_to("out")
        return out
    if way == 4:
        out.mkdir()
        return out / ("y" * 300)
    if way == 5:
        out.mkdir()
        for name in ("new_0.png", "measurements.csv", "overlays", "inconsistency", "alive"):
            (out / name).write_text("") if rng.random() < 0.5 else (out / name).mkdir()
        return out
    if way == 6:
        return Path("/proc/imseg/out")
    out.mkdir()
    return out / odd_texts.odd_name(rng)


class _TooLong(BaseException):
    """The case has taken longer than it may."""


class _Foreign(logging.Handler):
    """Keeps what libraries log as warnings; what imseg says goes to stderr as ever."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        first = record.name.partition(".")[0]
        if first == "imseg":
            print(record.getMessage(), file=sys.stderr)
        elif not logging.getLogger(first).handlers:
            self.said.append(f"{record.name}: {record.getMessage()}")


def _run(outcome: Outcome) -> None:
    """Run the command as the shell would, and keep everything it says."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict", newline="\n")
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace", newline="\n")
    foreign, began = _Foreign(), time.monotonic()
    logging.getLogger().addHandler(foreign)
    try:
        with (
            _below() as (said, stderr),
            warnings.catch_warnings(record=True) as warned,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            with _within(MEMORY), _at_most(LIMIT, f"case {outcome.number}", stderr):
                outcome.status = run(outcome.words)
            if outcome.status not in (0, 2):
                app(args=outcome.words, prog_name="imseg", standalone_mode=False)
    except _TooLong:
        outcome.wrong.append(f"not done after {LIMIT:g} s\n{traceback.format_exc(limit=-6)}")
    except KeyboardInterrupt:
        raise
    except BaseException:
        outcome.wrong.append(traceback.format_exc(limit=-6))
    finally:
        logging.getLogger().removeHandler(foreign)
    outcome.seconds = time.monotonic() - began
    for stream in (out, err):
        stream.flush()
    outcome.out, outcome.err = (
        stream.buffer.getvalue().decode("utf-8")
        for stream in (out, err)  # type: ignore[attr-defined]
    )
    outcome.wrong += [f"warning: {each.message} ({each.filename})" for each in warned]
    outcome.wrong += [f"logged: {text}" for text in foreign.said]
    if said:
        outcome.wrong.append(f"printed by a library: {said[0]}")
    if outcome.seconds > LIMIT:
        outcome.wrong.append(f"took {outcome.seconds:.0f} s")


@contextlib.contextmanager
def _below() -> Iterator[tuple[list[str], int]]:
    """Catch what libraries in C write to stderr, below Python; yield also the real one."""
    said: list[str] = []
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield said, kept
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            if found := file.read().decode(errors="replace"):
                said.append(found)


@contextlib.contextmanager
def _within(memory: int) -> Iterator[None]:
    """Let the block have so many more bytes, where the system can tell how many there are."""
    status = Path("/proc/self/status")
    if not status.exists():
        yield
        return
    words = status.read_text().split()
    now = int(words[words.index("VmData:") + 1]) * 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (now + memory, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextlib.contextmanager
def _at_most(seconds: float, name: str, stderr: int) -> Iterator[None]:
    """Raise ``_TooLong`` in the block after so many seconds; a test's own limit is kept.

    A block that does not end even so, because a thread of it waits, ends the process.

    Args:
        seconds: How many.
        name: What to call the block when the process ends.
        stderr: A file descriptor to say it on.
    """
    alarms = 0

    def stop(*_: object) -> None:
        nonlocal alarms
        alarms += 1
        if alarms > 1:
            os.write(stderr, f"{name} hangs\n".encode())
            faulthandler.dump_traceback(stderr)
            os._exit(3)
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    began = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(0.01, left - (time.monotonic() - began)))


def _check_outcome(outcome: Outcome, tree: trees.Tree, before: Any, after: Any) -> None:
    said = outcome.out + outcome.err
    if outcome.status not in (0, 2):
        outcome.wrong.append(f"exit status {outcome.status}: {said[-2000:]}")
    if outcome.status == 2 and not (
        "imseg: " in outcome.err or (outcome.command == "check" and outcome.out)
    ):
        outcome.wrong.append("refused without a word")
    if "Traceback" in said:
        outcome.wrong.append("a traceback is printed")
    odd = sorted({each for each in said if _garbles(each)})
    if odd:
        outcome.wrong.append(f"prints raw {odd!a}: {said!a}")
    if any(line.lstrip().startswith(odd_texts.INJECTED) for line in said.splitlines()):
        outcome.wrong.append(f"a name makes a line of its own: {said!a}")
    if before != after:
        changed = sorted(set(before.items()) ^ set(after.items()))
        outcome.wrong.append(f"changed: {changed[:6]!a}")
    if outcome.status == 0 and "--json" in outcome.words:
        try:
            json.loads(outcome.out, parse_constant=_no_json)
        except ValueError as error:
            outcome.wrong.append(f"no JSON: {error}: {outcome.out[:500]!a}")
    named = tree.culprit is None or tree.culprit in said
    if outcome.status == 2 and not named and _is_about_pictures(outcome):
        outcome.wrong.append(f"does not name {tree.culprit!a}: {said!a}")


def _is_about_pictures(outcome: Outcome) -> bool:
    """Return whether what was refused may be files at all, and not options."""
    return outcome.command == "check" or "--" not in outcome.err.partition("\n")[0]


def _garbles(letter: str) -> bool:
    if letter == "\n":
        return False
    turning = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in turning


def _no_json(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _check_predictions(outcome: Outcome, out: Path, lay_there: dict[str, tuple[int, ...]]) -> None:
    """Look for files that are not whole, and for files that nobody has spoken of.

    Those that lay there before and were left alone are nothing of the command's, unless it says so.
    """
    if not out.is_dir():
        return
    now = _listing(out, [])
    untouched = {name for name, known in lay_there.items() if now.get(name) == known}
    files = [
        path
        for path in sorted(out.rglob("*"))
        if path.is_file() and (str(path) not in untouched or str(path) in outcome.out)
    ]
    for path in files:
        if path.name.endswith((".tmp", ".part")):
            outcome.wrong.append(f"left over: {path.name!a}")
        elif problem := _problem_of(path):
            outcome.wrong.append(f"{path.name!a} cannot be read: {problem}")
    if outcome.status == 2 and files and "written" not in outcome.err:
        outcome.wrong.append(f"does not say what it wrote: {outcome.err!a}, {files!a}")


def _problem_of(path: Path) -> str:
    try:
        if path.suffix == ".csv":
            list(csv.DictReader(path.read_text("utf-8").splitlines(), strict=True))
        else:
            with Image.open(path) as picture:
                picture.load()
    except Exception as error:
        return repr(error)
    return ""


def _listing(folder: Path, but: list[str]) -> dict[str, tuple[int, ...]]:
    """Return what lies in a folder, as it would show if anything were written."""
    found: dict[str, tuple[int, ...]] = {}
    for at, inner, names in os.walk(folder):
        if Path(at) == folder:
            inner[:] = [name for name in inner if name not in but]
            names = [name for name in names if name not in but]
        for name in (*inner, *names):
            known = (Path(at) / name).lstat()
            found[f"{at}/{name}"] = (known.st_mode, known.st_size, known.st_mtime_ns)
    return found


def _remove(folder: Path) -> None:
    for at, inner, names in os.walk(folder):
        for name in (*inner, *names):
            if not (Path(at) / name).is_symlink():
                (Path(at) / name).chmod(0o700)
    shutil.rmtree(folder)
