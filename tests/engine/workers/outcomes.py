"""What becomes of the jobs that are given to an executor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from imseg.engine.training.job import Trained, TrainJob
from imseg.engine.workers.executors import Executor, StepReport


@dataclass
class Outcome:
    """What an executor said about some jobs."""

    ended: dict[str, Trained | None] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    notes: list[tuple[str, str, bool]] = field(default_factory=list)

    def done(self, job: TrainJob, trained: Trained | None, why: str) -> None:
        """Keep how a job ended."""
        assert job.name not in self.ended, "a job ends once"
        self.ended[job.name] = trained
        if trained is None:
            self.reasons.append(why)

    def noted(self, job: TrainJob, text: str, warning: bool) -> None:
        """Keep a note."""
        self.notes.append((job.name, text, warning))


def train_all(
    executor: Executor,
    jobs: Sequence[TrainJob],
    *,
    stepped: StepReport = lambda *_: None,
    outcome: Outcome | None = None,
) -> Outcome:
    """Return what became of each job; given an outcome, it is filled also where this raises."""
    outcome = outcome or Outcome()
    with executor:
        executor.run(jobs, stepped=stepped, noted=outcome.noted, done=outcome.done)
    return outcome
