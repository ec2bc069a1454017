"""A network and the same one trained again, compared to the bit."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from imseg.approaches.planning.plan import Plan
from imseg.approaches.planning.settings import settings_from
from imseg.approaches.running.experiment import fit
from imseg.approaches.runs.record import no_run, read_record, surroundings
from imseg.approaches.runs.run_files import Provenance, Record, Surroundings
from imseg.engine.hardware.device import resolve_device
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.training.checkpoint import path_of
from imseg.engine.training.job import Trained, TrainJob, read_known, read_trained
from imseg.engine.workers.executors import DoneReport, NoteReport, Serial, StepReport
from imseg.errors import ImsegError, TrainingFailed, parts_of
from imseg.networks.registry import CustomConfig, import_network, is_own
from imseg.progress import Event, Note, Planned, Progress, Stepped, Working, log_progress
from imseg.types import DataSet

COMPARED = ("scores", "epoch_scores", "losses", "best_epoch", "steps", "images")
"""What is compared of what is known about a network."""

Changes = dict[str, dict[str, Any]]
"""Values that differ, by what they are called: ``then`` in the run, and ``now``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrained:
    """How a network differs from the same one, trained again."""

    network: str
    """Its place in the run."""
    same_weights: bool
    """Whether all weights are the same to the bit."""
    same_job: bool
    """Whether both were trained on the same, by the hash of all that decides the result."""
    differing_tensors: tuple[str, ...]
    """Tensors that differ."""
    tensors: int
    """All tensors."""
    largest_difference: float
    """The largest difference of a weight; 0 where none differs."""
    differing_scores: Changes
    """What differs in scores, losses and steps."""
    differing_surroundings: Changes
    """What differs in versions and machine from those of the run's first call."""
    device: str
    """Where both were trained."""
    precision: str
    """Type of activations of both."""

    @property
    def same(self) -> bool:
        """Whether weights and scores are the same to the bit."""
        return self.same_weights and not self.differing_scores

    @property
    def exact(self) -> bool:
        """Whether equal bits are promised, with equal versions on the same machine."""
        return self.device == "cpu" and self.precision == "float32"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"network": self.network, "same": self.same, **asdict(self)}


def compared(
    folder: RunFolder, copy: RunFolder, then: Trained, now: Trained, plan: Plan
) -> Retrained:
    """Return how a network differs from the same one, trained again.

    Args:
        folder: The run.
        copy: Where it was trained again.
        then: What was known about it.
        now: What is known about it now.
        plan: How both were trained.
    """
    known = [{name: getattr(each, name) for name in COMPARED} for each in (then, now)]
    names, tensors, most = differing_weights(folder.weights(then.name), copy.weights(then.name))
    return Retrained(
        network=then.name,
        same_weights=not names,
        same_job=then.job == now.job,
        differing_tensors=tuple(names),
        tensors=tensors,
        largest_difference=most,
        differing_scores=_changes(*known),
        differing_surroundings=differing_surroundings(folder),
        device=plan.compute.device,
        precision=plan.compute.precision,
    )


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    # By their text: what is not a number is equal to itself there.
    pairs = {name: {"then": then.get(name), "now": value} for name, value in now.items()}
    return {name: pair for name, pair in pairs.items() if repr(pair["then"]) != repr(pair["now"])}


def differing_weights(one: Path, other: Path) -> tuple[list[str], int, float]:
    """Return the tensors of two files that differ, how many there are, and by how much at most.

    Args:
        one: Weights as safetensors.
        other: Others. Tensors that only one of the files has, or of another shape, differ by
            infinity.
    """
    ours, theirs = load_file(one), load_file(other)
    names = sorted({*ours, *theirs})
    if one.read_bytes() == other.read_bytes():
        return [], len(names), 0.0
    differing, most = [], 0.0
    for name in names:
        a, b = ours.get(name), theirs.get(name)
        if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
            differing.append(name)
            most = float("inf")
        elif not torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8)):
            differing.append(name)
            most = max(most, (a.double() - b.double()).abs().max().item())
    return differing, len(names), most


def differing_surroundings(folder: RunFolder) -> Changes:
    """Return what differs here and now in versions and machine from those of a run."""
    try:
        known = Provenance.read(folder.provenance)
    except ImsegError:
        return {}
    return _changes(_flat(known), _flat(surroundings()))


def _flat(known: Surroundings) -> dict[str, Any]:
    return {
        **{f"version of {name}": value for name, value in known.versions.items()},
        "commit of imseg": (known.git or {}).get("commit"),
        **{name: getattr(known, name) for name in ("python", "machine", "cores", "cpu", "gpu")},
    }


def retrain(
    path: str | Path,
    network: str,
    data: str | Path | DataSet,
    *,
    trust_network: bool = False,
    follow_links: bool = False,
    progress: Progress = log_progress,
) -> Retrained:
    """Train one network of a run again and return how it differs from the one in the run.

    It is trained in a temporary copy of the run, which shares unchanged files with it where the
    disk allows that; the run itself is not touched. All else is taken from the run as it is, and
    pseudo-labels are made anew by its networks. A run need not be finished, the network must be.

    Args:
        path: The run.
        network: Its place in the run, such as ``generation-1/network-0``.
        data: What the run was trained on.
        trust_network: As in ``load_run``.
        follow_links: As in ``read_folder``; what the run says about it does not count, because it
            may come from another person.
        progress: Told how it goes on.

    Raises:
        ImsegError: If the network is not there whole, was not made by us, or the data differs.
        TrainingFailed: If it cannot be trained.
    """
    folder = RunFolder(Path(path))
    record, then = _recorded(folder, network, trust_network=trust_network)
    with tempfile.TemporaryDirectory(prefix="imseg-verify-") as temporary:
        copy = RunFolder(Path(temporary) / "run")
        copy_run(folder, copy, without=network)
        asked = {**record.asked, "follow_links": follow_links}
        alone, settings = _Alone(network), settings_from(asked)

        def about_run(text: str) -> str:
            return text.replace(str(copy.path), str(folder.path))

        heard = _heard(progress, then, about_run)
        try:
            fit(data, out=copy.path, settings=settings, progress=heard, executor=alone)
        except _Reached:
            pass
        except ImsegError as error:
            raise _about(error, record, about_run) from error
        now = read_trained(copy.weights(network))
        if now is None:
            raise _not_alone(folder, network, alone.others)
        return compared(folder, copy, then, now, record.plan)


def copy_run(run: RunFolder, copy: RunFolder, *, without: str) -> None:
    """Copy a run but for one network, so that only this one is left to be trained.

    Files of a run are never changed, only replaced, so the copy shares them where the disk allows.
    The log, to which lines are added, is left out; so are stored images and the report.

    Args:
        run: What is copied.
        copy: Where to; must not be there.
        without: The network that is left out, with all that was written after it was trained.
    """
    stage = without.rpartition("/")[0]
    weights = run.weights(without)
    left_out = {weights, weights.with_suffix(".json"), path_of(weights), run.done(stage)}
    left_out |= {run.summary, run.log, run.path / "report.html"}
    for path in sorted(run.path.rglob("*")):
        inside = path.relative_to(run.path)
        if path.is_dir() or path in left_out or path.name.startswith("."):
            continue
        if inside.parts[0] in ("cache", "report"):
            continue
        there = copy.path / inside
        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, there)
        except OSError:
            shutil.copyfile(path, there)


def _recorded(folder: RunFolder, network: str, *, trust_network: bool) -> tuple[Record, Trained]:
    """Return the settings of a run, and what is known about one of its networks.

    Raises:
        ImsegError: If it cannot be trained again.
    """
    record = read_record(folder)
    if record is None:
        raise no_run(folder.path, expected="the folder of a run, finished or not.")
    finished = folder.path.glob("*/network-*.safetensors")
    there = sorted(f"{path.parent.name}/{path.stem}" for path in finished)
    if network not in there:
        raise ImsegError(
            f"{folder.path} has no finished network named {network!r}.",
            expected=", ".join(there) or "a run with finished networks.",
            got=network,
            hint="check its name.",
        )
    wrong: list[str] = []
    known = read_trained(folder.weights(network), tell=wrong.append)
    if known is None:
        raise ImsegError(
            f"{network} of {folder.path} is not whole, so nothing can be compared with it.",
            expected="whole weights, with their scores beside them.",
            got=wrong[0] if wrong else "no scores beside the weights.",
            hint="repeat the train command; only what is damaged is trained again.",
        )
    factories = {
        each.network.callable
        for name in there
        if (each := read_known(folder.weights(name))) and isinstance(each.network, CustomConfig)
    }
    asked = str(record.asked.get("network") or "")
    if is_own(asked):  # not to be imported because a file says so
        factories.add(asked)
    for factory in sorted(factories):
        named = CustomConfig(callable=factory)
        if trust_network and named.is_importable:
            import_network(named)
            continue
        trusted = "--trust-network, if you trust this run, or " if named.is_importable else ""
        raise ImsegError(
            f"{folder.path} was trained with a network of your own, which it does not hold.",
            expected="networks of imseg, such as unet.",
            got=factory,
            hint=f"{trusted}call imseg.fit with it and another folder, and compare the files.",
        )
    resolve_device(record.plan.compute.device)
    return record, known


class _Reached(BaseException):
    """The one network is trained: nothing else of the run is to be done."""


class _Alone(Serial):
    """Trains one network in this process and no other, and ends the run with it.

    Args:
        network: Its place in the run.
    """

    def __init__(self, network: str) -> None:
        super().__init__()
        self._network = network
        self.others: list[str] = []
        """Networks that would have to be trained before it."""

    def run(
        self, jobs: Sequence[TrainJob], *, stepped: StepReport, noted: NoteReport, done: DoneReport
    ) -> None:
        """Train the one network, if it is there.

        Raises:
            _Reached: Always.
        """
        chosen = [job for job in jobs if job.name == self._network]
        if not chosen:
            self.others = [job.name for job in jobs]
            raise _Reached

        def ended(job: TrainJob, trained: Trained | None, why: str) -> None:
            if trained is None:
                raise TrainingFailed(f"{job.name}: {why}")
            done(job, trained, why)

        super().run(chosen, stepped=stepped, noted=noted, done=ended)
        raise _Reached


def _heard(progress: Progress, then: Trained, about_run: Callable[[str], str]) -> Progress:
    """Return what passes on the events of the one network, as if they were about the run."""

    def heard(event: Event) -> None:
        match event:
            case Planned(first=True):
                progress(Planned(steps=then.steps, first=True))
            case Stepped() | Working():
                progress(event)
            case Note(warning=True):
                progress(Note(text=about_run(event.text), warning=True))
            case _:
                pass

    return heard


def _about(error: ImsegError, record: Record, about_run: Callable[[str], str]) -> ImsegError:
    """Return an error about the copy as one about the run."""
    parts = {name: part and about_run(part) for name, part in parts_of(error)[0].items()}
    if "--out" in (parts["hint"] or ""):  # what helps a training, and does not help here
        parts["hint"] = f"--data with the folder that the run was trained on, {record.data} then."
    return ImsegError(parts.pop("what") or "", **parts)


def _not_alone(folder: RunFolder, network: str, others: Sequence[str]) -> ImsegError:
    return ImsegError(
        f"{network} of {folder.path} cannot be trained alone.",
        expected="everything before it, whole.",
        got=f"{', '.join(others) or 'nothing'} would be trained first.",
        hint="repeat the train command; what is missing or damaged is trained again.",
    )
