"""Which mask of an image is taken: the best, if it is good enough; an admitted image stays."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from imseg.components.votes import Kept, as_candidates, choose_masks

SIDE = 24


def masks(count: int, images: int, *, planes: int = 1, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, images, planes, SIDE, SIDE)
    return (torch.rand(shape, generator=generator) > 0.5).to(torch.uint8)


def test_the_best_candidate_is_taken_from_the_threshold_on(binary) -> None:
    scores = torch.tensor([[0.2, 0.5, 0.9], [0.3, 0.6, 0.7]])
    candidates = masks(2, 3)
    chosen = choose_masks(binary(), candidates, scores, threshold=scores[1, 1].item())
    assert chosen.which.tolist() == [-1, 1, 0]
    assert chosen.admitted.tolist() == [False, True, True]
    assert torch.equal(chosen.scores, torch.tensor([0, 0.6, 0.9]))
    assert torch.equal(chosen.labels[1], candidates[1, 1])
    assert torch.equal(chosen.labels[2], candidates[0, 2])
    assert chosen.labels[0].sum() == 0


def test_an_admitted_image_stays_and_its_old_mask_is_a_candidate_too(binary) -> None:
    scores = torch.tensor([[0.2, 0.2, 0.6, 0.8, 0.8]])
    kept = Kept(
        labels=masks(1, 5, seed=2)[0],
        scores=torch.tensor([0.1, 0.9, 0.7, 0.7, 0.9]),
        has=torch.tensor([True, False, True, True, False]),
    )
    candidates = masks(1, 5)
    chosen = choose_masks(binary(), candidates, scores, threshold=0.5, kept=kept)
    assert chosen.which.tolist() == [1, -1, 1, 0, 0]
    for image in (0, 2):
        assert torch.equal(chosen.labels[image], kept.labels[image])
    assert torch.equal(chosen.labels[3:], candidates[0, 3:])
    torch.testing.assert_close(chosen.scores, torch.tensor([0.1, 0, 0.7, 0.8, 0.8]))


def test_of_equally_good_masks_the_first_is_taken_and_the_kept_one_last(binary) -> None:
    scores = torch.full((3, 2), 0.5)
    kept = Kept(masks(1, 2, seed=2)[0], torch.full((2,), 0.5), torch.ones(2, dtype=torch.bool))
    assert choose_masks(binary(), masks(3, 2), scores, threshold=0.5, kept=kept).which.tolist() == [
        0,
        0,
    ]


@given(seed=st.integers(0, 1000), threshold=st.floats(0, 1))
def test_a_kept_mask_only_ever_adds_images(binary, seed, threshold) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(3, 6, generator=generator)
    has = torch.rand(6, generator=generator) > 0.5
    kept = Kept(masks(1, 6)[0], torch.rand(6, generator=generator), has)
    task, candidates = binary(), masks(3, 6)
    alone = choose_masks(task, candidates, scores, threshold=threshold)
    both = choose_masks(task, candidates, scores, threshold=threshold, kept=kept)
    assert torch.equal(both.admitted, alone.admitted | has)
    assert (both.scores >= alone.scores).all()
    unchanged = ~has
    assert torch.equal(both.which[unchanged], alone.which[unchanged])


def test_cell_centers_are_redrawn_once_before_they_are_scored_or_by_the_paper_after(
    multilabel,
) -> None:
    hard_predictions = masks(2, 2, planes=3)
    ours, paper = multilabel(), multilabel(paper=True)
    candidates = as_candidates(ours, hard_predictions)
    assert torch.equal(candidates[1], ours.redraw(hard_predictions[1]))
    assert not torch.equal(candidates, hard_predictions)
    assert torch.equal(as_candidates(paper, hard_predictions), hard_predictions)
    scores = torch.tensor([[0.6, 0.9], [0.7, 0.1]])
    chosen = choose_masks(ours, candidates, scores, threshold=0.5)
    assert torch.equal(chosen.labels, torch.stack([candidates[1, 0], candidates[0, 1]]))
    chosen = choose_masks(paper, hard_predictions, scores, threshold=0.8)
    assert torch.equal(chosen.labels[1:], paper.redraw(hard_predictions[0, 1:]))
    assert chosen.labels[0].sum() == 0
