"""Within an epoch the host never waits for the device, and sends it one block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.engine.loading.watch import Watch
from tests.sets import rest_but

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading import loader, views
from imseg.engine.loading.rows import Placement, placement_for
from imseg.engine.loading.samples import Copies, SampleSet, UnlabeledViews
from imseg.engine.training.job import TrainJob, build
from imseg.engine.training.objectives.mask_quality import MaskQuality
from imseg.engine.training.objectives.two_views import TwoViews
from imseg.engine.training.optimizer import KerasAdamW
from imseg.engine.training.recipe import Recipe
from imseg.networks.registry import EvalNetConfig, UNetConfig
from imseg.ops.inconsistency import COLORS as BLOCK_COLORS
from imseg.ops.inconsistency import BlockColor
from imseg.ops.photometric import STRENGTH_SCHEDULES
from imseg.tasks import task_for
from imseg.types import VOID, TargetSpec

STRONG = STRENGTH_SCHEDULES["default"][-1]
COLORS = ((0, 0, 0), (255, 0, 0), (0, 255, 0))
SPECS = {
    "binary": TargetSpec(kind="binary", values=(0, 1), names=("no", "yes"), colors=COLORS[:2]),
    "multiclass": TargetSpec(
        kind="multiclass", values=(0, 1, 2), names=("a", "b", "c"), colors=COLORS, void=VOID
    ),
    "multilabel": TargetSpec(kind="multilabel", names=("a", "b", "position"), colors=COLORS),
    "regression": TargetSpec(
        kind="regression", coding="numbers", names=("depth",), colors=COLORS[:1], low=0.0,
        high=1.0, stored="float32", unit="m",
    ),
}  # fmt: skip
JOBS = [*SPECS, "binary with void", "two views", "mask quality"]


@pytest.fixture
def make_kind(make_job, stored, tmp_path) -> Callable[[str], TrainJob]:
    """A function that returns a job with masks, copies and weights for a kind of objective."""

    def make(kind: str) -> TrainJob:
        spec = SPECS.get(kind, SPECS["binary"])
        spec = replace(spec, void=VOID) if kind == "binary with void" else spec
        color = BLOCK_COLORS[JOBS.index(kind) % len(BLOCK_COLORS)]
        part = _part(stored("labeled", 6), spec, tmp_path, color=color)
        plain = replace(part, inconsistent=None, ignores=False, copies=None)
        fields = {
            "samples": (part, plain),
            "validation": plain,
            "target": spec.as_dict(),
            "network": UNetConfig(width=0.0625),
            "outputs": spec.outputs,
            "recipe": Recipe(epochs=2, batch_size=4),
        }
        if kind == "two views":
            fields["objective"] = TwoViews()
            fields["unlabeled"] = UnlabeledViews(
                images=part.images, digest="", indices=tuple(range(6)),
                strength=STRONG, moves=True, rotate=True,
            )  # fmt: skip
        if kind == "mask quality":
            np.save(tmp_path / "qualities.npy", np.random.default_rng(0).random((6, 1, 1)))
            both = (replace(each, qualities=tmp_path / "qualities.npy") for each in (part, plain))
            fields["samples"] = tuple(both)
            fields["validation"] = fields["samples"][1]
            fields["network"] = EvalNetConfig(width=0.25)
            fields["objective"] = MaskQuality()
        return make_job(**fields)

    return make


def _part(part: SampleSet, spec: TargetSpec, folder: Path, *, color: BlockColor) -> SampleSet:
    """Return the part with targets of a kind, a mask, copies and pixels without weight."""
    random = np.random.Generator(np.random.PCG64(0))
    targets = random.integers(0, 2, (6, spec.planes, 32, 32)).astype(spec.dtype)
    np.save(folder / "targets.npy", targets)
    np.save(folder / "masks.npy", random.integers(0, 2, (6, 1, 32, 32), np.uint8))
    return replace(
        part,
        targets=folder / "targets.npy",
        inconsistent=folder / "masks.npy",
        ignores=True,
        copies=Copies(count=1, strength=STRONG, rotate=True, seed=1, fresh=True),
        block_color=color,
    )


def place(monkeypatch, budget: int) -> None:
    placement = Placement(on_device=True, budget=budget)
    for module in (loader, views):
        monkeypatch.setattr(module, "placement_for", lambda _device: placement)


@pytest.mark.parametrize("kind", JOBS)
def test_steps_up_to_the_gradient_ask_the_device_nothing(make_kind, monkeypatch, kind) -> None:
    place(monkeypatch, 2**40)
    job = replace(make_kind(kind), compute=ComputeConfig(device="meta"))
    objective = job.objective.open(job)
    network = build(job.network, job.compute, channels=job.channels, outputs=job.outputs).train()
    for steps in objective.passes():
        with Watch("meta") as watch:
            made = 0
            for step in steps:
                step(network).backward()
                made += 1
        assert made > 1 and watch.seen > 100 * made
        assert watch.crossings == {"_to_copy": 1}, "all that is known about a pass, at once"


@pytest.mark.parametrize(
    "kind", rest_but(["binary", "two views"], lambda kind: kind == "two views")
)
def test_what_does_not_fit_is_sent_batch_by_batch_and_nothing_else(
    make_kind, monkeypatch, kind
) -> None:
    place(monkeypatch, 0)
    job = replace(make_kind(kind), compute=ComputeConfig(device="meta"))
    network = build(job.network, job.compute, channels=job.channels, outputs=job.outputs).train()
    arrays = {"binary": [3], "two views": [3, 1]}[kind]
    for number, steps in enumerate(job.objective.open(job).passes()):
        with Watch("meta") as watch:
            made = sum(step(network).backward() is None for step in steps)
        assert watch.crossings["_to_copy"] == 1
        assert watch.crossings["copy_"] == made * arrays[number % len(arrays)]


@pytest.mark.parametrize("kind", rest_but(JOBS, lambda kind: kind == "two views"))
def test_whole_steps_read_no_value(make_kind, monkeypatch, kind) -> None:
    """On the CPU, with the optimizer. The first batch comes with what is known about the pass."""
    place(monkeypatch, 2**40)
    job = make_kind(kind)
    network = build(job.network, job.compute, channels=job.channels, outputs=job.outputs).train()
    optimizer = KerasAdamW(network, learning_rate=0.01, decay=1e-4)
    for steps in job.objective.open(job).passes():
        next(steps)
        with Watch("cpu") as watch:
            for step in steps:
                loss = step(network)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        assert watch.seen > 100


@pytest.mark.gpu
@pytest.mark.parametrize("kind", JOBS)
@pytest.mark.parametrize("fits", [True, False])
def test_a_gpu_is_not_waited_for(make_kind, monkeypatch, kind, fits) -> None:
    """CUDA itself says so; the first pass is left to what is chosen and kept once."""
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU here")
    for module in (loader, views):
        placement = replace(placement_for("cuda"), **({} if fits else {"budget": 0}))
        monkeypatch.setattr(module, "placement_for", lambda _device, found=placement: found)
    job = replace(make_kind(kind), compute=ComputeConfig(device="cuda"))
    network = build(job.network, job.compute, channels=job.channels, outputs=job.outputs).train()
    optimizer = KerasAdamW(network, learning_rate=0.01, decay=1e-4)
    objective = job.objective.open(job)
    for number, steps in enumerate(objective.passes()):
        torch.cuda.set_sync_debug_mode("error" if number else "default")
        try:
            with job.compute.applied():
                for step in steps:
                    loss = step(network)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert loss.isfinite()
        assert objective.validate(network).scores


@pytest.mark.parametrize("kind", list(SPECS))
@pytest.mark.parametrize("paper", [False, True])
def test_a_meter_is_not_read_before_its_value_is_asked_for(kind, paper) -> None:
    spec = SPECS[kind]
    task = task_for(spec, paper=paper)
    meter = task.meter()
    probabilities = torch.rand(3, spec.outputs, 16, 16, device="meta")
    kinds = {"uint8": torch.uint8, "float32": torch.float32}
    target = torch.zeros(
        3, spec.planes, 16, 16, device="meta", dtype=kinds[np.dtype(spec.dtype).name]
    )
    with Watch("meta") as watch:
        for _ in range(2):
            meter.update(probabilities, target)
            if kind != "multilabel":  # counting cells is the host's
                task.image_scores(task.discretize(probabilities), target)
    assert not watch.crossings


@pytest.mark.parametrize(
    "asking",
    [
        lambda values: values.sum().item(),
        lambda values: bool((values > 1).any()),
        lambda values: values[values > 1],
        lambda values: values.unique(),
        lambda values: (values > 1).nonzero(),
        lambda values: values.long().bincount(),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_whatever_waits_is_noticed(asking, device) -> None:
    with pytest.raises((AssertionError, RuntimeError)), Watch(device):
        asking(torch.ones(3, device=device))


def test_whatever_is_sent_is_noticed() -> None:
    with Watch("meta") as watch:
        torch.zeros(3).to("meta")
        torch.empty(3, device="meta").copy_(torch.zeros(3))
        torch.tensor([1.0, 2.0], device="meta")
    assert watch.crossings.total() == 3
