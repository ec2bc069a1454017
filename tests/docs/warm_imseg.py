"""An ``imseg`` that is loaded once and then ready at once, for pages full of commands.

``Warm`` keeps a process that has loaded PyTorch and forks for each command. On PATH stands a small
client of the same name that hands over its words, its folder and its standard streams, and ends
with the command's own exit status. The command that runs is ``imseg.cli.main``, nothing else.

What is different from a user's ``imseg``: trainings are made tiny by options put behind those on
the page (``TINY``), and the demo draws fewer images.
"""

from __future__ import annotations

import array
import contextlib
import importlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TINY = {
    "--max-steps": ["4"],
    "--networks": ["2"],
    "--image-size": ["32", "32"],
    "--width": ["0.25"],
}
"""Behind the words of whatever trains."""
INSTEAD = {"--minutes": "--max-steps", "--scale": "--image-size", "--patch": "--image-size"}
"""Options that go with none of those."""
ALONE = ["--workers", "1", "--device", "cpu"]
"""No process for each network: forking from a process that has begun threads can hang."""
TRAINING = ("train", "compare", "reproduce")
MODULES = (
    "imseg.cli.commands.predict",
    "imseg.comparison.runner",
    "imseg.report.html.comparison_page",
    "imseg.report.html.run_page",
    "matplotlib.backends.backend_agg",
    "typer.rich_utils",
)
"""What commands load when they need it."""

CLIENT = f"""#!{sys.executable} -SE
import array, os, socket, struct, sys
line = socket.socket(socket.AF_UNIX)
line.connect(os.environ["WARM_IMSEG"])
words = "\\0".join([os.getcwd(), *sys.argv[1:]]).encode()
streams = array.array("i", [0, 1, 2])
line.sendmsg([struct.pack("!I", len(words))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
line.sendall(words)
sys.exit(struct.unpack("!i", line.recv(4))[0])
"""


def tiny(words: list[str]) -> list[str]:
    """Return the words of a command, with options that make a training tiny."""
    if not words or words[0] not in TRAINING or "--help" in words:
        return words
    several = words[0] != "train" and not any("online-im" in word for word in words)
    few = ["--generations", "1"] if several else []
    # A dry run of a training would measure steps; a matched baseline takes its from another run.
    unmeasured = ["--no-probe"] if words[0] == "train" and "--dry-run" in words else []
    left_out = {INSTEAD[word] for word in words if word in INSTEAD}
    if "--match" in words:
        left_out = set(TINY)
    small = [each for name in TINY if name not in left_out for each in (name, *TINY[name])]
    return [*words, *small, *few, *unmeasured, *ALONE]


@contextlib.contextmanager
def warm_imseg(folder: Path) -> Iterator[dict[str, str]]:
    """Keep a warm ``imseg`` in a folder; gives the environment in which shells find it."""
    client = folder / "imseg"
    client.write_text(CLIENT, encoding="utf-8")
    client.chmod(0o755)
    address = str(folder / "socket")
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root / "src"), str(root), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, __file__, address], env=environment) as server:
        try:
            while not Path(address).exists():
                if server.poll() is not None:
                    raise RuntimeError("the warm imseg did not start")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(0.1)
            found = f"{folder}{os.pathsep}{os.environ['PATH']}"
            yield {**os.environ, "PATH": found, "WARM_IMSEG": address}
        finally:
            server.terminate()


def serve(address: str) -> None:
    """Run commands until the process is ended."""
    import dataclasses

    # Loaded before they are needed, so that each command is ready at once.
    for name in MODULES:
        importlib.import_module(name)
    from imseg.report import demo

    fewer = {"labeled": 8, "unlabeled": 6, "max_steps": 4, "epochs": 4, "side": 32}
    demo.QUICK = dataclasses.replace(demo.QUICK, **fewer)
    if hasattr(os, "sched_setaffinity"):
        # The demo then trains in this process, as ALONE has it for others.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.soon")
    listener.listen()
    Path(f"{address}.soon").rename(address)
    while True:
        line, _ = listener.accept()
        if os.fork() == 0:
            answer(line)
        line.close()
        os.wait()


def answer(line: socket.socket) -> None:
    """Run one command in this process, which is a fork, and end."""
    status = 1
    try:
        streams = array.array("i")
        head, extra, _, _ = line.recvmsg(4, socket.CMSG_LEN(3 * streams.itemsize))
        streams.frombytes(extra[0][2])
        (size,) = struct.unpack("!I", head)
        words = b""
        while len(words) < size:
            words += line.recv(size - len(words))
        folder, *arguments = words.decode().split("\0")
        os.chdir(folder)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.argv = ["imseg", *arguments]
        from imseg.cli.main import run

        status = run(tiny(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        line.sendall(struct.pack("!i", status))
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
