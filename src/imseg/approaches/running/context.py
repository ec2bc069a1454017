"""What every stage of a run is made with: the plan, the material, the machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from imseg.approaches.methods.approach import Approach
from imseg.approaches.planning.duration import JUDGES, add_stage
from imseg.approaches.planning.plan import Plan
from imseg.approaches.planning.stages import Facts, planned_stages
from imseg.approaches.running.run_data import RunData
from imseg.approaches.running.stage import Stage, rank, read_stage
from imseg.components.labeling import LabelCounts
from imseg.engine.hardware.device import keep_freed_memory
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.training import seeds
from imseg.engine.training.clock import Clock
from imseg.engine.training.job import OUR_UNET, PAPER_UNET, Job, NetworkSpec, Recipe, Trained
from imseg.engine.training.networks import NetworkFactory, load_network, name_of_factory
from imseg.engine.training.sample_set import Copies, InitialWeights, SampleSet, UnlabeledViews
from imseg.engine.workers.executors import Executor
from imseg.engine.workers.jobs import announce, run_jobs
from imseg.errors import TrainingFailed
from imseg.progress import Event, NetworkFinished, Note, Planned, Progress, StageFinished, Working
from imseg.tasks import Metric, Task
from imseg.types import TargetSpec


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What every stage of a run is made with."""

    plan: Plan
    """What to do."""
    approach: Approach
    """The same, with the plan's numbers in its stages."""
    task: Task
    """What a pixel is."""
    facts: Facts
    """How much there is."""
    material: RunData
    """What may be seen."""
    folder: RunFolder
    """The run."""
    executor: Executor
    """Who trains networks."""
    progress: Progress
    """Told how it goes on."""
    factory: NetworkFactory | None = None
    """The user's own network."""
    elsewhere: Mapping[str, Path] = field(default_factory=dict)
    """Weights of finished networks by the digest of their job, to be taken over."""
    clock: Clock = field(default_factory=Clock)
    """Where the time goes."""

    @property
    def spec(self) -> TargetSpec:
        """What mask values mean."""
        return self.task.spec

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
                factory=self.factory,
                sha256=network.sha256,
            )
            for network in networks
        ]

    def labels_of(self, approach: Approach) -> tuple[SampleSet, ...]:
        """Return the parts that people labeled, as an approach uses them."""
        hidden = self.material.hidden if approach.labeled.hidden_too else None
        labeled = replace(self.material.labeled, copies=self._labeled_copies(approach))
        return (labeled, *([hidden] if hidden is not None else []))

    def _labeled_copies(self, approach: Approach) -> Copies | None:
        """Return how labeled images are disturbed; the same for all networks of a run."""
        if not approach.labeled.copies and not approach.labeled.online:
            return None
        return Copies(
            count=approach.labeled.copies,
            strength=self.plan.strength,
            rotate=self.plan.rotate,
            seed=seeds.derive(self.plan.seed, "labeled copies"),
            fresh=approach.labeled.fresh,
        )

    def jobs(
        self,
        stage: str,
        approach: Approach,
        parts: tuple[SampleSet, ...],
        *,
        width: float,
        recipe: Recipe,
        seeded_as: str | None = None,
        two_views: UnlabeledViews | None = None,
        beginning: InitialWeights | None = None,
    ) -> list[Job]:
        """Return the jobs of a stage.

        Args:
            stage: Its name.
            approach: Whose networks they are.
            parts: What they learn from.
            width: How wide they are.
            recipe: How they are trained.
            seeded_as: The stage whose seeds they have; None for its own.
            two_views: Unlabeled images that a second pass of each epoch learns from.
            beginning: Weights they begin with.
        """
        network = NetworkSpec(
            channels=self.facts.channels,
            outputs=self.spec.outputs,
            width=width,
            factory=self._factory_name(width),
        )
        if two_views is None:  # else there is a look after either pass
            recipe = self.looked_at(recipe, parts, self.material.validation)
        seeded = stage if seeded_as is None else seeded_as
        names = [f"{stage}/network-{number}" for number in range(approach.networks)]
        return [
            Job(
                name=name,
                output=self.folder.weights(name),
                parts=parts,
                validation=self.material.validation,
                target=self.spec.as_dict(),
                network=network,
                recipe=recipe,
                compute=self.plan.compute,
                seed=seeds.derive(self.plan.seed, approach.name, seeded, "network", number),
                two_views=two_views,
                beginning=beginning,
            )
            for number, name in enumerate(names)
        ]

    def looked_at(
        self, recipe: Recipe, parts: Sequence[SampleSet], validation: SampleSet
    ) -> Recipe:
        """Return a recipe with as many looks at the validation part as the plan wants."""
        samples = sum(part.samples for part in parts)
        return self.plan.looked_at(recipe, samples=samples, validation=len(validation.indices))

    def _factory_name(self, width: float) -> str:
        if self.factory is None:
            return PAPER_UNET if self.plan.paper else OUR_UNET
        return name_of_factory(
            self.factory, channels=self.facts.channels, outputs=self.spec.outputs, width=width
        )

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
        jobs: Sequence[Job],
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
        planned = planned_stages(self.plan, self.facts)
        place = [stage.name for stage in planned].index(name)
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
        judges = any(job.parts[0].qualities is not None for job in jobs)
        whole = JUDGES if judges else None
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
