"""What training costs, measured with what trains: real steps of a real job on made-up images.

``python -m imseg.engine.hardware.benchmark`` answers requests that come in as JSON lines;
``Prober`` asks several such processes at once, because networks side by side share the memory's
bandwidth.
"""

import contextlib
import functools
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import TypeAdapter
from torch import nn

from imseg.data.cache import store, stored_arrays
from imseg.engine.hardware.device import keep_freed_memory, leave_first, peak_memory
from imseg.engine.inference.predictor import BATCH, scorer_logits, vote
from imseg.engine.loading.samples import SampleSet, as_input
from imseg.engine.training.job import TrainJob, build
from imseg.engine.training.learner import EpochState, Learner
from imseg.engine.training.monitor import BATCHES, STEPS, VALIDATION, Clock, Listener
from imseg.engine.training.objectives.objective import AnyStep
from imseg.engine.workers.worker_process import serve_parent, start, write_to
from imseg.errors import ImsegError
from imseg.networks.registry import EvalNetConfig, Network
from imseg.tasks.quality import quality_for

IN_A_ROW = 8
"""Predictions after which a GPU is waited for."""
EPOCH = 6
"""Full batches of an epoch on made-up images, at most."""
LEAST_STEPS = 4
"""Steps that are timed at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRequest:
    """What is measured: the training of a network, or its predictions."""

    what: Literal["training", "predicting"]
    """Training (batches, steps and validation), or prediction alone."""
    job: TrainJob
    """What is trained; its images are made up here, as many as it names but not too many."""
    size: tuple[int, int]
    """Height and width of the images."""
    seconds: float = 1.6
    """How long each thing is repeated, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """Seconds and bytes; 0 is what was not asked for."""

    step: float = 0.0
    """Seconds of an optimizer step, averaged over the batches of an epoch."""
    batch: float = 0.0
    """Seconds for making the batch of such a step."""
    first: float = 0.0
    """Seconds that the very first step takes beyond that: memory is handed out by the system."""
    validation: float = 0.0
    """Seconds of the validation on one image."""
    opening: float = 0.0
    """Seconds for making the optimizer, and for loading the compiler if steps are compiled."""
    aside: float = 0.0
    """Seconds for making the network and counting its operations."""
    prediction: float = 0.0
    """Seconds of a prediction for one image."""
    decision: float = 0.0
    """Seconds of a vote about one image."""
    memory: int = 0
    """Peak bytes of the process so far."""
    device_memory: int = 0
    """Peak bytes taken on a GPU so far."""
    at_once: int | None = None
    """Images of a step whose gradients are computed at once where memory is short; None: all."""
    compiled: bool = False
    """Whether steps were compiled, and that worked."""


def measure_here(
    request: BenchmarkRequest, *, meet: Callable[[], object] = lambda: None
) -> BenchmarkResult:
    """Return what was measured in this process.

    Args:
        request: What is wanted.
        meet: Waits until others that measure at the same time are ready too.
    """
    device = torch.device(request.job.compute.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with tempfile.TemporaryDirectory(prefix="imseg-benchmark-") as folder:
        job = make_up(request.job, request.size, Path(folder))
        measure = _training if request.what == "training" else _predicting
        found = measure(job, request, meet)
    device_memory = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0
    return replace(found, memory=peak_memory(), device_memory=device_memory)


def _store(path: Path, rows: npt.NDArray[Any]) -> None:
    with stored_arrays.new_array(path, rows.dtype, rows.shape) as array:
        array.put_all(0, rows)


def make_up(job: TrainJob, size: tuple[int, int], folder: Path) -> TrainJob:
    """Return a job that goes on without end, with made-up images in place of those it names.

    Args:
        job: Its sample sets say how many images there are, and how they are augmented.
        size: Height and width of the images.
        folder: Where the images go.
    """
    batch = job.recipe.batch_size
    unlabeled = 0 if job.unlabeled is None else len(job.unlabeled.indices)
    share = min(1.0, EPOCH * batch / max(1, job.images + unlabeled))

    def few(count: int) -> int:
        return max(min(count, batch), round(count * share))

    random = np.random.default_rng(0)
    rows = max(few(len(each.indices)) for each in (*job.samples, job.validation))
    rows = max(rows, few(unlabeled), BATCH)
    images = random.integers(0, 256, (rows, *size, job.channels), dtype=np.uint8)
    _store(folder / "images.npy", images)
    # What a network could say is a target of the right kind, whatever the kind is.
    task = job.task
    smooth = torch.randn(rows, task.spec.outputs, 4, 4, generator=torch.Generator().manual_seed(0))
    logits = nn.functional.interpolate(smooth, size=size, mode="bilinear") * 4
    targets = task.discretize(task.probabilities(logits)).numpy().astype(task.spec.dtype)
    _store(folder / "targets.npy", targets)
    if job.validation.qualities is not None:
        heads = getattr(job.network, "heads", 1)
        qualities = np.full((rows, heads, job.outputs), 0.5, np.float32)
        _store(folder / "qualities.npy", qualities)

    def made(samples: SampleSet, count: int) -> SampleSet:
        return replace(
            samples,
            images=folder / "images.npy",
            targets=folder / "targets.npy",
            indices=tuple(range(count)),
            qualities=samples.qualities and folder / "qualities.npy",
        )

    return replace(
        job,
        samples=tuple(made(each, few(len(each.indices))) for each in job.samples),
        validation=made(job.validation, min(BATCH, len(job.validation.indices))),
        unlabeled=job.unlabeled
        and replace(
            job.unlabeled, images=folder / "images.npy", indices=tuple(range(few(unlabeled)))
        ),
        objective=job.objective.settled(),
        recipe=replace(job.recipe, epochs=10**6, max_steps=None, validate_every=1),
        output=folder / "network.safetensors",
        initial=None,
    )


def _training(
    job: TrainJob, request: BenchmarkRequest, meet: Callable[[], object]
) -> BenchmarkResult:
    """Return what the training of a network costs."""
    clock = Clock()
    with clock.on("aside"):
        objective = job.objective.open(job)
        network = build(job.network, job.compute, channels=job.channels, outputs=job.outputs)
        learning = objective.begin(network)
    with clock.on("opening"):
        learner = Learner(learning, job, objective, listener=Listener(), clock=clock)
    passes = objective.passes()
    steps = next(passes)
    learner.learn(itertools.islice(steps, 1))
    steps = next(passes)  # a pass may have been that one step
    first = clock.seconds[STEPS] + clock.seconds[BATCHES]
    meet()
    clock.resume(0.0, {name: clock.seconds[name] for name in ("aside", "opening")})
    made, end, validations = 0, time.monotonic() + request.seconds, 0
    # Whole passes, two at least: those over labeled and unlabeled images may differ.
    while validations < 2 or made < LEAST_STEPS or time.monotonic() < end:
        state = EpochState()
        learner.learn(_within(steps, end, least=2), state)
        made += state.steps
        with clock.on(VALIDATION):
            objective.score(objective.kept(learning))
        validations += 1
        steps = next(passes)
    with clock.on("aside"):
        objective.flops(learning)
    seconds = clock.seconds
    step, batch = seconds[STEPS] / made, seconds[BATCHES] / made
    looked_at = len(job.validation.indices) * validations
    return BenchmarkResult(
        step=step,
        batch=batch,
        first=max(0.0, first - step - batch),
        validation=seconds[VALIDATION] / looked_at,
        opening=seconds["opening"],
        aside=seconds["aside"],
        at_once=learner.most,
        compiled=learner.compiled,
    )


def _within(steps: Iterator[AnyStep], end: float, *, least: int) -> Iterator[AnyStep]:
    """Yield steps until a time, some of them in any case."""
    for number, step in enumerate(steps):
        if number >= least and time.monotonic() >= end:
            return
        yield step


def _predicting(
    job: TrainJob, request: BenchmarkRequest, meet: Callable[[], object]
) -> BenchmarkResult:
    """Return what predictions cost."""
    compute, task = job.compute, job.task
    network = build(job.network, compute, channels=job.channels, outputs=job.outputs).eval()
    stored = store.open_array(job.validation.images)[:BATCH].copy()

    def repeated(work: Callable[[], object], share: float) -> float:
        work()
        meet()
        return _repeated(work, seconds=request.seconds * share, device=compute.device) / BATCH

    if isinstance(job.network, EvalNetConfig):
        quality = quality_for(task)
        pixels = torch.from_numpy(stored).to(compute.device).permute(0, 3, 1, 2)
        masks = torch.from_numpy(store.open_array(job.validation.targets)[:BATCH].copy())
        masks = masks.to(compute.device)

        def score() -> None:
            with torch.inference_mode(), compute.applied():
                images = as_input(pixels, compute)
                scorer_logits(network, images, masks, quality=quality, compute=compute).cpu()

        return BenchmarkResult(prediction=repeated(score, 0.3))
    votes = vote([network, network], stored, task, compute)

    def decide() -> None:
        with compute.applied():
            task.vote(votes)

    return BenchmarkResult(
        prediction=repeated(lambda: vote([network], stored, task, compute), 0.3),
        decision=repeated(decide, 0.1),
    )


def _repeated(work: Callable[[], object], *, seconds: float, device: str) -> float:
    """Return the mean seconds of work that is repeated for a time."""
    on_gpu = torch.device(device).type == "cuda"
    # A GPU is waited for only now and then, as in a training.
    times, end = IN_A_ROW if on_gpu else 1, time.monotonic() + seconds
    took: list[float] = []
    while not took or time.monotonic() < end:
        began = time.monotonic()
        for _ in range(times):
            work()
        if on_gpu:
            torch.cuda.synchronize(device)
        took.append((time.monotonic() - began) / times)
    return sum(took) / len(took)


def main() -> None:
    """Answer requests until the input ends."""
    answers = serve_parent()
    leave_first()
    torch.zeros(1)

    def tell(text: str) -> None:
        answers.write(text + "\n")
        answers.flush()

    def meet() -> None:
        tell(json.dumps({"warm": True}))
        sys.stdin.readline()

    tell(json.dumps({"ready": peak_memory()}))
    met = functools.lru_cache(maxsize=1)(meet)  # once per request
    for line in iter(sys.stdin.readline, ""):
        met.cache_clear()
        found = measure_here(TypeAdapter(BenchmarkRequest).validate_json(line), meet=met)
        tell(TypeAdapter(BenchmarkResult).dump_json(found).decode())


class Prober:
    """Measures in processes that are started as those that train are.

    Args:
        processes: How many are busy at once; 0 to measure in this process, where networks on a GPU
            and some of users' own are trained too.
        threads: Threads of each.
    """

    def __init__(self, processes: int, *, threads: int) -> None:
        if not processes:
            keep_freed_memory()
        command = [sys.executable, "-P", "-m", "imseg.engine.hardware.benchmark"]
        began = time.monotonic()
        self._processes = [start(command, threads=threads) for _ in range(processes)]
        try:
            for process in self._processes:
                json.loads(_line_of(process))
        except BaseException:
            self.close()
            raise
        self.start_up = time.monotonic() - began if processes else 0.0
        """Seconds until a training process is ready; 0 where none is started."""

    def ask(self, request: BenchmarkRequest, *, side_by_side: bool) -> BenchmarkResult:
        """Return what was measured: the mean of all processes, and the peak of any.

        Args:
            request: What is wanted.
            side_by_side: Whether all processes measure at once, or one alone.

        Raises:
            ImsegError: If a process ends, as for a lack of memory.
        """
        if not self._processes:
            return measure_here(request)
        asked = self._processes if side_by_side else self._processes[:1]
        text = TypeAdapter(BenchmarkRequest).dump_json(request).decode() + "\n"
        for process in asked:
            write_to(process, text)
        with ThreadPoolExecutor(len(asked)) as pool:
            list(pool.map(_line_of, asked))  # all are warm
            for process in asked:
                write_to(process, "go\n")
            lines = list(pool.map(_line_of, asked))
        return mean_answer([TypeAdapter(BenchmarkResult).validate_json(line) for line in lines])

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            with contextlib.suppress(OSError), process:
                pass  # its pipes are closed, and it is waited for


@contextlib.contextmanager
def prober(*, device: str, processes: int, threads: int, network: Network) -> Iterator[Prober]:
    """Yield who measures: processes side by side where networks are trained so, else this one.

    Args:
        device: Where networks are trained.
        processes: How many are trained at once.
        threads: CPU threads of each.
        network: What is trained; one that other processes cannot import is measured here.
    """
    kind = torch.device(device).type
    alone = kind == "cuda" and processes == 1
    inside = alone or not network.is_importable or kind not in ("cpu", "cuda")
    with contextlib.closing(Prober(0 if inside else processes, threads=threads)) as found:
        yield found
    if inside and kind == "cuda":
        torch.cuda.empty_cache()


def mean_answer(answers: Sequence[BenchmarkResult]) -> BenchmarkResult:
    """Return the mean seconds of several answers, and the most bytes."""
    values: dict[str, Any] = {}
    for entry in fields(BenchmarkResult):
        each = [getattr(one, entry.name) for one in answers]
        if entry.name == "compiled":
            values[entry.name] = all(each)
        elif entry.name == "at_once":
            values[entry.name] = min((few for few in each if few), default=None)
        else:
            values[entry.name] = max(each) if "memory" in entry.name else sum(each) / len(each)
    return BenchmarkResult(**values)


def _line_of(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout is not None else ""
    if line:
        return line
    status = process.wait()
    raise ImsegError(
        "A short measurement before the training was ended by the system.",
        expected="enough memory for the networks that are trained side by side.",
        got=f"exit status {status}" + (" (killed)" if status < 0 else "") + ".",
        hint="--workers 1, a smaller --batch-size or a smaller --image-size.",
    )


if __name__ == "__main__":
    main()
