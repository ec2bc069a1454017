"""What every stage of a run is made with: the plan, the data, the machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from torch import nn

from imseg.approaches.methods.approach import Approach
from imseg.approaches.planning.duration import SCORERS, add_stage
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.stages import StagePlan, planned_stages
from imseg.approaches.running.run_data import RunData
from imseg.approaches.running.stage import Stage, rank, read_stage
from imseg.components.labeling import LabelCounts
from imseg.engine.hardware.device import keep_freed_memory
from imseg.engine.loading.samples import Copies, InitialWeights, SampleSet, UnlabeledViews
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.training import seeds
from imseg.engine.training.job import Trained, TrainJob, hash_of, load_network
from imseg.engine.training.monitor import Clock
from imseg.engine.workers.executors import Executor, announce, run_jobs
from imseg.errors import TrainingFailed
from imseg.networks.registry import find_weights
from imseg.ops.photometric import Strength
from imseg.progress import Event, NetworkFinished, Note, Planned, Progress, StageFinished, Working
from imseg.tasks import Metric, Task
from imseg.types import TargetSpec


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What every stage of a run is made with."""

    plan: Plan
    """What to do."""
    task: Task
    """What a pixel is."""
    facts: Facts
    """How much there is."""
    data: RunData
    """What may be seen."""
    folder: RunFolder
    """The run."""
    executor: Executor
    """Trains networks."""
    progress: Progress
    """Told how it goes on."""
    elsewhere: Mapping[str, Path] = field(default_factory=dict)
    """Weights of finished networks by the digest of their job, to be taken over."""
    clock: Clock = field(default_factory=Clock)
    """Where the time goes."""

    @property
    def approach(self) -> Approach:
        """What is carried out."""
        return self.plan.approach

    @property
    def spec(self) -> TargetSpec:
        """What mask values mean."""
        return self.task.spec

    @cached_property
    def stages(self) -> dict[str, StagePlan]:
        """The planned stages, by name."""
        return {stage.name: stage for stage in planned_stages(self.plan, self.facts)}

    def note(self, text: str, *, warning: bool = False) -> None:
        """Tell the user something."""
        self.progress(Note(text=text, warning=warning))

    def working(self, what: str, done: int, total: int) -> None:
        """Tell how countable work goes on."""
        self.progress(Working(what=what, done=done, total=total))

    def load(self, networks: Sequence[Trained]) -> list[nn.Module]:
        """Return trained networks in inference mode, to predict with the whole machine."""
        keep_freed_memory()  # where others train, this process has not been asked to yet
        return [
            load_network(
                self.folder.weights(network.name),
                network.network,
                self.plan.whole_machine,
                channels=network.channels,
                outputs=network.outputs,
                sha256=network.sha256,
            )
            for network in networks
        ]

    def labels_of(self, approach: Approach) -> tuple[SampleSet, ...]:
        """Return the sample sets that people labeled, as an approach uses them."""
        hidden = self.data.hidden if approach.labeled.hidden_too else None
        labeled = replace(self.data.labeled, copies=self._labeled_copies(approach))
        return (labeled, *([hidden] if hidden is not None else []))

    def _labeled_copies(self, approach: Approach) -> Copies | None:
        """Return how labeled images are augmented; the same for all networks of a run."""
        if not approach.labeled.copies and not approach.labeled.online:
            return None
        return Copies(
            count=approach.labeled.copies,
            strength=self.plan.strengths.labeled_copies,
            rotate=self.plan.rotate,
            seed=seeds.derive(self.plan.seed, "labeled copies"),
            fresh=approach.labeled.fresh,
        )

    def jobs(
        self,
        stage: str,
        samples: tuple[SampleSet, ...],
        *,
        validation: SampleSet | None = None,
        initial: InitialWeights | None = None,
    ) -> list[TrainJob]:
        """Return the jobs of a stage.

        Args:
            stage: Its name.
            samples: What its networks learn from.
            validation: What they are chosen by; None: the validation images.
            initial: Weights they begin with; None: those of the network, or random ones.
        """
        planned = self.stages[stage]
        return planned.jobs(
            self.plan,
            self.spec,
            self.folder.path,
            channels=self.facts.channels,
            samples=samples,
            validation=validation or self.data.validation,
            unlabeled=self._unlabeled() if planned.objective.uses_unlabeled else None,
            initial=initial or self._initial(planned),
        )

    def _unlabeled(self) -> UnlabeledViews:
        """Return the unlabeled images, not augmented yet."""
        store = self.data.unlabeled
        if store is None:
            raise ValueError(f"{self.approach.name} has no unlabeled images to learn from")
        return UnlabeledViews(
            images=store.images,
            digest=store.digest,
            indices=tuple(range(len(store.names))),
            strength=Strength(),
            moves=self.plan.moves_views,
            rotate=self.plan.rotate,
        )

    def _initial(self, stage: StagePlan) -> InitialWeights | None:
        """Return the weights that the network of a stage is given to begin with, if any."""
        if stage.network.weights is None:
            return None
        path = find_weights(stage.network.weights).resolve()
        return InitialWeights(weights=path, digest=hash_of(path))

    def finished(self, name: str, metric: Metric) -> Stage | None:
        """Return a stage that was finished earlier, and tell of its networks; else None."""
        earlier = read_stage(self.folder, name, metric=metric)
        if earlier is not None:
            for network in earlier.ranked:
                announce(network, self.progress, metric=metric, reused=True)
            if earlier.failed:
                self.note(f"{name} goes on as it was finished: {earlier.missing}", warning=True)
        return earlier

    def train(
        self,
        name: str,
        jobs: Sequence[TrainJob],
        *,
        metric: Metric,
        least: int,
        before: int,
        described: LabelCounts | None = None,
    ) -> Stage:
        """Return a stage whose networks are trained now, ranked but not yet written.

        Args:
            name: Of the stage.
            jobs: Its networks.
            metric: What they are ranked by.
            least: Networks that the rest of the run needs.
            before: Optimizer steps of the stages before.
            described: What is told about its pseudo-labels.

        Raises:
            TrainingFailed: If too few of them could be trained.
        """
        planned = list(self.stages.values())
        place = list(self.stages).index(name)
        later = sum(stage.networks * stage.steps for stage in planned[place + 1 :])
        self.progress(Planned(steps=before + sum(job.steps for job in jobs) + later))
        began = time.monotonic()
        taken_over: set[str] = set()

        def passed_on(event: Event) -> None:
            if isinstance(event, NetworkFinished) and event.reused:
                taken_over.add(event.network)
            self.progress(event)

        trained, failures = run_jobs(
            jobs, self.executor, metric=metric, elsewhere=self.elsewhere, progress=passed_on
        )
        whole = SCORERS if self.stages[name].scores_masks else None
        fresh = [network for network in trained if network.name not in taken_over]
        add_stage(self.clock, time.monotonic() - began, fresh, whole=whole)
        if len(trained) < least:
            raise TrainingFailed(
                f"{name}: only {len(trained)} of {len(jobs)} networks could be trained"
                f" ({'; '.join(failures)})."
            )
        return rank(name, trained, metric=metric, failed=failures, pseudo_labels=described)

    def finish(self, stage: Stage) -> Stage:
        """Write a stage's last file and tell of it."""
        stage.write(self.folder)
        score = stage.metric.text(stage.best.scores)
        self.progress(StageFinished(stage=stage.name, best=stage.best.name, score=score))
        return stage
