"""Functions of imseg called on the nodes of a Ray cluster.

What is asked and what is answered is JSON; files are written where all nodes see them. Ray itself
calls again what was lost with its node, so what is written twice has to be the same.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from imseg.engine.hardware.device import MEMORY_GONE, is_exhausted, keep_freed_memory
from imseg.engine.workers import executors, ray_cluster
from imseg.errors import ImsegError, TrainingFailed, parts_of, raise_all
from imseg.networks.registry import trust_names

HEARD_EVERY = 0.2
"""Seconds after which who waits for answers looks up, so that Ctrl-C is heard."""
MOST_LOST = 10
"""How often a call may be lost with its node and made again."""
AHEAD = 2
"""Calls that are handed over for each one that there is room for: the next begins at once."""


class RayCalls(executors.Spread):
    """Calls functions on the nodes of a Ray cluster.

    Args:
        cluster: Connected.
        gpus: The share of a GPU that each call needs.
    """

    def __init__(self, cluster: ray_cluster.RayCluster, *, gpus: float = 0.0) -> None:
        self._cluster = cluster
        self._ray = cluster.ray
        self._gpus = gpus

    def each(
        self, function: Callable[..., Any], arguments: Iterable[Mapping[str, Any]], *, cores: int
    ) -> Iterator[tuple[int, Any]]:
        """Call a function with each of the arguments; see ``executors.Spread``."""
        there = [each["Resources"].get("CPU", 0) for each in self._cluster.nodes({})]
        needed = max(1, min(cores, int(max(there, default=1))))
        mine = json.dumps(ray_cluster.versions())
        remote = self._ray.remote(call_here).options(
            num_cpus=needed, num_gpus=self._gpus, max_retries=MOST_LOST
        )
        name = function.__name__
        waiting, running = enumerate(arguments), dict[Any, int]()
        try:
            while True:
                for number, given in itertools.islice(
                    waiting, max(0, self._room(needed) - len(running))
                ):
                    running[remote.remote(function, json.dumps(given), mine)] = number
                if not running:
                    return
                for reference in self._ray.wait(
                    list(running), num_returns=len(running), timeout=HEARD_EVERY
                )[0]:
                    yield running.pop(reference), self._answer(reference, name)
        finally:
            for reference in running:  # there was an error, or Ctrl-C
                with contextlib.suppress(self._ray.exceptions.RayError):
                    self._ray.cancel(reference)

    def _room(self, cores: int) -> int:
        """Return how many calls that need so many cores each are handed over at once."""
        return AHEAD * max(1, int(self._ray.cluster_resources().get("CPU", 1) / cores))

    def _answer(self, reference: Any, name: str) -> Any:
        errors = self._ray.exceptions
        try:
            answer = json.loads(self._ray.get(reference))
        except errors.RayTaskError as error:
            why = f"{name}, on a node of the Ray cluster: {error.cause!r}"
            raise TrainingFailed(why) from error
        except errors.OutOfMemoryError as error:
            raise TrainingFailed(f"{name}: {MEMORY_GONE}") from error
        except errors.RayError as error:
            text = f"{name}: its node was lost {MOST_LOST} times: {str(error).splitlines()[0]}"
            raise TrainingFailed(text) from error
        return result_of(answer)


def call_here(function: Callable[..., Any], given: str, expected: str) -> str:
    """Call a function of imseg in this process and return its result, or its error, as JSON.

    Args:
        function: At the top of a module, so that its name is all that travels.
        given: Its arguments by name, as JSON.
        expected: The versions that this machine has to have, as JSON.
    """
    theirs = json.loads(expected)
    differs = ray_cluster.differing(ray_cluster.versions(), theirs)
    if differs:
        error = ray_cluster.refused([f"{platform.node()}: {', '.join(differs)}"], theirs)
        return json.dumps({"refused": parts_of(error)})
    trust_names()  # what is asked comes from who began it alone
    keep_freed_memory()
    try:
        result = function(**json.loads(given))
    except ImsegError as error:
        return json.dumps({"refused": parts_of(error)})
    except TrainingFailed as failure:
        return json.dumps({"failed": str(failure)})
    except Exception as error:
        if not is_exhausted(error):
            raise
        return json.dumps({"failed": MEMORY_GONE})
    return json.dumps({"result": result})


def result_of(answer: Mapping[str, Any]) -> Any:
    """Return what a function returned, or raise what it raised.

    Args:
        answer: As from ``call_here``, read.

    Raises:
        ImsegError: If it was refused.
        TrainingFailed: If it failed.
    """
    if "refused" in answer:
        raise_all(ImsegError(**parts) for parts in answer["refused"])
    if "failed" in answer:
        raise TrainingFailed(answer["failed"])
    return answer["result"]
