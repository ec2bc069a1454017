"""A program that answers like a worker and trains nothing: it does what the name of a job says.

Started as ``python pretender.py FOLDER``. In the folder it counts what it was told, and finds the
answer to ``done``. It loads nothing, so that a test of lost workers is as quick as their silence is
short.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

FOLDER = Path(sys.argv[1])
FOREVER = 600


def say(**content: object) -> None:
    print(json.dumps(content), flush=True)


def times(what: str) -> int:
    """Return how often this was asked, this time included, over all processes."""
    with (FOLDER / f"{what}.count").open("a", encoding="utf-8") as stream:
        stream.write("1")
        return stream.tell()


def is_told(what: str) -> bool:
    """Return whether the folder asks for something that is to happen once."""
    return (FOLDER / what).exists() and times(what) == 1


def train(name: str) -> None:
    (FOLDER / f"{name}.{times(name)}.pid").write_text(str(os.getpid()), encoding="utf-8")
    again = (FOLDER / f"{name}.2.pid").exists()
    match name:
        case "hangs":
            time.sleep(FOREVER)
        case "hangs-once" if not again:
            say(event="stepped", steps=1, loss=0.5)
            time.sleep(FOREVER)
        case "dies":
            sys.exit(3)
        case "hangs-then-dies":
            sys.exit(3) if again else time.sleep(FOREVER)
        case "torn" if not again:
            sys.stdout.write('{"event": "do')
            sys.stdout.flush()
            os._exit(1)
        case "mute" if not again:
            os.close(1)
            time.sleep(FOREVER)
        case "slow":
            for _ in range(12):
                time.sleep(0.25)
                say(event="alive")
        case "slower-and-slower":
            for seconds in (0.3, 1.5):
                time.sleep(seconds)
                say(event="alive")
        case "exhausted" | "exhausted-once" if name == "exhausted" or not again:
            say(event="exhausted")
            time.sleep(FOREVER)
        case "broken":
            say(event="broken", why="OSError: disk full")
            return
        case "refused":
            parts = {"what": "disk full", "expected": None, "got": None, "hint": None}
            say(event="refused", errors=[parts])
            return
        case "talks":
            say(event="note", text="batches are halved", warning=True)
            say(event="note", text="all is well", warning=False)
    say(event="done", trained=(FOLDER / "done.json").read_text(encoding="utf-8"))


def main() -> None:
    if is_told("never-ready"):
        time.sleep(FOREVER)
    say(event="ready")
    if is_told("deaf"):
        time.sleep(FOREVER)
    for line in sys.stdin:
        train(json.loads(line)["name"])


if __name__ == "__main__":
    main()
