"""The loop: train a stage, rank its networks, let the best teach the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from imseg.approaches.approach import Approach
from imseg.approaches.material import Material
from imseg.approaches.plan import Plan
from imseg.approaches.stage import Stage, rank, read_stage
from imseg.engine import seeds
from imseg.engine.executors import Executor
from imseg.engine.job import OUR_UNET, PAPER_UNET, Job, NetworkSpec, Trained
from imseg.engine.jobs import announce, index_networks, run_jobs
from imseg.engine.networks import NetworkFactory, load_network, name_of_factory
from imseg.engine.part import Copies, Part
from imseg.engine.progress import Note, Planned, Progress, StageFinished, Working
from imseg.engine.runs import RunFolder
from imseg.errors import TrainingFailed
from imseg.stages.label import PseudoLabels, pseudo_label
from imseg.tasks import task_for
from imseg.types import TargetSpec


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
        reuse: A run or a folder of runs whose finished networks are taken over where jobs are
            equal.
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
        self._elsewhere = index_networks(reuse) if reuse else {}
        self._task = task_for(spec, paper=plan.paper)
        self._steps_before = 0

    def run(self) -> list[Stage]:
        """Return all stages, the start first.

        Raises:
            TrainingFailed: If too few networks of a stage could be trained.
        """
        approach = self._plan.customized()
        first = approach.start or approach
        left = approach.generations
        stages = [self._stage("start", first, self._labels_of(first), generations_left=left)]
        for number in range(1, approach.generations + 1):
            name = f"generation-{number}"
            teachers = stages[-1].ranked[: self._plan.teachers]
            taught = self._taught(approach, name, teachers)
            if taught is not None and taught.admitted == 0:
                self._progress(
                    Note(
                        text=f"{name}: no unlabeled image was admitted, because the teachers agree"
                        " on too little. The run ends with the stage before; more labels would"
                        " help most.",
                        warning=True,
                    )
                )
                break
            parts = self._labels_of(approach) + ((taught.part,) if taught else ())
            left = approach.generations - number
            stages.append(self._stage(name, approach, parts, generations_left=left, taught=taught))
        return stages

    def _labels_of(self, approach: Approach) -> tuple[Part, ...]:
        hidden = self._material.hidden if approach.labeled.hidden_too else None
        labeled = replace(self._material.labeled, copies=self._copies(approach))
        return (labeled, *([hidden] if hidden is not None else []))

    def _copies(self, approach: Approach) -> Copies | None:
        """Return how labeled images are disturbed; the same for all networks of a run."""
        if not approach.labeled.copies and not approach.labeled.online:
            return None
        return Copies(
            count=approach.labeled.copies,
            strength=self._plan.strength,
            rotate=self._plan.rotate,
            seed=seeds.derive(self._plan.seed, "labeled copies"),
        )

    def _taught(
        self, approach: Approach, name: str, teachers: Sequence[Trained]
    ) -> PseudoLabels | None:
        """Return pseudo-labels by these teachers; None if the stage is finished and needs none."""
        if read_stage(self._folder, name, metric=self._task.metric) is not None:
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
        self,
        name: str,
        approach: Approach,
        parts: tuple[Part, ...],
        *,
        generations_left: int,
        taught: PseudoLabels | None = None,
    ) -> Stage:
        """Return a stage, trained now or earlier."""
        earlier = read_stage(self._folder, name, metric=self._task.metric)
        if earlier is not None:
            for network in earlier.ranked:
                announce(network, self._progress, metric=self._task.metric, reused=True)
            self._steps_before += sum(network.steps for network in earlier.ranked)
            return earlier
        jobs = [self._job(name, approach, parts, j) for j in range(approach.networks)]
        self._plan_steps(jobs, generations_left)
        trained, failures = run_jobs(
            jobs,
            self._executor,
            metric=self._task.metric,
            elsewhere=self._elsewhere,
            progress=self._progress,
        )
        least = self._plan.teachers if generations_left else 1
        if len(trained) < least:
            raise TrainingFailed(
                f"{name}: only {len(trained)} of {len(jobs)} networks could be trained"
                f" ({'; '.join(failures)})."
            )
        described = taught.as_dict() if taught is not None else None
        stage = rank(
            name, trained, metric=self._task.metric, failed=failures, pseudo_labels=described
        )
        stage.write(self._folder)
        self._progress(
            StageFinished(
                stage=name,
                best=stage.best.name,
                score=self._task.metric.text(stage.best.scores),
            )
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
        return name_of_factory(
            self._factory,
            channels=self._channels,
            outputs=self._spec.outputs,
            width=self._plan.width,
        )

    def _plan_steps(self, jobs: Sequence[Job], generations_left: int) -> None:
        """Say how many steps there are in all, now that this stage's are known exactly."""
        now = sum(job.steps for job in jobs)
        store = self._material.unlabeled
        labeled = self._plan.customized().labeled.samples * len(self._material.labeled.indices)
        images = labeled + (len(store.names) if store else 0)
        later = self._plan.recipe.steps(images) * self._plan.networks * generations_left
        self._progress(Planned(steps=self._steps_before + now + later))
        self._steps_before += now
