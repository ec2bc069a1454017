"""Files of a run, read without trusting what they hold: a run may be anybody's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imseg.approaches.run_forms import meaning, misfit
from imseg.engine.job import Trained
from imseg.engine.runs import RunFolder
from imseg.engine.sealed import read_json
from imseg.engine.trained_files import read_known
from imseg.errors import ImsegError, and_more
from imseg.tasks import Metric
from imseg.types import Reading, TargetSpec

_EXPECTED = "a file of a run, as imseg writes it."
_HINT = "copy the run again, or repeat its train command; do not trust it if it is not yours."


def read_form(path: Path) -> dict[str, Any]:
    """Return the content of a file of a run that holds what it must.

    Raises:
        ImsegError: If it is missing, damaged, or holds anything else; all problems at once.
    """
    content = read_json(path)
    wrong = misfit(path, content)
    if wrong:
        raise _refused(path, wrong)
    return content


def read_summary(folder: RunFolder, metric: Metric) -> dict[str, Any]:
    """Return the content of ``summary.json``, in which every network has the run's score.

    Raises:
        ImsegError: See ``read_form``.
    """
    content = read_form(folder.summary)
    stages = [*content["stages"], *content.get("aside", ())]
    scores = {
        network["name"]: network["scores"]
        for stage in stages
        if stage["name"] != "judges"
        for network in stage["networks"]
    }
    lacking = [
        name
        for name, found in {"validation": content["validation"], **scores}.items()
        if metric.key not in found
    ]
    if lacking:
        raise _refused(folder.summary, f"no {metric.label} of {and_more(lacking)}.")
    return content


def read_target(path: Path) -> tuple[TargetSpec, Reading]:
    """Return what mask values mean and how pictures are read, from ``target.json``.

    Raises:
        ImsegError: See ``read_form``.
    """
    return meaning(read_form(path))


def read_network(
    folder: RunFolder, name: str, *, known: Sequence[str], metric: Metric, shape: tuple[int, int]
) -> Trained:
    """Return what is known about a network of a run.

    Args:
        folder: The run.
        name: The network; no name but the known ones leads to a file.
        known: The names of its networks.
        metric: What it must be scored by.
        shape: The channels that it must take, and the outputs that it must give.

    Raises:
        ImsegError: If there is no such network, or what is known about it is damaged.
    """
    wrong: list[str] = []
    weights = folder.weights(name)
    found = read_known(weights, tell=wrong.append) if name in known else None
    if found is not None:
        shaped = found.network.channels, found.network.outputs
        if found.name != name:
            wrong.append(f"{weights.with_suffix('.json')} is about {found.name}.")
        elif shaped != shape or metric.key not in found.scores:
            wrong.append(f"{weights.with_suffix('.json')} is about a network of another run.")
    if found is None or wrong:
        raise ImsegError(
            f"{folder.path} has no readable network named {name!r}.",
            expected=", ".join(known),
            got=wrong[0] if wrong else "no such network.",
            hint="repeat the train command; only what is damaged is trained again."
            if wrong
            else "check its name.",
        )
    return found


def _refused(path: Path, wrong: str) -> ImsegError:
    return ImsegError(
        f"{path} does not hold what it must.", expected=_EXPECTED, got=wrong, hint=_HINT
    )
