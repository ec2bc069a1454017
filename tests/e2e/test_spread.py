"""Work that is spread over machines: pieces in any order, given as JSON, are the work of one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.small_sets import SETTINGS, Told, pairs, scenes, weights_of

import imseg
from imseg.approaches.running import teachers
from imseg.approaches.running.teachers import PLACE
from imseg.comparison import runner
from imseg.data.synthetic import CellScene, write_demo
from imseg.engine.workers import ray_calls, ray_cluster
from imseg.engine.workers.executors import Serial, Spread
from imseg.errors import ImsegError, TrainingFailed
from imseg.report.predictions import work
from imseg.report.predictions.places import INCONSISTENCY, OVERLAYS, others_beside
from imseg.report.predictions.writing import write_predictions

UNLABELED = 70
"""So many that they make three batches, and with them pieces."""


class Backwards(Spread):
    """Makes calls in this process, the last first, with arguments and answers in JSON."""

    def __init__(self, most: int | None = None) -> None:
        self.calls: list[str] = []
        self._most = most

    def each(
        self, function: Callable[..., Any], arguments: Iterable[Mapping[str, Any]], *, cores: int
    ) -> Iterator[tuple[int, Any]]:
        asked = [json.dumps(given) for given in arguments]
        for number in reversed(range(len(asked))):
            if self._most is not None and len(self.calls) == self._most:
                raise KeyboardInterrupt
            self.calls.append(function.__name__)
            said = ray_calls.call_here(function, asked[number], json.dumps(ray_cluster.versions()))
            yield number, ray_calls.result_of(json.loads(said))


class Elsewhere(Serial):
    """Trains here, and has everything else done backwards."""

    def __init__(self, spread: Spread) -> None:
        self._spread = spread

    @property
    def spread(self) -> Spread:
        return self._spread


@pytest.fixture(scope="module")
def data() -> imseg.types.DataSet:
    return imseg.dataset_from_arrays(
        pairs("binary", 0, 8), unlabeled=scenes(1, UNLABELED)[0], val=pairs("binary", 2, 4),
        task="binary",
    )  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    monkeypatch.setattr(teachers, "LARGEST", 1)
    monkeypatch.setattr(work, "PIECE", 1)
    teachers._opened.cache_clear()
    work._opened.cache_clear()


IM = {**SETTINGS, "approach": "im", "generations": 2, "patience": 0, "select": "all"}
APPROACHES: dict[str, dict[str, Any]] = {
    "im": IM,
    "im++": {**IM, "approach": "im++"},
    "input-ensemble": {**SETTINGS, "approach": "input-ensemble", "select": "all"},
}


@pytest.mark.parametrize(
    "approach",
    ["im", *(pytest.param(name, marks=pytest.mark.rest) for name in ("im++", "input-ensemble"))],
)
def test_pieces_of_pseudo_labels_are_those_of_one_process(approach, data, tmp_path) -> None:
    asked, spread = APPROACHES[approach], Backwards()
    imseg.fit(data, out=tmp_path / "one", progress=Told(), executor=Serial(), **asked)
    imseg.fit(data, out=tmp_path / "many", progress=Told(), executor=Elsewhere(spread), **asked)
    assert spread.calls and set(spread.calls) == {"label_piece"}
    assert len(spread.calls) % 3 == 0, "pieces of a batch of images each"
    found = weights_of(tmp_path / "many")
    assert found == weights_of(tmp_path / "one") and any("generation" in name for name in found)


def test_pieces_that_are_there_are_not_asked_for_again(data, tmp_path) -> None:
    imseg.fit(data, out=tmp_path / "one", progress=Told(), executor=Serial(), **IM)
    run, first, second = tmp_path / "run", Backwards(most=2), Backwards()
    with pytest.raises(KeyboardInterrupt):
        imseg.fit(data, out=run, progress=Told(), executor=Elsewhere(first), **IM)
    pieces = list((run / "cache" / "generation-1" / PLACE).glob("*/*.safetensors"))
    assert len(pieces) == 2
    imseg.fit(data, out=run, progress=Told(), executor=Elsewhere(second), **IM)
    assert len(second.calls) == 1 + 3, "the one that was missing, and the next generation's"
    assert weights_of(run) == weights_of(tmp_path / "one")


def test_a_node_does_not_take_networks_of_another_run_for_those_of_the_same_names(
    data, tmp_path
) -> None:
    out, asked = tmp_path / "run", {**IM, "generations": 1}
    for seed in (0, 1):
        shutil.rmtree(out, ignore_errors=True)
        imseg.fit(
            data, out=out, progress=Told(), executor=Elsewhere(Backwards()), seed=seed, **asked
        )
    imseg.fit(data, out=tmp_path / "one", progress=Told(), executor=Serial(), seed=1, **asked)
    assert weights_of(out) == weights_of(tmp_path / "one")


@pytest.mark.rest
def test_a_damaged_piece_is_told_and_made_again(data, tmp_path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        imseg.fit(data, out=run, progress=Told(), executor=Elsewhere(Backwards(most=2)), **IM)
    piece = next((run / "cache" / "generation-1" / PLACE).glob("*/*.safetensors"))
    content = bytearray(piece.read_bytes())
    content[len(content) // 2] ^= 1
    piece.write_bytes(content)
    with pytest.raises(ImsegError, match="is damaged"):
        imseg.fit(data, out=run, progress=Told(), executor=Elsewhere(Backwards()), **IM)
    imseg.fit(data, out=run, progress=Told(), executor=Elsewhere(Backwards()), **IM)
    imseg.fit(data, out=tmp_path / "one", progress=Told(), executor=Serial(), **IM)
    assert weights_of(run) == weights_of(tmp_path / "one")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("spread") / "data"
    scene = CellScene(difficulty=0.0, size=(32, 32))
    write_demo(out, seed=1, labeled=8, unlabeled=6, val=4, test=4, scene=scene)
    return out


def files_of(out: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def test_pieces_of_a_prediction_are_those_of_one_process(folder, tmp_path, monkeypatch) -> None:
    run = imseg.fit(folder, out=tmp_path / "run", progress=Told(), executor=Serial(), **IM)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in (folder / "unlabeled").rglob("*.png"):
        (pictures / path.name).write_bytes(path.read_bytes())
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    half = next(pictures.glob("*0*.png")).read_bytes()
    (pictures / "half.png").write_bytes(half[: len(half) // 2])
    monkeypatch.chdir(tmp_path)
    here, there = Path("one"), Path("many")
    spread, told = Backwards(), []
    more: dict[str, Any] = {"overlay": True, "inconsistency": True}
    one = write_predictions(
        run, pictures, here, skip=lambda image, _: told.append(image.name), **more
    )
    many = write_predictions(
        run, pictures, there, skip=lambda image, _: told.append(image.name),
        spread=spread, **more,
    )  # fmt: skip
    assert len(spread.calls) >= 6
    assert sorted(told) == ["broken.png"] * 2 + ["half.png"] * 2
    for found, out in ((one, here), (many, there)):
        assert all(Path(each.mask).parent == out for each in found), "named as OUT was"
        assert not others_beside(found, out, run.spec, beside=[OVERLAYS, INCONSISTENCY])
    assert [each.image for each in one] == [each.image for each in many]
    found = files_of(tmp_path / "one")
    assert found == files_of(tmp_path / "many") and len(found) > 18


@pytest.mark.rest
def test_a_comparison_whose_runs_are_made_elsewhere_is_the_same(
    folder, tmp_path, monkeypatch
) -> None:
    asked: dict[str, Any] = {
        **{name: value for name, value in SETTINGS.items() if name != "networks"},
        "approaches": ["ldt", "im"], "seeds": [0, 1], "generations": 1,
    }  # fmt: skip
    one = imseg.compare(folder, out=tmp_path / "one", progress=Told(), **asked)
    spread, told = Backwards(), Told()
    monkeypatch.setattr(runner, "choose_executor", lambda *_, **__: Elsewhere(spread))
    many = imseg.compare(folder, out=tmp_path / "many", progress=told, **asked)
    assert spread.calls == ["make_run"] * 6
    assert told.said("1 of 6 runs: seed-1/ldt is finished; about")
    assert told.said("6 of 6 runs: seed-0/ldt-matched-to-im is finished")
    assert not told.said("run 1 of 6"), "nothing is told twice"
    for a, b in zip(one.rows, many.rows, strict=True):
        assert (a.name, a.mean, a.difference) == (b.name, b.mean, b.difference)
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "many")
    imseg.compare(folder, out=tmp_path / "many", progress=Told(), **asked)
    assert len(spread.calls) == 6, "nothing is made twice"


def test_what_goes_wrong_elsewhere_is_told_here() -> None:
    def answer(number: int) -> Any:
        mine = json.dumps(ray_cluster.versions())
        said = ray_calls.call_here(double, json.dumps({"number": number}), mine)
        return ray_calls.result_of(json.loads(said))

    assert answer(4) == 8
    with pytest.raises(ImsegError, match="too large") as refused:
        answer(400)
    assert refused.value.hint == "a smaller one."
    with pytest.raises(TrainingFailed, match="not a number"):
        answer(-1)
    other = json.dumps({**ray_cluster.versions(), "torch": "0.4"})
    with pytest.raises(ImsegError, match="cannot take part") as refused:
        ray_calls.result_of(json.loads(ray_calls.call_here(double, "{}", other)))
    assert "torch 0.4" in refused.value.expected


def double(number: int) -> int:
    if number > 100:
        raise ImsegError("The number is too large.", expected="100", hint="a smaller one.")
    if number < 0:
        raise TrainingFailed("not a number")
    return 2 * number
