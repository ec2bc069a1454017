"""What every stage of a run is made with: the plan, the data, the machine."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from imseg.approaches.methods.approach import Approach
from imseg.approaches.planning.duration import SCORERS, add_stage
from imseg.approaches.planning.plan import Facts
from imseg.approaches.planning.stage_plan import StagePlan, planned_stages, planned_steps
from imseg.approaches.running import run_data, teachers
from imseg.approaches.running.stage import Stage, missing_in_words, rank, read_stage, scorers_metric
from imseg.components.labeling import LabelCounts
from imseg.engine.loading.samples import Copies, InitialWeights, SampleSet, UnlabeledViews
from imseg.engine.training import seeds
from imseg.engine.training.job import TrainJob, hash_of
from imseg.engine.training.monitor import Clock
from imseg.engine.workers.executors import Executor, announce, run_jobs
from imseg.errors import TrainingFailed
from imseg.ops.photometric import Strength
from imseg.progress import Event, NetworkFinished, Note, Planned, Progress, StageFinished
from imseg.tasks import Metric
from imseg.types import TargetSpec


@dataclass(frozen=True, kw_only=True)
class RunContext(teachers.RunNetworks):
    """What every stage of a run is made with."""

    facts: Facts
    """How much there is."""
    data: run_data.RunData
    """What may be seen."""
    executor: Executor
    """Trains networks."""
    progress: Progress
    """Told how it goes on."""
    elsewhere: Mapping[str, Path] = field(default_factory=dict)
    """Weights of finished networks by the digest of their job, to be taken over."""
    clock: Clock = field(default_factory=Clock)
    """Where the time goes."""
    done: list[Stage] = field(default_factory=list)
    """Finished stages, in the order of the plan."""

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

    def working(self, what: str) -> Callable[[int, int], None]:
        """Return what tells how countable work goes on."""
        return run_data.counting(self.progress, what)

    def metric(self, stage: str) -> Metric:
        """Return what the networks of a stage are ranked by."""
        return scorers_metric(self.plan) if self.stages[stage].scores_masks else self.task.metric

    def labels_of(self, approach: Approach) -> tuple[SampleSet, ...]:
        """Return the sample sets that people labeled, as an approach uses them."""
        hidden = self.data.hidden if approach.labeled.hidden_too else None
        labeled = replace(self.data.labeled, copies=self._labeled_copies(approach))
        return (labeled, *([hidden] if hidden is not None else []))

    def _labeled_copies(self, approach: Approach) -> Copies | None:
        """Return how labeled images are augmented; the same for all networks of a run."""
        as_published = self.plan.recipe.augmentation.level == "paper"
        if not approach.labeled.copies and not (approach.labeled.online and as_published):
            return None
        return Copies(
            count=approach.labeled.copies,
            strength=self.plan.strengths.labeled_copies if as_published else None,
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
            self.facts,
            self.spec,
            self.folder.path,
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
            window=self.plan.window,
        )

    def _initial(self, stage: StagePlan) -> InitialWeights | None:
        """Return the weights that the network of a stage is given to begin with, if any."""
        if stage.network.begins_with is None:
            return None
        path = stage.network.weights_file().resolve()
        return InitialWeights(weights=path, digest=hash_of(path))

    def from_labels(self, name: str, approach: Approach, *, least: int) -> Stage:
        """Return a stage that learns from labels alone, trained now or earlier.

        Args:
            name: Of the stage.
            approach: Which labels it learns from.
            least: Networks that the rest of the run needs.

        Raises:
            TrainingFailed: If too few of them could be trained.
        """
        earlier = self.finished(name)
        if earlier is not None:
            return earlier
        return self.finish(self.train(name, self.jobs(name, self.labels_of(approach)), least=least))

    def finished(self, name: str) -> Stage | None:
        """Return a stage that was finished earlier, and tell of its networks; else None."""
        metric = self.metric(name)
        earlier = read_stage(self.folder, name, metric=metric)
        if earlier is not None:
            for network in earlier.ranked:
                announce(network, self.progress, metric=metric, reused=True)
            if earlier.failed:
                missing = missing_in_words(len(earlier.ranked), earlier.failed)
                self.note(f"{name} goes on as it was finished: {missing}", warning=True)
            self.done.append(earlier)
        return earlier

    def train(
        self,
        name: str,
        jobs: Sequence[TrainJob],
        *,
        least: int,
        described: LabelCounts | None = None,
    ) -> Stage:
        """Return a stage whose networks are trained now, ranked but not yet written.

        Args:
            name: Of the stage.
            jobs: Its networks.
            least: Networks that the rest of the run needs.
            described: What is told about its pseudo-labels.

        Raises:
            TrainingFailed: If too few of them could be trained.
        """
        metric, place = self.metric(name), list(self.stages).index(name)
        before = sum(stage.steps for stage in self.done)
        later = planned_steps(list(self.stages.values())[place + 1 :])
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
        self.done.append(stage)
        score = stage.metric.text(stage.best.scores)
        self.progress(StageFinished(stage=stage.name, best=stage.best.name, score=score))
        return stage
