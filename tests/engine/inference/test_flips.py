"""Predictions averaged over flipped and turned images."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from imseg.components.consensus import Consensus, TeacherBatch
from imseg.components.votes import Vote, VoteOfViews
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.inference import predictor
from imseg.engine.inference.pictures import Predictor
from imseg.engine.inference.predictor import predict_mean, probabilities_of, vote
from imseg.engine.loading.samples import as_input
from imseg.ops.augment import MOVES, UNMOVED, Move, move, move_back, moves_for
from imseg.ops.photometric import Strength
from imseg.types import Image, Reading

COMPUTE = ComputeConfig()
KINDS = ("binary", "multiclass", "multilabel", "regression")


class Lopsided(nn.Module):
    """Looks at each pixel and its right neighbor, and likes what lies far to the right and low.

    Args:
        outputs: Of the network.
        slope: How much more it believes in the last column and row than in the first; 0: it looks
            at each pixel alone, so that it moves as its image does.
    """

    def __init__(self, outputs: int = 1, *, slope: float = 2.0) -> None:
        super().__init__()
        self.outputs, self.slope = outputs, slope
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        height, width = images.shape[-2:]
        across = torch.linspace(0, 1, width) + torch.linspace(0, 0.5, height)[:, None]
        values = images + (images.roll(-1, -1) if self.slope else 0)
        planes = [values[:, k % 3] * (k + 1) for k in range(self.outputs)]
        return torch.stack(planes, dim=1) * 4 - 2 + self.slope * across


def noise(height: int = 12, width: int = 12, *, count: int = 3) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture(params=KINDS)
def kind(request, binary, multiclass, multilabel, regression):
    """A task and its number of outputs."""
    return {
        "binary": (binary(), 1),
        "multiclass": (multiclass(3), 4),
        "multilabel": (multilabel("a", "b"), 2),
        "regression": (regression(), 1),
    }[request.param]


def averaged(network: nn.Module, images, task, moves) -> Tensor:
    return predict_mean([network], images, task=task, compute=COMPUTE, moves=moves)[0]


@given(rotate=st.booleans(), square=st.booleans())
def test_orientations_keep_the_shape_and_what_is_up(rotate: bool, square: bool) -> None:
    moves = moves_for(rotate=rotate, square=square)
    assert moves[0] == Move() and len(set(moves)) == len(moves)
    plane = torch.arange(36 if square else 30).reshape(6 if square else 5, 6)
    seen = [move(plane, by) for by in moves]
    assert all(each.shape == plane.shape for each in seen)
    if not rotate:
        assert [len(moves), *map(len, seen)] == [2, len(plane), len(plane)]
        assert all(torch.equal(each.sort(dim=1).values, plane) for each in seen)
    else:
        # All of a group: a move after another is one of them again.
        known = {tuple(each.flatten().tolist()) for each in seen}
        assert len(known) == (8 if square else 4)
        for by in moves:
            assert {tuple(move(each, by).flatten().tolist()) for each in seen} == known


def test_the_mean_is_that_of_predictions_turned_back_by_numpy(kind) -> None:
    task, outputs = kind
    network, images = Lopsided(outputs), noise()
    found = averaged(network, images, task, MOVES).numpy()
    total = np.zeros(found.shape)
    for mirrored in (False, True):
        for turns in range(4):
            seen = np.rot90(images[:, :, ::-1] if mirrored else images, turns, axes=(1, 2))
            pixels = torch.from_numpy(seen.transpose(0, 3, 1, 2) / np.float32(255))
            said = task.probabilities(network(pixels)).numpy()
            said = np.rot90(said, -turns, axes=(2, 3))
            total += said[..., ::-1] if mirrored else said
    np.testing.assert_allclose(found, total / 8, rtol=0, atol=1e-6)
    assert np.abs(found - averaged(network, images, task, UNMOVED).numpy()).max() > 0.05


def test_the_image_as_it_is_alone_gives_the_same_bits_as_before(kind) -> None:
    task, outputs = kind
    network, images = Lopsided(outputs), noise()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    # With the threads and the memory format of all others, on which the last bits depend.
    with torch.inference_mode(), COMPUTE.applied():
        before = task.probabilities(network(as_input(pixels, COMPUTE)))
    for found in (
        averaged(network, images, task, UNMOVED),
        predict_mean([network], images, task=task, compute=COMPUTE)[0],
        probabilities_of(network, pixels, task, COMPUTE),
    ):
        assert torch.equal(found, before)


def test_a_network_that_moves_with_its_image_gains_and_loses_nothing(kind) -> None:
    task, outputs = kind
    network, images = Lopsided(outputs, slope=0.0), noise()
    plain = averaged(network, images, task, UNMOVED)
    torch.testing.assert_close(averaged(network, images, task, MOVES), plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("height", [12, 7])
def test_a_lopsided_network_becomes_as_symmetric_as_its_orientations(
    binary, height: int, rotate: bool
) -> None:
    task, network, images = binary(), Lopsided(), noise(height, 12)
    moves = moves_for(rotate=rotate, square=height == 12)
    found = averaged(network, images, task, moves)
    for by in MOVES[:4] if height == 12 else MOVES[::2]:
        moved = move(torch.from_numpy(images).permute(0, 3, 1, 2), by).permute(0, 2, 3, 1).numpy()
        again = move_back(averaged(network, moved, task, moves), by)
        assert torch.allclose(again, found, rtol=0, atol=1e-6) == (by in moves)
    mirrored = averaged(network, np.ascontiguousarray(images[:, :, ::-1]), task, moves).flip(-1)
    torch.testing.assert_close(mirrored, found, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels_last", [False, True])
def test_networks_see_every_position_in_their_memory_format(binary, channels_last: bool) -> None:
    compute = dataclasses.replace(COMPUTE, channels_last=channels_last)
    network = Lopsided()
    predict_mean([network], noise(), task=binary(), compute=compute, moves=MOVES)
    assert len(network.seen) == len(MOVES)
    assert all(each.is_contiguous(memory_format=compute.memory_format) for each in network.seen)


def test_where_memory_is_short_all_orientations_are_seen_in_halves(binary) -> None:
    class Small(Lopsided):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 2:
                failures.append(len(images))
                raise torch.OutOfMemoryError("no room")
            return super().forward(images)

    failures: list[int] = []
    network, images, task = Small(), noise(count=5), binary()
    found = averaged(network, images, task, MOVES)
    assert torch.equal(found, averaged(Lopsided(), images, task, MOVES))
    assert max(map(len, network.seen)) == 2 and len(network.seen) == 3 * len(MOVES)
    assert failures == [5, 3], "each failure takes time, so one size fails once"


def test_votes_are_cast_from_the_mean_over_orientations(kind) -> None:
    task, outputs = kind
    teachers, images = [Lopsided(outputs), Lopsided(outputs, slope=-1.0)], noise()
    means = [averaged(each, images, task, MOVES) for each in teachers]
    wanted = torch.stack([task.hard_prediction(each) for each in means])
    assert torch.equal(vote(teachers, images, task, COMPUTE, moves=MOVES), wanted)
    _, votes = predict_mean(
        teachers[:1], images, task=task, compute=COMPUTE, teachers=teachers, moves=MOVES
    )
    assert votes is not None and torch.equal(votes, wanted)
    assert not torch.equal(vote(teachers, images, task, COMPUTE), wanted)


def panel_of(task, *teachers: nn.Module, moves=MOVES) -> TeacherBatch:
    return TeacherBatch(
        task=task, teachers=teachers, images=noise(), compute=COMPUTE, seeds=(1, 2, 3),
        strength=Strength(), rotate=True, moves=moves,
    )  # fmt: skip


def test_teachers_label_by_the_mean_over_orientations(binary) -> None:
    task, teachers = binary(), (Lopsided(), Lopsided(slope=-1.0))
    panel = panel_of(task, *teachers)
    votes = vote(teachers, noise(), task, COMPUTE, moves=MOVES)
    consensus, disputed = task.vote(votes)
    found = Consensus(teachers=2).label(panel)
    assert torch.equal(found.labels, consensus) and torch.equal(found.disputed, disputed)
    alone = panel_of(task, teachers[0])
    assert torch.equal(Vote(teachers=1).label(alone).labels, votes[0])
    plain = panel_of(task, teachers[0], moves=UNMOVED)
    assert not torch.equal(Vote(teachers=1).label(plain).labels, votes[0])


def test_views_are_not_moved_further(binary) -> None:
    teacher = Lopsided()
    VoteOfViews(views=3).label(panel_of(binary(), teacher, moves=UNMOVED))
    assert len(teacher.seen) == 1 + 3, "the plain image, and each view once"


def test_pictures_are_averaged_at_working_size_and_say_so(binary) -> None:
    pictures = [Image(str(n), each) for n, each in enumerate(noise(20, 9, count=2))]
    task, network = binary(), Lopsided()
    moves = moves_for(rotate=True, square=False)

    def said(moves):
        return list(
            Predictor(
                networks=[network], task=task, reading=Reading(channels=3), size=lambda *_: (16, 8),
                compute=COMPUTE, teachers=[network, Lopsided(slope=-2.0)], moves=moves,
            ).segment(pictures)
        )  # fmt: skip

    plain, found = said(UNMOVED), said(moves)
    assert [each.orientations for each in (*plain, *found)] == [1, 1, 4, 4]
    assert {tuple(each.shape[-2:]) for each in network.seen} == {(16, 8)}
    for before, after in zip(plain, found, strict=True):
        assert not torch.allclose(before.probabilities, after.probabilities)
        assert before.inconsistent is not None and after.inconsistent is not None
        assert not torch.equal(before.inconsistent, after.inconsistent)


def test_one_look_is_timed_without_what_is_set_up_or_disturbed(binary, monkeypatch) -> None:
    took = [9.0, 2.0, 0.5, 4.0, 1.0, 3.0]  # the first sets up, others are disturbed
    ends = np.cumsum(took).tolist()
    clock = iter([time for pair in zip([0.0, *ends], ends, strict=False) for time in pair])
    monkeypatch.setattr(predictor.time, "monotonic", lambda: next(clock))
    networks = [Lopsided(), Lopsided()]
    found = predictor.seconds_per_image(networks, (8, 12, 3), task=binary(), compute=COMPUTE)
    assert found == 0.5
    assert [tuple(each.shape) for each in networks[1].seen] == [(1, 3, 8, 12)] * predictor.LOOKS
