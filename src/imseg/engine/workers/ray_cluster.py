"""A Ray cluster as imseg sees it: who is there, what they have, and whether they can take part.

Only the thread that uses it speaks with Ray: another one that waits while the connection is closed
ends the whole process.
"""

from __future__ import annotations

import os
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from imseg.engine.hardware.device import usable_cores
from imseg.errors import ImsegError, import_extra

REACHED_WITHIN = 20.0
"""Seconds in which a cluster must answer; most go into the start of the process that asks."""
ANSWERED_WITHIN = 300.0
"""Seconds in which a node must say which versions it has; it may have to load torch first."""
SAME = ("python", "torch", "imseg")
"""Whose versions are the same on all nodes."""
HEALTH_CHECK = (sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check")
"""What asks a cluster whether it is there."""
Needs = Mapping[str, float]
"""What a task needs, by Ray's names: ``CPU`` in cores, ``GPU`` as a share, ``memory`` in bytes."""
UNITS: dict[str, Callable[[float], str]] = {
    "CPU": lambda count: f"{count:g} core{'s' * (count != 1)}",
    "GPU": lambda share: f"{share:g} of a GPU",
    "memory": lambda size: f"{size / 2**30:.1f} GiB of memory",
}
"""The same in words."""


class RayCluster:
    """A Ray cluster, connected within a ``with`` block.

    Args:
        address: ``auto`` or ``HOST:PORT``; None: one is started on this machine.
        needs: What each task needs at least.
    """

    def __init__(self, address: str | None, needs: Needs) -> None:
        self._address = address
        self._needs = needs
        self._own = False
        self._known: set[str] = set()

    def __enter__(self) -> Self:
        """Connect to the cluster, or start one.

        Raises:
            ImsegError: If Ray is not installed, the cluster cannot be reached, or no node has what
                a task needs.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self.ray: Any = import_extra("ray", extra="cluster", purpose="for --executor ray")
        self._own = not self.ray.is_initialized()
        try:
            if self._own:
                with _signals_kept():
                    self._connect()
            self._check_room()
        except BaseException:
            self.__exit__()  # which nobody else calls where this one fails
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._own:  # also where it failed half-way
            self.ray.shutdown()  # and with it the tasks that still run
        self._own = False

    def _check_room(self) -> None:
        """Refuse a cluster without a node that has what each task needs."""
        if self.nodes(self._needs):
            return
        there = [node["Resources"] for node in self.nodes({})]
        most = {what: max((each.get(what, 0) for each in there), default=0) for what in UNITS}
        raise ImsegError(
            f"No node of the Ray cluster has {in_words(self._needs)}, which each network needs.",
            expected="such a node, or networks that need less.",
            got=f"nodes with at most {in_words(most, of=self._needs)}.",
            hint="--workers with more networks side by side, so that each has fewer threads;"
            " smaller images or batches take less memory. `ray start` says what a node has:"
            " --num-cpus, --num-gpus, --memory.",
        )

    def nodes(self, needs: Needs) -> list[dict[str, Any]]:
        """Return the nodes that live and have what is needed."""
        return [
            node
            for node in self.ray.nodes()
            if node["Alive"]
            and all(node["Resources"].get(what, 0) >= least for what, least in needs.items())
        ]

    def check(self, place: Path) -> None:
        """Refuse nodes with other versions, and those that do not see a folder.

        Raises:
            ImsegError: With everything that is wrong, by node.
        """
        strategies = self.ray.util.scheduling_strategies
        asked, mine = {}, versions()
        for node in self.nodes(self._needs):
            if node["NodeID"] not in self._known:
                there = strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                remote = self.ray.remote(facts_about).options(
                    num_cpus=0, max_retries=0, scheduling_strategy=there
                )
                asked[node["NodeID"]] = node["NodeManagerAddress"], remote.remote(str(place))
        wrong = []
        for name, (address, reference) in asked.items():
            try:
                found = self.ray.get(reference, timeout=ANSWERED_WITHIN)
            except self.ray.exceptions.RayTaskError as error:
                wrong.append(f"{address}: {error.cause!r}")
                continue
            except self.ray.exceptions.GetTimeoutError:
                wrong.append(f"{address}: no answer in {ANSWERED_WITHIN:g} s")
                continue
            except self.ray.exceptions.RayError:
                continue  # it is gone, and nothing is done there
            differs = differing(found, mine)
            if not found["sees the run"]:
                differs.append(f"{place} is not there")
            if differs:
                wrong.append(f"{address}: {', '.join(differs)}")
            self._known.add(name)
        if wrong:
            raise refused(wrong, mine)

    def _connect(self) -> None:
        """Start a cluster of this machine, or join that of the address.

        Raises:
            ImsegError: If that cannot be done.
        """
        quiet = {"log_to_driver": False, "logging_level": "error"}
        if self._address is None:
            # Not None, which would be any cluster that happens to run here.
            self.ray.init("local", num_cpus=usable_cores(), include_dashboard=False, **quiet)
            return
        wrong = _unreachable(self._address)
        if wrong is not None:
            raise ImsegError(
                f"No Ray cluster can be reached at {self._address}.",
                expected="auto, beside a node of a running cluster, or HOST:PORT of its head.",
                got=wrong,
                hint="`ray status` on its head says whether it is up; without --address one is"
                " started here.",
            )
        try:
            self.ray.init(address=self._address, **quiet)
        except (OSError, ValueError, RuntimeError, self.ray.exceptions.RayError) as error:
            raise ImsegError(
                f"The Ray cluster at {self._address} cannot be joined from here.",
                expected="the same versions of Ray and Python as on its nodes, and its token if it"
                " asks for one.",
                got="\n".join(line.strip() for line in str(error).splitlines()),
                hint="install the same versions on all nodes, and begin the work on one.",
            ) from error


def _unreachable(address: str) -> str | None:
    """Return why no cluster answers at an address; None if one does.

    Another process asks: where nothing answers, Ray waits for more than a minute and writes about
    it.
    """
    if "://" in address:
        return f"{address}, the address of a Ray client, which does not see the files of a run."
    try:
        if address != "auto":  # at once where nothing listens
            host, _, port = address.rpartition(":")
            with closing(socket.create_connection((host, int(port)), timeout=REACHED_WITHIN)):
                pass
        command = [*HEALTH_CHECK, "--address", address]
        asked = subprocess.run(command, timeout=REACHED_WITHIN, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        return f"no answer in {REACHED_WITHIN:g} s."
    except (OSError, ValueError) as error:
        return str(error).splitlines()[0]
    if asked.returncode == 0:
        return None
    said = asked.stderr.strip().splitlines() or [f"exit status {asked.returncode}"]
    errors = [line for line in said if re.match(r"[\w.]+Error: ", line)]
    if address == "auto" and any("AuthenticationError" in line for line in errors):
        return None  # for a cluster of this machine Ray itself finds the token when it joins
    return errors[-1] if errors else said[0]


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Give signals back to whom they were told before Ray took SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def in_words(amounts: Mapping[str, float], *, of: Mapping[str, float] | None = None) -> str:
    """Return amounts of what nodes have, those that are 0 left out.

    Args:
        amounts: By Ray's names.
        of: Where these are 0, amounts are left out.
    """
    named = [what for what in UNITS if (of or amounts)[what]]
    return " and ".join(UNITS[what](amounts[what]) for what in named)


def differing(found: Mapping[str, Any], mine: Mapping[str, str]) -> list[str]:
    """Return the versions that differ from those here."""
    return [f"{what} {found[what]}" for what in SAME if found[what] != mine[what]]


def refused(wrong: Sequence[str], mine: Mapping[str, str]) -> ImsegError:
    """Return the error about nodes that cannot take part, by what is wrong with each."""
    here = ", ".join(f"{what} {mine[what]}" for what in SAME)
    return ImsegError(
        "Nodes of the Ray cluster cannot take part in this.",
        expected=f"{here} as here, and the folder of the run under the same path.",
        got="; ".join(wrong),
        hint="install the same versions on all nodes, and share the folders of data and runs.",
    )


def versions() -> dict[str, str]:
    """Return the versions on this machine that all nodes have in common."""
    installed = {name: metadata.version(name) for name in SAME[1:]}
    return {"python": platform.python_version(), **installed}


def facts_about(place: str) -> dict[str, Any]:
    """Return the versions on this machine, and whether it sees a folder."""
    return {**versions(), "sees the run": Path(place).is_dir()}
