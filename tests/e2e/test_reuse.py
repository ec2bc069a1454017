"""Networks that are taken over have the place, and so the meaning, that they have in this run."""

from __future__ import annotations

import shutil

import pytest
from tests.e2e.small_sets import Told, small_set, train, weights_of
from tests.sets import rest_but
from torch import Tensor, nn

from imseg.engine.training.job import read_trained
from imseg.engine.workers.executors import Serial
from imseg.errors import ImsegError


class Tiny(nn.Module):
    """A user's own network: one convolution."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, outputs, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        found: Tensor = self.layer(images)
        return found


def tiny(*, channels: int, outputs: int, width: float) -> nn.Module:
    return Tiny(channels, outputs)


@pytest.mark.parametrize(
    ("first", "then", "taken"),
    rest_but(
        [
            ("aldt", "evalnet", "scorer-start"),
            ("evalnet", "aim+", "start"),
            ("im++", "im+", "start"),
        ],
        lambda first, *_: first == "im++",
    ),
)
def test_a_run_with_networks_taken_over_is_the_run_without(tmp_path, first, then, taken) -> None:
    data = small_set("binary")
    options = {"select": "all", "thresholds": (1e-6, 2e-6)}
    mine = {
        name: {
            key: value
            for key, value in {**options, "generations": 1}.items()
            if name != "aldt" and not (key == "thresholds" and name in ("im+", "aim+"))
        }
        for name in (first, then)
    }
    train(data, first, tmp_path / "runs" / first, **mine[first])
    alone = train(data, then, tmp_path / "alone", **mine[then])
    told = Told()
    helped = train(
        data, then, tmp_path / "helped", told=told, reuse=tmp_path / "runs", **mine[then]
    )
    assert [name for name in told.reused if name.startswith(taken)]
    assert weights_of(helped.path) == weights_of(alone.path)
    for path in helped.path.rglob("*.safetensors"):
        known = read_trained(path)
        assert known is not None
        assert known.name == path.relative_to(helped.path).with_suffix("").as_posix()


def test_a_ranking_of_foreign_names_is_not_believed(tmp_path) -> None:
    run = train(small_set("binary"), "ldt", tmp_path / "run")
    before = weights_of(run.path)
    one, other = (run.path / "start" / f"network-{number}.json" for number in (0, 1))
    shutil.copy(other, one)
    (run.path / "summary.json").unlink()
    again = train(small_set("binary"), "ldt", tmp_path / "run")
    assert weights_of(again.path) == before
    assert again.trained("start/network-0").name == "start/network-0"


@pytest.mark.parametrize("approach", rest_but(["im++", "evalnet"], lambda name: name == "im++"))
def test_masks_of_a_users_own_network_are_scored_by_ours(tmp_path, approach) -> None:
    # Three steps teach little: that all is background would end a run with patience.
    options = {"select": "all", "thresholds": (1e-6, 2e-6), "generations": 1, "patience": 0}
    out, own = tmp_path / "run", Serial()
    run = train(small_set("binary"), approach, out, network=tiny, executor=own, **options)
    assert run.judgment is not None
    named = {network["name"]: network for network in run.summary["aside"][-1]["networks"]}
    assert all(name.startswith("scorers/") for name in named)
    stages = [stage["name"] for stage in run.summary["stages"]]
    assert stages == ["start", "generation-1"]
    assert run.trained("generation-1/network-0").network.callable.split("#")[0].endswith(":tiny")
    with pytest.raises(ImsegError, match="scorers/network-0 scores masks, it makes none") as caught:
        run.load(["scorers/network-0"])
    assert "start/network-0" in str(caught.value) and "Expected" in str(caught.value)
