"""The loop: train a stage, rank its networks, let the best teach the next."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.approach import Approach
from imseg.approaches.material import Material
from imseg.approaches.plan import Plan
from imseg.engine import seeds
from imseg.engine.executors import Executor
from imseg.engine.job import OUR_UNET, PAPER_UNET, Job, NetworkSpec, Part, Trained
from imseg.engine.networks import NetworkFactory, load_network
from imseg.engine.progress import NetworkFinished, Note, Planned, Progress, StageFinished, Stepped, Working
from imseg.engine.runs import RunFolder, read_json, write_json
from imseg.errors import TrainingFailed
from imseg.stages.label import PseudoLabels, pseudo_label
from imseg.tasks import task_for
from imseg.types import TargetSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A finished stage."""

    name: str
    """``start`` or ``generation-K``."""
    ranked: tuple[Trained, ...]
    """Its networks, best by validation first."""
    pseudo_labels: dict[str, Any] | None = None
    """How many images were pseudo-labeled and admitted, and how much teachers disagreed."""

    @property
    def best(self) -> Trained:
        """The network ranked first."""
        return self.ranked[0]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        scores = [network.scores["iou"] for network in self.ranked]
        described: dict[str, Any] = {
            "name": self.name,
            "best": self.best.name,
            "iou": self.best.scores["iou"],
            "mean_iou": statistics.fmean(scores),
            "spread_iou": statistics.stdev(scores) if len(scores) > 1 else 0.0,
            "networks": [_describe(network) for network in self.ranked],
        }
        if self.pseudo_labels is not None:
            described["pseudo_labels"] = self.pseudo_labels
        return described


class Generations:
    """Runs an approach inside a run folder, continuing after whatever is already there.

    Args:
        plan: What to do.
        spec: What mask values mean.
        channels: Image channels.
        material: What may be seen.
        folder: The run.
        executor: Who trains networks.
        progress: Told how it goes on.
        factory: The user's own network.
        reuse: A run or a folder of runs whose finished networks are taken over where jobs are equal.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        spec: TargetSpec,
        channels: int,
        material: Material,
        folder: RunFolder,
        executor: Executor,
        progress: Progress,
        factory: NetworkFactory | None = None,
        reuse: Path | None = None,
    ) -> None:
        self._plan = plan
        self._spec = spec
        self._channels = channels
        self._material = material
        self._folder = folder
        self._executor = executor
        self._progress = progress
        self._factory = factory
        self._finished_elsewhere = _index_networks(reuse) if reuse else {}
        self._task = task_for(spec, paper=plan.paper)
        self._steps_before = 0

    def run(self) -> list[Stage]:
        """Return all stages, the start first.

        Raises:
            TrainingFailed: If too few networks of a stage could be trained.
        """
        approach = self._plan.customized()
        first = approach.start or approach
        stages = [self._stage("start", first, self._labels_of(first))]
        for number in range(1, approach.generations + 1):
            name = f"generation-{number}"
            teachers = stages[-1].ranked[: self._plan.teachers]
            taught = self._taught(approach, name, teachers)
            if taught is not None and taught.admitted == 0:
                self._progress(
                    Note(
                        text=f"{name}: no unlabeled image was admitted, because the teachers agree on too"
                        " little. The run ends with the stage before; more labels would help most.",
                        warning=True,
                    )
                )
                break
            parts = self._labels_of(approach) + ((taught.part,) if taught else ())
            stages.append(self._stage(name, approach, parts, taught=taught))
        return stages

    def _labels_of(self, approach: Approach) -> tuple[Part, ...]:
        hidden = self._material.hidden if approach.labeled.hidden_too else None
        return (self._material.labeled, *([hidden] if hidden is not None else []))

    def _taught(
        self, approach: Approach, name: str, teachers: Sequence[Trained]
    ) -> PseudoLabels | None:
        """Return pseudo-labels by these teachers; None if the stage is finished and needs none."""
        if self._done_file(name).exists():
            return None
        store, consensus = self._material.unlabeled, approach.pseudo_label
        if store is None or consensus is None:
            raise ValueError(f"{approach.name} has no unlabeled images to learn from")
        numerics = self._plan.whole_machine
        networks = [
            load_network(
                self._folder.weights(teacher.name), teacher.network, numerics, factory=self._factory
            )
            for teacher in teachers
        ]
        labels = pseudo_label(
            store.images,
            store.digest,
            networks,
            consensus=consensus,
            select=approach.select,
            task=self._task,
            numerics=numerics,
            folder=self._folder.cache / name,
            progress=lambda done, total: self._progress(
                Working(what=f"{name}: pseudo-labels", done=done, total=total)
            ),
        )
        self._progress(
            Note(
                text=f"{name}: {labels.admitted} of {labels.images} unlabeled images admitted,"
                f" {labels.inconsistent_share:.1%} of their pixels inconsistent"
            )
        )
        return labels

    def _stage(
        self, name: str, approach: Approach, parts: tuple[Part, ...], *, taught: PseudoLabels | None = None
    ) -> Stage:
        """Return a stage, trained now or earlier."""
        done_file = self._done_file(name)
        if done_file.exists():
            stage = self._read_stage(name)
            for network in stage.ranked:
                self._announce(network, reused=True)
            return stage
        jobs = [self._job(name, approach, parts, j) for j in range(approach.networks)]
        self._plan_steps(approach, jobs)
        trained, failures = self._train(jobs)
        least = self._plan.teachers if self._plan.generations else 1
        if len(trained) < max(1, least):
            raise TrainingFailed(
                f"{name}: only {len(trained)} of {len(jobs)} networks could be trained"
                f" ({'; '.join(failures)})."
            )
        ranked = tuple(sorted(trained, key=lambda network: -network.scores["iou"]))
        described = None
        if taught is not None:
            described = {
                "images": taught.images,
                "admitted": taught.admitted,
                "inconsistent_share": taught.inconsistent_share,
            }
        order = [network.name for network in ranked]
        write_json(done_file, {"ranking": order, "failed": failures, "pseudo_labels": described})
        stage = Stage(name=name, ranked=ranked, pseudo_labels=described)
        self._progress(
            StageFinished(stage=name, best=stage.best.name, scores=stage.best.scores)
        )
        return stage

    def _job(self, stage: str, approach: Approach, parts: tuple[Part, ...], number: int) -> Job:
        name = f"{stage}/network-{number}"
        return Job(
            name=name,
            output=self._folder.weights(name),
            parts=parts,
            validation=self._material.validation,
            target=self._spec.as_dict(),
            network=NetworkSpec(
                channels=self._channels,
                outputs=self._spec.outputs,
                width=self._plan.width,
                factory=self._factory_name(),
            ),
            recipe=self._plan.recipe,
            numerics=self._plan.numerics,
            seed=seeds.derive(self._plan.seed, approach.name, stage, "network", number),
        )

    def _factory_name(self) -> str:
        if self._factory is None:
            return PAPER_UNET if self._plan.paper else OUR_UNET
        module = getattr(self._factory, "__module__", "unknown")
        name = getattr(self._factory, "__qualname__", type(self._factory).__qualname__)
        return f"{module}:{name}"

    def _train(self, jobs: Sequence[Job]) -> tuple[list[Trained], list[str]]:
        trained: list[Trained] = []
        failures: list[str] = []
        waiting = []
        for job in jobs:
            earlier = self._found(job)
            if earlier is None:
                waiting.append(job)
            else:
                trained.append(earlier)
                self._announce(earlier, reused=True)

        def stepped(job: Job, steps: int, loss: float) -> None:
            self._progress(Stepped(network=job.name, steps=steps, loss=loss))

        def done(job: Job, network: Trained | None, why: str) -> None:
            if network is None:
                failures.append(why)
                text = f"{job.name} is left out: {why}"
                self._progress(Note(text=text, warning=True))
                return
            trained.append(network)
            if network.retried:
                self._progress(
                    Note(
                        text=f"{job.name}: the loss stopped being a number; trained again with another"
                        " seed and half the learning rate",
                        warning=True,
                    )
                )
            self._announce(network)

        self._executor.run(waiting, stepped=stepped, done=done)
        trained.sort(key=lambda network: int(network.name.rpartition("-")[2]))
        return trained, failures

    def _found(self, job: Job) -> Trained | None:
        """Return the network if it was trained before, here or in the run to reuse."""
        here = _read_network(job.output)
        if here is not None and here.job == job.digest():
            return here
        weights = self._finished_elsewhere.get(job.digest())
        if weights is None:
            return None
        job.output.parent.mkdir(parents=True, exist_ok=True)
        for source, target in (
            (weights, job.output),
            (weights.with_suffix(".json"), job.output.with_suffix(".json")),
        ):
            temporary = target.with_name(f".{target.name}.tmp")
            shutil.copyfile(source, temporary)
            temporary.replace(target)
        return _read_network(job.output)

    def _read_stage(self, name: str) -> Stage:
        content = read_json(self._done_file(name))
        ranked = []
        for network in content["ranking"]:
            path = self._folder.weights(network).with_suffix(".json")
            ranked.append(Trained.from_json(path.read_bytes()))
        return Stage(name=name, ranked=tuple(ranked), pseudo_labels=content["pseudo_labels"])

    def _done_file(self, stage: str) -> Path:
        return self._folder.stage(stage) / "DONE"

    def _announce(self, network: Trained, *, reused: bool = False) -> None:
        self._progress(
            NetworkFinished(
                network=network.name,
                steps=network.steps,
                scores=network.scores,
                seconds=0.0 if reused else network.seconds,
                reused=reused,
            )
        )

    def _plan_steps(self, approach: Approach, jobs: Sequence[Job]) -> None:
        """Say how many steps there are in all, now that this stage's are known exactly."""
        this = sum(job.steps for job in jobs)
        later = 0
        if self._plan.generations:
            done = int(jobs[0].name.split("/")[0].rpartition("-")[2] or 0) if approach.start else 0
            store = self._material.unlabeled
            images = len(self._material.labeled.indices) + (len(store.names) if store else 0)
            later = (
                self._plan.recipe.steps(images)
                * self._plan.networks
                * (self._plan.generations - done)
            )
        self._progress(Planned(steps=self._steps_before + this + later))
        self._steps_before += this


def summarize(stages: Sequence[Stage], plan: Plan, *, began: float) -> dict[str, Any]:
    """Return what ``summary.json`` holds.

    Args:
        stages: All finished stages.
        plan: What was done.
        began: ``time.monotonic()`` at the start of this call of the command.
    """
    # The reference hands over its last generation; we hand over the best by validation.
    final = stages[-1] if plan.paper else max(stages, key=lambda stage: stage.best.scores["iou"])
    networks = [network for stage in stages for network in stage.ranked]
    return {
        "approach": plan.approach,
        "task": plan.task,
        "stage": final.name,
        "network": final.best.name,
        "ranking": [network.name for network in final.ranked],
        "validation": final.best.scores,
        "steps": sum(network.steps for network in networks),
        "flops": sum(network.flops for network in networks),
        "training_seconds": sum(network.seconds for network in networks),
        "seconds": time.monotonic() - began,
        "stages": [stage.as_dict() for stage in stages],
    }


def _describe(network: Trained) -> dict[str, Any]:
    return {
        "name": network.name,
        "scores": network.scores,
        "images": network.images,
        "steps": network.steps,
        "epochs": network.epochs,
        "best_epoch": network.best_epoch,
        "width": network.network.width,
        "parameters": network.parameters,
        "flops": network.flops,
        "seconds": network.seconds,
        "retried": network.retried,
    }


def _index_networks(folder: Path) -> dict[str, Path]:
    """Return the weights of all finished networks below a folder by the digest of their job."""
    found = {}
    for path in sorted(folder.rglob("network-*.json")):
        network = _read_network(path.with_suffix(".safetensors"))
        if network is not None:
            found[network.job] = path.with_suffix(".safetensors")
    return found


def _read_network(weights: Path) -> Trained | None:
    """Return what is known about a network, or None if it is not there whole."""
    if not weights.exists():
        return None
    try:
        return Trained.from_json(weights.with_suffix(".json").read_bytes())
    except (OSError, ValueError):
        return None
