"""Train what is not trained yet; finished networks are recognized by their job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from imseg.data.files.atomic import write_whole
from imseg.engine.storage.trained_files import Tell, read_known, read_trained, write_trained
from imseg.engine.training.checkpoint import forget
from imseg.engine.training.job import Trained, TrainJob
from imseg.engine.workers.executors import Executor
from imseg.progress import NetworkFinished, Note, Progress, Stepped
from imseg.tasks import Metric


def run_jobs(
    jobs: Sequence[TrainJob],
    executor: Executor,
    *,
    metric: Metric,
    elsewhere: Mapping[str, Path],
    progress: Progress,
) -> tuple[list[Trained], list[str]]:
    """Return the networks of all jobs, in the order of the jobs, and why any are missing.

    Args:
        jobs: What to train.
        executor: Who trains it.
        metric: How its score is told.
        elsewhere: Weights of finished networks by the digest of their job, to be taken over.
        progress: Told how it goes on.
    """
    trained: dict[str, Trained] = {}
    failures: list[str] = []
    waiting = []

    def tell(wrong: str) -> None:
        progress(Note(text=f"{wrong} The network is trained again.", warning=True))

    for job in jobs:
        earlier = _find(job, elsewhere, tell)
        if earlier is None:
            waiting.append(job)
        else:
            trained[job.name] = earlier
            announce(earlier, progress, metric=metric, reused=True)

    def stepped(job: TrainJob, steps: int, loss: float) -> None:
        progress(Stepped(network=job.name, steps=steps, loss=loss))

    def noted(job: TrainJob, text: str, warning: bool) -> None:
        progress(Note(text=f"{job.name}: {text}", warning=warning))

    def done(job: TrainJob, network: Trained | None, why: str) -> None:
        if network is None:
            failures.append(why)
            left = f"{len(jobs) - len(failures)} of {len(jobs)} networks are left"
            reason = why.removeprefix(f"{job.name}: ")
            progress(Note(text=f"{job.name} is left out, {left}: {reason}", warning=True))
            return
        trained[job.name] = network
        announce(network, progress, metric=metric)

    if waiting:
        executor.run(waiting, stepped=stepped, noted=noted, done=done)
    return [trained[job.name] for job in jobs if job.name in trained], failures


def announce(network: Trained, progress: Progress, *, metric: Metric, reused: bool = False) -> None:
    """Tell that a network is finished."""
    progress(
        NetworkFinished(
            network=network.name,
            steps=network.steps,
            score=metric.text(network.scores),
            seconds=0.0 if reused else network.seconds,
            reused=reused,
        )
    )


def index_networks(folder: Path) -> dict[str, Path]:
    """Return the weights of all finished networks below a folder by the digest of their job."""
    found = {}
    for path in sorted(folder.rglob("network-*.json")):
        weights = path.with_suffix(".safetensors")
        network = read_known(weights)  # its weights are looked at when they are taken
        if network is not None:
            found[network.job] = weights
    return found


def _find(job: TrainJob, elsewhere: Mapping[str, Path], tell: Tell) -> Trained | None:
    """Return the network if it was trained before, here or in the run to reuse."""
    digest = job.digest()
    here = read_trained(job.output, tell=tell)
    if here is not None and here.job == digest:
        forget(job.output)  # it may have been killed just before it did so itself
        return here
    weights = elsewhere.get(digest)
    if weights is None:
        return None
    known = read_trained(weights, tell=tell)
    if known is None:
        return None
    write_whole(job.output, weights.read_bytes())
    # What is known comes last, as after training; here the network has another place.
    write_trained(job.output, replace(known, name=job.name))
    return read_trained(job.output, tell=tell)
