"""A job is data: it survives a journey through JSON, and its digest knows what decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.samples import Copies, InitialWeights, UnlabeledViews
from imseg.engine.training.job import Trained, TrainJob
from imseg.engine.training.objectives.supervised import Supervised
from imseg.engine.training.objectives.two_views import TwoViews
from imseg.engine.training.recipe import Recipe
from imseg.networks.registry import PaperUNetConfig, UNetConfig
from imseg.ops.photometric import Strength


def test_a_job_comes_back_from_json_unchanged(make_job) -> None:
    job = make_job()
    text = job.as_json()
    assert "\n" not in text
    assert TrainJob.from_json(text) == job
    assert TrainJob.from_json(text).digest() == job.digest()


def every_field(job: TrainJob) -> TrainJob:
    """Return a job with everything that only some approaches have."""
    strength = Strength(blur=1, noise=5, gain=0.15, offset=5)
    copies = Copies(
        count=3,
        strength=strength,
        rotate=True,
        seed=2**62 + 3,
        counts=(0, 3, 1, 1, 2, 0),
        fresh=True,
        reblock=False,
    )
    part = replace(
        job.samples[0],
        copies=copies,
        shows=(0, 0, 1, 1, 2, 2),
        qualities=Path("qualities.npy"),
        block_color="noise",
    )
    unlabeled = UnlabeledViews(
        images=Path("unlabeled.npy"),
        digest="u",
        indices=(3, 1),
        strength=strength,
        moves=True,
        rotate=False,
        other=Strength(noise=1),
    )
    return replace(
        job,
        samples=(part,),
        objective=TwoViews(weight=0.3, ramp=4, level="high"),
        unlabeled=unlabeled,
        initial=InitialWeights(weights=Path("w.safetensors"), digest="w"),
    )


def test_what_only_some_jobs_have_survives_the_journey_to_a_worker(make_job) -> None:
    job = every_field(make_job())
    again = TrainJob.from_json(job.as_json())
    assert again == job
    assert again.digest() == job.digest()
    assert again.samples[0].copies.counts == (0, 3, 1, 1, 2, 0)
    assert type(again.unlabeled) is UnlabeledViews and type(again.initial) is InitialWeights


def test_what_only_some_jobs_have_decides_the_digest_but_its_place_does_not(make_job) -> None:
    job = every_field(make_job())
    part, copies = job.samples[0], job.samples[0].copies
    views, initial = job.unlabeled, job.initial
    others = [
        make_job(),
        replace(job, objective=Supervised(), unlabeled=None),
        replace(job, initial=None),
        replace(job, initial=replace(initial, digest="other")),
        *(
            replace(job, unlabeled=replace(views, **change))
            for change in (
                {"digest": "other"},
                {"indices": (1, 3)},
                {"moves": False},
                {"rotate": True},
                {"strength": Strength()},
                {"other": None},
            )
        ),
        replace(job, objective=Supervised()),
        *(
            replace(job, objective=replace(job.objective, **change))
            for change in ({"weight": 0.4}, {"ramp": 5}, {"level": "low"})
        ),
        replace(job, samples=(replace(part, shows=(0, 0, 1, 1, 2, 1)),)),
        replace(job, samples=(replace(part, copies=replace(copies, counts=(0, 3, 1, 1, 0, 2))),)),
    ]
    digests = [job.digest(), *(other.digest() for other in others)]
    assert len(set(digests)) == len(digests)
    moved = replace(
        job,
        samples=(replace(part, qualities=Path("elsewhere.npy")),),
        unlabeled=replace(views, images=Path("elsewhere.npy")),
        initial=replace(initial, weights=Path("elsewhere.safetensors")),
    )
    assert moved.digest() == job.digest()


def test_what_is_known_about_a_network_comes_back_from_json_unchanged() -> None:
    trained = Trained(
        name="start/network-0",
        job="abc",
        seed=2**62 + 1,
        images=6,
        steps=4,
        epochs=2,
        best_epoch=1,
        epoch_scores=(0.25, 0.1),
        losses=(0.5, 1 / 3),
        scores={"iou": 0.1 + 0.2},
        parameters=10,
        flops=1e9,
        seconds=0.5,
        network=UNetConfig(width=0.25),
        channels=1,
        outputs=1,
    )
    assert Trained.from_json(trained.as_json()) == trained


def test_places_and_names_do_not_change_the_digest(make_job, stored) -> None:
    job = make_job()
    elsewhere = replace(job.samples[0], images=Path("a.npy"), targets=Path("b.npy"))
    renamed = {**job.target, "names": ["sky", "cloud"], "colors": [[1, 2, 3], [4, 5, 6]]}
    other = replace(
        job,
        name="generation-9/network-9",
        output=Path("elsewhere.safetensors"),
        samples=(elsewhere,),
        validation=replace(job.validation, images=Path("c.npy"), targets=Path("d.npy")),
        target=renamed,
    )
    assert other.digest() == job.digest()


def changes(job: TrainJob) -> dict[str, TrainJob]:
    part = job.samples[0]
    compute, recipe = job.compute, job.recipe
    return {
        "seed": replace(job, seed=job.seed + 1),
        "epochs": replace(job, recipe=replace(recipe, epochs=3)),
        "most steps": replace(job, recipe=replace(recipe, max_steps=1)),
        "batch size": replace(job, recipe=replace(recipe, batch_size=2)),
        "learning rate": replace(job, recipe=replace(recipe, learning_rate=0.001)),
        "decay": replace(job, recipe=replace(recipe, weight_decay=0.0)),
        "paper": replace(job, recipe=replace(recipe, paper=True)),
        "content": replace(job, samples=(replace(part, digest="other"),)),
        "images used": replace(job, samples=(replace(part, indices=(0, 1)),)),
        "image blocking": replace(job, samples=(replace(part, blocks_input=False),)),
        "label blocking": replace(job, samples=(replace(part, blocks_output=False),)),
        "block color": replace(job, samples=(replace(part, block_color="mean"),)),
        "ignoring": replace(job, samples=(replace(part, ignores=True),)),
        "another part": replace(job, samples=(part, part)),
        "validation": replace(job, validation=replace(job.validation, digest="other")),
        "mask values": replace(job, target={**job.target, "values": [0, 1]}),
        "void": replace(job, target={**job.target, "void": 9}),
        "schedule": replace(job, recipe=replace(recipe, schedule="cosine")),
        "warm-up": replace(job, recipe=replace(recipe, warm_up=1)),
        "averaged weights": replace(job, recipe=replace(recipe, average=0.9)),
        "last weights": replace(job, recipe=replace(recipe, keep="last")),
        "validation now and then": replace(job, recipe=replace(recipe, validate_every=2)),
        "channels": replace(job, channels=3),
        "outputs": replace(job, outputs=2),
        "another network": replace(job, network=PaperUNetConfig(width=job.network.width)),
        "width": replace(job, network=replace(job.network, width=0.5)),
        "threads": replace(job, compute=replace(compute, threads=2)),
        "precision": replace(job, compute=replace(compute, precision="bfloat16")),
        "device": replace(job, compute=replace(compute, device="cuda")),
        "compiled steps": replace(job, compute=replace(compute, compile=True)),
        "memory format": replace(job, compute=replace(compute, channels_last=False)),
    }


def test_everything_that_decides_the_result_changes_the_digest(make_job) -> None:
    job = make_job()
    digests = {name: other.digest() for name, other in changes(job).items()}
    assert [name for name, digest in digests.items() if digest == job.digest()] == []
    assert len(set(digests.values())) == len(digests)


def test_a_second_try_has_another_seed_and_half_the_learning_rate(make_job) -> None:
    job = make_job()
    again = job.second_try()
    assert again.seed != job.seed
    assert again.recipe == replace(job.recipe, learning_rate=job.recipe.learning_rate / 2)
    assert replace(again, seed=job.seed, recipe=job.recipe) == job


def test_a_job_counts_images_and_steps_of_all_parts(make_job) -> None:
    part = make_job().samples[0]
    job = make_job(
        samples=(part, replace(part, indices=(0, 1))), recipe=Recipe(epochs=3, batch_size=4)
    )
    assert (job.images, job.steps) == (8, 6)


@pytest.mark.parametrize("owner", [TrainJob, Recipe, UNetConfig, ComputeConfig, Trained])
def test_what_travels_is_frozen(owner) -> None:
    assert owner.__dataclass_params__.frozen
