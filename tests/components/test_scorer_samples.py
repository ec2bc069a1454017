"""Masks of known quality for mask scorers: what is drawn and written, and what it depends on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from imseg.components.scorer_samples import consensus_samples, draw_consensus, prediction_samples
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.loader import BatchLoader
from imseg.engine.loading.samples import Copies, SampleSet
from imseg.engine.training import seeds
from imseg.errors import ImsegError
from imseg.ops.inconsistency import block_output, clean_up
from imseg.ops.photometric import Strength
from imseg.tasks.quality import quality_for
from imseg.types import VOID

SIDE, IMAGES, NETWORKS = 16, 40, 5
COPIES = Copies(count=9, strength=Strength(noise=9), rotate=False, seed=0)
DRAWS = 2000


@pytest.fixture
def stored(tmp_path: Path):
    """Images with truth, and what networks predict; ``planes`` a mask, values below ``values``."""

    def store(*, planes: int = 1, values: int = 2, void: bool = False) -> tuple[Path, SampleSet]:
        generator = np.random.Generator(np.random.PCG64(3))
        images = generator.integers(0, 256, (IMAGES, SIDE, SIDE, 1), dtype=np.uint8)
        truth = generator.integers(0, values, (IMAGES, planes, SIDE, SIDE), dtype=np.uint8)
        wrong = generator.random((NETWORKS, IMAGES, planes, SIDE, SIDE)) < 0.2
        predicted = np.where(wrong, (truth + 1) % values, truth).astype(np.uint8)
        if void:
            truth[:, :, :4] = VOID
        for name, array in (("images", images), ("truth", truth), ("predictions", predicted)):
            np.save(tmp_path / f"{name}.npy", array)
        return tmp_path / "predictions.npy", SampleSet(
            images=tmp_path / "images.npy",
            targets=tmp_path / "truth.npy",
            digest="stored",
            indices=tuple(range(2, IMAGES)),
        )

    return store


def of_all(parts, name: str) -> np.ndarray:
    return np.load(getattr(parts[0], name))


def test_two_to_four_networks_and_every_kernel_are_drawn_equally_often() -> None:
    drawn = [draw_consensus(seeds.generator(1, "draw", i), 10) for i in range(DRAWS)]
    counts = Counter(len(draw.networks) for draw in drawn)
    assert set(counts) == {2, 3, 4}
    kernels = Counter((draw.erode, draw.dilate) for draw in drawn)
    assert set(kernels) == {(e, d) for e in (0, 3, 5) for d in (0, 3, 5)}
    networks = Counter(number for draw in drawn for number in draw.networks)
    assert set(networks) == set(range(10))
    augmented = sum(draw.augmented for draw in drawn)
    for found, expected in (
        *((count, DRAWS / 3) for count in counts.values()),
        *((count, DRAWS / 9) for count in kernels.values()),
        *((count, DRAWS * 0.3) for count in networks.values()),
        (augmented, DRAWS / 2),
    ):
        assert abs(found - expected) < 5 * expected**0.5
    assert all(len(set(draw.networks)) == len(draw.networks) for draw in drawn)


def test_fewer_networks_than_four_vote_as_far_as_there_are_any() -> None:
    drawn = [draw_consensus(seeds.generator(1, "draw", i), 2) for i in range(20)]
    assert {tuple(sorted(draw.networks)) for draw in drawn} == {(0, 1)}


def test_each_round_uses_each_image_once_and_writes_what_the_networks_agree_on(
    stored, binary, tmp_path
) -> None:
    predicted, images = stored()
    task = binary()
    quality = quality_for(task)
    parts = consensus_samples(
        predicted,
        images,
        task=task,
        quality=quality,
        rounds=3,
        seed=5,
        copies=COPIES,
        folder=tmp_path / "samples",
    )
    plain, augmented = parts
    samples = 3 * (IMAGES - 2)
    assert plain.shows == augmented.shows == tuple(range(2, IMAGES)) * 3
    assert sorted(plain.indices + augmented.indices) == list(range(samples))
    assert 0.3 * samples < len(augmented.indices) < 0.7 * samples
    said, truth = np.load(predicted), np.load(images.targets)
    labels, masks = of_all(parts, "targets"), of_all(parts, "inconsistent")
    qualities = of_all(parts, "qualities")
    assert labels.shape == masks.shape == (samples, 1, SIDE, SIDE)
    for sample in (0, 37, 38, 80, samples - 1):
        row = plain.shows[sample]
        number = sample // (IMAGES - 2)
        draw = draw_consensus(seeds.generator(5, "judge samples", number, row), NETWORKS)
        assert (sample in augmented.indices) == draw.augmented
        votes = said[list(draw.networks), row]
        all_say, any_says = votes.min(axis=0), votes.max(axis=0)
        np.testing.assert_array_equal(labels[sample], all_say)
        disputed = torch.from_numpy(all_say != any_says).unsqueeze(0)
        mask = clean_up(disputed, erode_by=draw.erode, dilate_by=draw.dilate)
        np.testing.assert_array_equal(masks[sample], mask[0])
        blocked = block_output(torch.from_numpy(all_say).unsqueeze(0), mask)
        wanted = quality.of_prediction(blocked, torch.from_numpy(truth[row]).unsqueeze(0))
        np.testing.assert_allclose(qualities[sample], wanted[0], atol=1e-6)
    assert len({masks[plain.shows.index(9) + (IMAGES - 2) * i].tobytes() for i in range(3)}) > 1


def test_the_two_parts_are_plain_and_augmented_once_each(stored, binary, tmp_path) -> None:
    predicted, images = stored()
    plain, augmented = consensus_samples(
        predicted,
        images,
        task=binary(),
        quality=quality_for(binary()),
        rounds=2,
        seed=5,
        copies=COPIES,
        folder=tmp_path / "samples",
    )
    assert plain.copies is None
    copies = augmented.copies
    assert copies is not None
    assert (copies.count, copies.plain, copies.rotate) == (1, False, False)
    assert copies.strength == COPIES.strength
    assert copies.seed != COPIES.seed
    for part in (plain, augmented):
        assert part.samples == len(part.indices)
        assert part.blocks_input
        assert part.blocks_output
        assert part.images == images.images
    assert plain.digest == augmented.digest != images.digest


def test_a_scorer_is_shown_the_blocked_image_and_mask(stored, binary, tmp_path) -> None:
    predicted, images = stored()
    parts = consensus_samples(
        predicted,
        images,
        task=binary(),
        quality=quality_for(binary()),
        rounds=2,
        seed=5,
        copies=COPIES,
        folder=tmp_path / "samples",
        augmented_share=0.0,
        kernels=(0,),
    )
    assert len(parts) == 1
    batch = BatchLoader(parts, ComputeConfig(threads=1)).take(torch.tensor([45]))
    mask, row = of_all(parts, "inconsistent")[45, 0] == 1, parts[0].shows[45]
    assert mask.any()
    shown = (batch.images[0, 0] * 255).round().numpy()
    np.testing.assert_array_equal(shown, np.where(mask, 0, np.load(images.images)[row, :, :, 0]))
    np.testing.assert_array_equal(
        batch.targets[0, 0], np.where(mask, 0, of_all(parts, "targets")[45, 0])
    )


def test_a_sample_depends_on_its_round_and_image_alone(stored, multiclass, tmp_path) -> None:
    predicted, images = stored(values=3)
    task = multiclass(2)

    def made(indices: tuple[int, ...], rounds: int, folder: str, *, seed: int = 5):
        part = SampleSet(
            images=images.images, targets=images.targets, digest="stored", indices=indices
        )
        return consensus_samples(
            predicted,
            part,
            task=task,
            quality=quality_for(task),
            rounds=rounds,
            seed=seed,
            copies=COPIES,
            folder=tmp_path / folder,
        )

    forward, backward = made((3, 8, 20, 4), 2, "a"), made((4, 20, 8, 3), 1, "b")
    for name in ("targets", "inconsistent", "qualities"):
        np.testing.assert_array_equal(of_all(forward, name)[:4], of_all(backward, name)[::-1])
    assert forward[0].digest == made((3, 8, 20, 4), 2, "c")[0].digest
    assert forward[0].digest != backward[0].digest
    other = made((3, 8, 20, 4), 2, "d", seed=6)
    assert other[0].digest != forward[0].digest
    assert (of_all(other, "inconsistent") != of_all(forward, "inconsistent")).any()


def test_every_prediction_and_each_truth_once_is_scored_unblocked(
    stored, multiclass, tmp_path
) -> None:
    predicted, images = stored(values=3)
    task = multiclass(2)
    quality = quality_for(task)
    parts = prediction_samples(
        predicted,
        images,
        task=task,
        quality=quality,
        seed=5,
        copies=COPIES,
        folder=tmp_path / "samples",
    )
    plain, augmented = parts
    used = IMAGES - 2
    said, truth = np.load(predicted)[:, 2:], np.load(images.targets)[2:]
    expected = np.concatenate([said.reshape(-1, 1, SIDE, SIDE), truth])
    np.testing.assert_array_equal(of_all(parts, "targets"), expected)
    assert plain.shows == tuple(range(2, IMAGES)) * (NETWORKS + 1)
    assert sorted(plain.indices + augmented.indices) == list(range(used * (NETWORKS + 1)))
    assert plain.inconsistent is augmented.inconsistent is None
    again = torch.from_numpy(np.tile(truth, (NETWORKS + 1, 1, 1, 1)))
    wanted = quality.of_prediction(torch.from_numpy(expected), again)
    np.testing.assert_array_equal(of_all(parts, "qualities"), wanted)
    assert (of_all(parts, "qualities")[-used:, 0, 1:] == 1).all()
    assert augmented.copies is not None
    assert augmented.copies.count == 1


def test_void_is_nothing_in_a_perfect_mask_and_does_not_count(stored, binary, tmp_path) -> None:
    predicted, images = stored(void=True)
    task = binary(void=True)
    parts = prediction_samples(
        predicted,
        images,
        task=task,
        quality=quality_for(task),
        seed=5,
        copies=COPIES,
        folder=tmp_path / "samples",
    )
    perfect = of_all(parts, "targets")[-(IMAGES - 2) :]
    assert set(np.unique(perfect)) == {0, 1}
    assert (perfect[:, :, :4] == 0).all()
    assert (of_all(parts, "qualities")[-(IMAGES - 2) :] > 0.999).all()


def test_predictions_of_cells_are_redrawn_before_they_are_scored(
    stored, multilabel, tmp_path
) -> None:
    predicted, images = stored(planes=3)
    task = multilabel()
    parts = prediction_samples(
        predicted,
        images,
        task=task,
        quality=quality_for(task),
        seed=5,
        copies=COPIES,
        folder=tmp_path / "samples",
    )
    first = torch.from_numpy(np.load(predicted)[0, 2:])
    np.testing.assert_array_equal(of_all(parts, "targets")[: IMAGES - 2], task.redraw(first))


def test_one_network_cannot_agree_with_anybody_and_the_message_says_so(
    stored, binary, tmp_path
) -> None:
    predicted, images = stored()
    np.save(predicted, np.load(predicted)[:1])
    with pytest.raises(ImsegError) as caught:
        consensus_samples(
            predicted,
            images,
            task=binary(),
            quality=quality_for(binary()),
            rounds=1,
            seed=5,
            copies=COPIES,
            folder=tmp_path / "samples",
        )
    assert str(caught.value).splitlines() == [
        "A mask scorer cannot learn from so few networks.",
        "  Expected: at least 2, because so many vote for each of its samples.",
        "  Got:      1",
        "  Try:      --networks 2 or more.",
    ]
