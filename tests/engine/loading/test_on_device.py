"""Batches made on the device are those made in groups on the host; here the device is the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.inference import predictor
from imseg.engine.inference.predictor import BATCH
from imseg.engine.loading import loader, views
from imseg.engine.loading.loader import BatchLoader
from imseg.engine.loading.rows import (
    BUFFERS,
    DeviceRows,
    PinnedRows,
    Placement,
    RowSet,
    cache_rows,
    placement_for,
    send,
)
from imseg.engine.loading.samples import Batch, Copies, SampleSet, UnlabeledViews
from imseg.engine.loading.views import ViewLoader
from imseg.engine.training.job import TrainJob
from imseg.engine.training.monitor import Listener
from imseg.engine.training.objectives.mask_quality import MaskQuality
from imseg.engine.training.objectives.two_views import TwoViews
from imseg.engine.training.recipe import Recipe
from imseg.engine.training.trainer import train
from imseg.networks.registry import EvalNetConfig
from imseg.ops.inconsistency import COLORS
from imseg.ops.photometric import STRENGTH_SCHEDULES, Strength

STRONG = STRENGTH_SCHEDULES["default"][-1]
RESIDENT = Placement(on_device=True, budget=2**40)
STREAMED = Placement(on_device=True, budget=0)
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@pytest.fixture
def store(tmp_path) -> Callable[..., SampleSet]:
    """A function that stores random images and all that may belong to them."""

    def make(
        name: str, *, height: int = 12, width: int = 12, channels: int = 3, kind: str = "u1"
    ) -> SampleSet:
        random = np.random.Generator(np.random.PCG64(len(name)))
        arrays = {
            "images": random.integers(0, 256, (6, height, width, channels), np.uint8),
            "targets": random.integers(0, 9, (8, 2, height, width)).astype(kind),
            "masks": random.integers(0, 2, (8, 1, height, width), np.uint8),
            "qualities": random.random((8, 1, 2)),
        }
        paths = {}
        for key, array in arrays.items():
            paths[key] = tmp_path / f"{name}-{height}-{width}-{channels}-{kind}-{key}.npy"
            np.save(paths[key], array)
        return SampleSet(
            images=paths["images"],
            targets=paths["targets"],
            inconsistent=paths["masks"],
            qualities=paths["qualities"],
            digest=name,
            indices=(7, 2, 0, 5, 3),
            shows=(0, 5, 4, 3, 3, 1, 2, 5),
        )

    return make


def same(one: Batch, other: Batch) -> bool:
    fields = [(getattr(one, name), getattr(other, name)) for name in Batch.__dataclass_fields__]
    both = [(a, b) for a, b in fields if a is not None and b is not None]
    return (
        len(both) == sum(a is not None or b is not None for a, b in fields)
        and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in both)
        and lies_alike(one.images, other.images)
    )


def lies_alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are in the same memory format."""
    return all(
        one.is_contiguous(memory_format=each) == other.is_contiguous(memory_format=each)
        for each in (torch.contiguous_format, torch.channels_last)
    )


strengths = st.sampled_from([STRONG, Strength(), Strength(blur=1), Strength(offset=9, noise=2)])
copies = st.builds(
    Copies,
    count=st.integers(0, 2),
    strength=strengths,
    rotate=st.booleans(),
    seed=st.integers(0, 99),
    plain=st.booleans(),
    fresh=st.booleans(),
    reblock=st.sampled_from([None, True, False]),
)
all_params = st.fixed_dictionaries(
    {
        "blocks_input": st.booleans(),
        "blocks_output": st.booleans(),
        "ignores": st.booleans(),
        "copies": st.one_of(st.none(), copies),
        "block_color": st.sampled_from(COLORS),
    }
)


@shared
@given(
    each=st.lists(st.tuples(all_params, st.booleans()), min_size=1, max_size=3),
    flags=st.tuples(*[st.booleans()] * 5),
    size=st.sampled_from([(12, 12, 3), (8, 12, 1), (1, 1, 2)]),
    seed=st.integers(0, 2**40),
)
def test_every_batch_is_the_one_of_the_host(store, each, flags, size, seed) -> None:
    paper, last, scored, floats, streamed = flags
    parts = []
    for number, (augment_params, masked) in enumerate(each):
        height, width, channels = size
        part = store("ab"[: 1 + number % 2], height=height, width=width, channels=channels,
                     kind="f4" if floats else "u1")  # fmt: skip
        part = replace(part, **augment_params)
        part = part if masked else replace(part, inconsistent=None)
        parts.append(part if scored else replace(part, qualities=None))
    compute = ComputeConfig(threads=1, channels_last=last)
    how = {"seed": seed, "paper": paper}
    host = BatchLoader(tuple(parts), compute, **how)
    assume(len(host))
    placement = STREAMED if streamed else RESIDENT
    device = BatchLoader(tuple(parts), compute, placement=placement, **how)
    assert device.on_device and not host.on_device
    generator = torch.Generator().manual_seed(seed)
    for _ in range(2):
        numbers = torch.randperm(len(host), generator=generator)
        asked = [*numbers.split(4), numbers[:1].repeat(2)]
        expected = [host.take(each) for each in asked]
        found = list(device.feed(asked))
        assert len(found) == len(expected)
        assert all(same(one, other) for one, other in zip(found, expected, strict=True))
    device.forget_looks()
    first = BatchLoader(tuple(parts), compute, **how).take(numbers[:3])
    assert same(device.take(numbers[:3]), first)


def test_a_pass_that_is_fed_is_what_is_taken_step_by_step(store) -> None:
    part = replace(
        store("a"), copies=Copies(count=0, strength=STRONG, rotate=True, seed=1, plain=True)
    )
    asked = [torch.tensor([0, 3]), torch.tensor([3, 1, 3]), torch.tensor([3])]
    for placement in (RESIDENT, STREAMED, None):
        fed, taken = (BatchLoader((part,), ComputeConfig(), placement=placement) for _ in range(2))
        assert all(
            same(one, taken.take(numbers))
            for one, numbers in zip(fed.feed(asked), asked, strict=True)
        )
        assert list(fed.feed([])) == []


@shared
@given(strength=strengths, flags=st.tuples(*[st.booleans()] * 4), width=st.sampled_from([12, 9]))
def test_two_views_are_those_of_the_host(store, strength, flags, width) -> None:
    rotate, moves, paper, streamed = flags
    unlabeled = UnlabeledViews(
        images=store("a", width=width).images,
        digest="",
        indices=(5, 0, 2, 3),
        strength=strength,
        moves=moves,
        rotate=rotate,
    )
    placement = STREAMED if streamed else RESIDENT
    host, device = (
        ViewLoader(unlabeled, ComputeConfig(), seed=3, paper=paper, placement=each)
        for each in (None, placement)
    )
    asked = [torch.tensor([3, 1, 0]), torch.tensor([1, 1]), torch.tensor([2])]
    for found, numbers in zip(device.feed(asked), asked, strict=True):
        for one, other in zip(found, host.take(numbers), strict=True):
            assert torch.equal(one, other) and lies_alike(one, other)
    assert list(device.feed([])) == []


@pytest.fixture(params=[RESIDENT, STREAMED], ids=["resident", "streamed"])
def on_device(monkeypatch, request) -> Callable[[], None]:
    """A function after whose call all objectives make their batches on the device."""

    def force() -> None:
        for module in (loader, views, predictor):
            monkeypatch.setattr(module, "placement_for", lambda _device: request.param)

    return force


def jobs_of_each_objective(
    make_job: Callable[..., TrainJob], stored, tmp_path: Path
) -> Iterator[TrainJob]:
    """Yield a job of each objective."""
    masks = np.zeros((6, 1, 32, 32), np.uint8)
    masks[:, :, 4:20, :9] = 1
    np.save(tmp_path / "masks.npy", masks)
    copied = Copies(count=1, strength=STRONG, rotate=True, seed=5)
    part = replace(
        stored("labeled", 6), inconsistent=tmp_path / "masks.npy", ignores=True, copies=copied
    )
    plain = stored("validation", 3)
    job = make_job(samples=(part, plain), recipe=Recipe(epochs=2, batch_size=4))
    yield job
    fresh = replace(part, copies=replace(copied, fresh=True), block_color="noise")
    yield replace(job, samples=(fresh, plain))
    unlabeled = UnlabeledViews(
        images=stored("unlabeled", 7).images, digest="u", indices=(6, 0, 3, 5),
        strength=STRONG, moves=True, rotate=True,
    )  # fmt: skip
    yield replace(job, objective=TwoViews(), unlabeled=unlabeled)
    np.save(tmp_path / "qualities.npy", np.random.default_rng(0).random((6, 1, 1)))
    scored = replace(part, qualities=tmp_path / "qualities.npy")
    yield replace(
        job,
        objective=MaskQuality(),
        samples=(scored,),
        validation=scored,
        network=EvalNetConfig(width=0.25),
    )


def test_every_objective_trains_the_same_bits(make_job, stored, tmp_path, on_device) -> None:
    jobs = list(jobs_of_each_objective(make_job, stored, tmp_path))
    before = [train(job, Listener()) for job in jobs]
    on_device()
    for job, (trained, state) in zip(jobs, before, strict=True):
        found, weights = train(job, Listener())
        assert found.losses == trained.losses
        assert found.epoch_scores == trained.epoch_scores
        assert found.scores == trained.scores
        assert all(torch.equal(weights[name], state[name]) for name in state)


def test_files_that_parts_share_lie_on_the_device_once(store) -> None:
    part = store("a")
    rows = RowSet([(part.images, (3, 1, 3)), (part.images, (1, 5)), (None, (0,))])
    assert len(rows) == 4, "rows 1, 3 and 5, and one of zeros"
    numbers = np.concatenate([rows.numbers(part.images, (5, 3, 1)), rows.numbers(None, (9, 9))])
    row_cache = DeviceRows(rows, "cpu")
    found = row_cache.fetch(numbers, torch.from_numpy(numbers))
    stored = np.load(part.images)
    np.testing.assert_array_equal(found[:3], stored[[5, 3, 1]])
    assert not found[3:].any()
    assert rows.nbytes == 4 * stored[0].nbytes
    with pytest.raises(ValueError, match="there is no file"):
        RowSet([(None, (0,))])


def test_the_smallest_arrays_lie_on_the_device_where_not_all_fit(store) -> None:
    part = store("a")
    used = [RowSet([(path, range(6))]) for path in (part.images, part.targets, part.inconsistent)]
    images, targets, masks = (rows.nbytes for rows in used)
    assert masks < targets < images
    for budget, kinds in (
        (0, [PinnedRows] * 3),
        (masks + targets - 1, [PinnedRows, PinnedRows, DeviceRows]),
        (masks + targets, [PinnedRows, DeviceRows, DeviceRows]),
        (masks + targets + images, [DeviceRows] * 3),
    ):
        placement = Placement(on_device=True, budget=budget)
        row_caches = cache_rows(used, "cpu", placement)
        assert [type(row_cache) for row_cache in row_caches] == kinds


def test_a_buffer_is_written_to_again_only_after_its_copy_has_ended(store) -> None:
    part = store("a")
    events: list[str] = []
    made = 0

    def mark() -> Callable[[], None]:
        nonlocal made
        made += 1
        number = made
        return lambda: events.append(f"waited for copy {number}")

    rows = RowSet([(part.images, range(6))])
    read = rows.read

    def note(numbers, out) -> None:
        events.append(f"read for copy {made + 1}")
        read(numbers, out)

    rows.read = note
    row_cache = PinnedRows(rows, "cpu", pinned=False, mark=mark)
    stored = np.load(part.images)
    kept = []
    for step in range(BUFFERS + 2):
        numbers = np.arange(step % 3, 6)
        kept.append((numbers, row_cache.fetch(numbers, torch.from_numpy(numbers))))
    for numbers, found in kept:
        np.testing.assert_array_equal(found, stored[numbers], err_msg="what was sent stays")
    for later in range(BUFFERS + 1, BUFFERS + 3):
        earlier = f"waited for copy {later - BUFFERS}"
        assert events.index(earlier) == events.index(f"read for copy {later}") - 1


def test_columns_of_any_type_are_sent_as_one_block() -> None:
    columns = {
        "flags": torch.tensor([True, False, True]),
        "gains": torch.tensor([0.5, -1.0, 3.0]),
        "none": torch.zeros(0, 2),
        "keys": torch.arange(6, dtype=torch.int32).reshape(3, 2),
        "numbers": torch.tensor([2**40, 1, -1]),
    }
    there = send(columns, "cpu", pinned=False)
    assert list(there) == list(columns)
    for name, column in columns.items():
        assert there[name].dtype == column.dtype and torch.equal(there[name], column)
    blocks = {column.untyped_storage().data_ptr() for column in there.values()}
    assert len(blocks) == 1


def test_a_batch_is_split_with_all_that_belongs_to_it(store) -> None:
    part = replace(store("a"), ignores=True)
    batch = BatchLoader((part,), ComputeConfig()).take(torch.arange(5))
    assert len(batch) == 5
    pieces = batch.split([2, 2, 1])
    assert [len(piece) for piece in pieces] == [2, 2, 1]
    for name in Batch.__dataclass_fields__:
        whole = torch.cat([getattr(piece, name) for piece in pieces])
        assert torch.equal(whole, getattr(batch, name))
    assert pieces[0].images.is_contiguous(memory_format=torch.channels_last)
    bare = replace(batch, weight=None, qualities=None).split([5])
    assert len(bare) == 1 and bare[0].weight is None and bare[0].qualities is None


def test_the_cpu_works_in_groups_and_every_other_device_together() -> None:
    assert not placement_for("cpu").on_device
    assert placement_for("meta").on_device and placement_for("meta").budget > 0


def test_validation_of_more_than_one_batch_is_the_same(make_job, stored, on_device) -> None:
    job = make_job(validation=stored("many", BATCH + 5), recipe=Recipe(epochs=1, batch_size=6))
    before, _ = train(job, Listener())
    on_device()
    after, _ = train(job, Listener())
    assert (after.epoch_scores, after.scores) == (before.epoch_scores, before.scores)


@pytest.mark.gpu
@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("paper", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gpu_makes_the_batches_of_the_cpu(store, fits, paper, channels) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU here")
    first = replace(
        store("a", height=65, width=65, channels=channels),
        ignores=True,
        copies=Copies(count=3, strength=STRONG, rotate=True, seed=1),
    )
    second = replace(first, inconsistent=None, ignores=False)
    second = replace(second, copies=Copies(count=0, strength=STRONG, rotate=False, seed=2))
    on_gpu = placement_for("cuda")
    assert on_gpu.together and on_gpu.pinned and on_gpu.budget > 0
    placement = on_gpu if fits else replace(on_gpu, budget=0)
    host = BatchLoader((first, second), ComputeConfig(), seed=4, paper=paper)
    device = BatchLoader(
        (first, second), ComputeConfig(device="cuda"), seed=4, paper=paper, placement=placement
    )
    for _ in range(2):
        numbers = torch.randperm(len(host)).split(7)
        for found, each in zip(device.feed(numbers), numbers, strict=True):
            expected = host.take(each)
            assert found.images.is_cuda
            # Bytes are the same; a GPU may divide them by multiplying with 1 / 255.
            bytes_of = [(batch.images.cpu() * 255).round() for batch in (found, expected)]
            assert torch.equal(*bytes_of)
            torch.testing.assert_close(found.images.cpu(), expected.images, rtol=2e-7, atol=0)
            assert torch.equal(found.targets.cpu(), expected.targets)
            assert torch.equal(found.weight.cpu(), expected.weight)
            assert torch.equal(found.qualities.cpu(), expected.qualities)


@pytest.mark.gpu
def test_a_gpu_makes_the_views_of_the_cpu(store) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU here")
    unlabeled = UnlabeledViews(
        images=store("a").images, digest="", indices=(5, 0, 2, 3),
        strength=STRONG, moves=True, rotate=True,
    )  # fmt: skip
    host, device = (
        ViewLoader(unlabeled, ComputeConfig(device=device), seed=3) for device in ("cpu", "cuda")
    )
    asked = [torch.tensor([3, 1, 0]), torch.tensor([1, 1])]
    for found, numbers in zip(device.feed(asked), asked, strict=True):
        for one, other in zip(found, host.take(numbers), strict=True):
            assert torch.equal((one.cpu() * 255).round(), (other * 255).round())
