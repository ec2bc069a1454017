"""Seeds, the order of images, and image sizes: what training relies on."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imseg.engine.loading.order import epochs
from imseg.engine.training import seeds
from imseg.engine.training.objectives.objective import by_epochs
from imseg.engine.training.recipe import Recipe
from imseg.networks.unet import UNet
from imseg.ops.memory_layout import pad_to_multiple

roots = st.integers(0, 2**32 - 1)
words = st.one_of(st.text("abc-", min_size=1, max_size=4), st.integers(0, 20))
paths = st.lists(words, min_size=1, max_size=4).map(tuple)
image_counts = st.integers(1, 90)
batch_sizes = st.integers(2, 32)


def epochs_of(images: int, recipe: Recipe, seed: int = 0) -> list[list[list[int]]]:
    generator = torch.Generator().manual_seed(seed)
    return [[batch.tolist() for batch in batches] for batches in epochs(images, recipe, generator)]


@given(root=roots, one=paths, other=paths)
def test_different_uses_get_different_seeds(root: int, one, other) -> None:
    same = [str(part) for part in one] == [str(part) for part in other]
    assert (seeds.derive(root, *one) == seeds.derive(root, *other)) == same


@given(root=roots, path=paths)
def test_a_seed_depends_on_the_root_and_fits_63_bits(root: int, path) -> None:
    seed = seeds.derive(root, *path)
    assert 0 <= seed < 2**63
    assert seed != seeds.derive(root + 1, *path)


@given(root=roots, path=paths)
def test_names_are_not_glued_together(root: int, path) -> None:
    joined = "".join(str(part) for part in path)
    if len(path) > 1:
        assert seeds.derive(root, *path) != seeds.derive(root, joined)


@given(root=roots, uses=st.lists(paths, min_size=2, max_size=5, unique=True))
def test_what_was_drawn_before_changes_no_generator(root: int, uses) -> None:
    def draw(path) -> list[float]:
        return torch.rand(3, generator=seeds.generator(root, *path)).tolist()

    forward = {path: draw(path) for path in uses}
    torch.rand(5)
    backward = {path: draw(path) for path in reversed(uses)}
    assert forward == backward


@given(images=image_counts, batch=batch_sizes, count=st.integers(1, 4), seed=roots)
def test_an_epoch_is_every_image_exactly_once(images, batch, count: int, seed: int) -> None:
    for batches in epochs_of(images, Recipe(epochs=count, batch_size=batch), seed):
        assert sorted(itertools.chain(*batches)) == list(range(images))


@given(images=image_counts, batch=batch_sizes, count=st.integers(1, 4))
def test_no_batch_has_one_image_unless_there_is_only_one(images, batch, count) -> None:
    for batches in epochs_of(images, Recipe(epochs=count, batch_size=batch)):
        assert images == 1 or min(len(numbers) for numbers in batches) > 1
        assert max(len(numbers) for numbers in batches) <= batch + 1


def steps_of(recipe: Recipe, images: int) -> int:
    return by_epochs(recipe, images).steps


@given(
    images=image_counts,
    batch=st.integers(1, 32),
    count=st.integers(1, 4),
    most=st.none() | st.integers(1, 40),
    paper=st.booleans(),
)
def test_a_recipe_counts_the_batches_that_come(images, batch, count, most, paper: bool) -> None:
    recipe = Recipe(epochs=count, batch_size=batch, max_steps=most, paper=paper)
    found = epochs_of(images, recipe)
    assert sum(len(batches) for batches in found) == steps_of(recipe, images)
    assert {len(batches) for batches in found[:-1]} <= {recipe.steps_per_epoch(images)}
    assert most is None or steps_of(recipe, images) <= most


@given(images=image_counts, seed=roots)
def test_different_epochs_and_seeds_have_different_orders(images: int, seed: int) -> None:
    recipe = Recipe(epochs=2, batch_size=8)
    first, second = (list(itertools.chain(*e)) for e in epochs_of(images, recipe, seed))
    other = list(itertools.chain(*epochs_of(images, recipe, seed + 1)[0]))
    if images > 12:
        assert first != second
        assert first != other
    assert epochs_of(images, recipe, seed)[0] == epochs_of(images, recipe, seed)[0]


@given(images=st.integers(1, 200), count=st.integers(1, 4), seed=roots)
def test_a_paper_epoch_is_a_piece_of_an_endless_reshuffled_stream(images, count, seed) -> None:
    recipe = Recipe(epochs=count, batch_size=32, paper=True)
    found = epochs_of(images, recipe, seed)
    assert [len(batches) for batches in found] == [max(1, images // 32)] * count
    stream = [batch for batches in found for batch in batches]
    generator = torch.Generator().manual_seed(seed)
    expected: list[list[int]] = []
    while len(expected) < len(stream):
        order = torch.randperm(images, generator=generator).tolist()
        expected += [order[start : start + 32] for start in range(0, images, 32)]
    assert stream == expected[: len(stream)]


@settings(max_examples=12)
@given(height=st.integers(16, 50), width=st.integers(16, 50))
def test_the_network_answers_in_the_size_of_the_question(height: int, width: int) -> None:
    network = UNet(channels=1, outputs=2, width=0.0625).eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 1, height, width)).shape == (1, 2, height, width)


@given(height=st.integers(1, 40), width=st.integers(1, 40), multiple=st.integers(1, 16))
def test_padding_keeps_the_image_and_repeats_its_edge(height, width, multiple: int) -> None:
    image = torch.rand(1, 2, height, width)
    padded = pad_to_multiple(image, multiple)
    assert torch.equal(padded[..., :height, :width], image)
    assert padded.shape[-2] % multiple == padded.shape[-1] % multiple == 0
    assert max(padded.shape[-2] - height, padded.shape[-1] - width) < multiple
    below = padded[..., height:, :width]
    assert torch.equal(below, image[..., -1:, :].expand_as(below))
    right = padded[..., :height, width:]
    assert torch.equal(right, image[..., -1:].expand_as(right))


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"max_steps": 0}])
def test_an_impossible_recipe_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Recipe(**wrong)
