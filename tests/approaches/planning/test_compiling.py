"""Compiling is chosen where it pays for itself, and only then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imseg.approaches.planning import duration
from imseg.approaches.planning.budget import MOST_ON_GPU, make_plan, on_gpu
from imseg.approaches.planning.duration import compiling_may_pay, compiling_pays, is_worth
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.settings import Settings
from imseg.approaches.running import preparation
from imseg.engine.hardware.benchmark import BenchmarkRequest, BenchmarkResult
from imseg.errors import ImsegError
from imseg.types import TargetSpec

SPEC = TargetSpec(
    kind="binary", values=(0, 255), names=("background", "cell"), colors=((0, 0, 0), (9, 9, 9))
)
FACTS = Facts(
    task="binary", labeled=200, validation=50, unlabeled=1000, channels=3, outputs=1,
    typical_size=(128, 128),
)  # fmt: skip


def plan_of(**changes: object) -> Plan:
    asked = {"max_steps": 2000, "epochs": 100, "generations": 1, "networks": 3}
    plan = make_plan(Settings(approach="im", device="cpu", **asked), FACTS)
    compute = replace(plan.compute, **{"threads": 2, **changes})
    return replace(plan, workers=1, compute=compute)


class Machine:
    """Answers with what it is given, and remembers what it was asked."""

    start_up = 0.0

    def __init__(self, plain: float, compiled: float, first: float, *, works: bool = True) -> None:
        self._plain = BenchmarkResult(step=plain)
        self._compiled = BenchmarkResult(step=compiled, first=first, compiled=works)
        self.asked: list[bool] = []

    def ask(self, request: BenchmarkRequest, *, side_by_side: bool) -> BenchmarkResult:
        assert side_by_side, "with as many at once as will train"
        self.asked.append(request.job.compute.compile)
        return self._compiled if request.job.compute.compile else self._plain


def test_it_is_chosen_if_it_saves_more_than_it_costs() -> None:
    # 6 networks of up to 2,000 steps for one worker, of which the start has 700.
    assert compiling_pays(plan_of(), FACTS, SPEC, machine=Machine(0.5, 0.3, 40))
    assert not compiling_pays(plan_of(), FACTS, SPEC, machine=Machine(0.5, 0.5, 40))
    assert not compiling_pays(plan_of(), FACTS, SPEC, machine=Machine(0.5, 0.6, 40))
    assert not compiling_pays(plan_of(), FACTS, SPEC, machine=Machine(0.5, 0.3, 4000))
    assert not compiling_pays(plan_of(), FACTS, SPEC, machine=Machine(0.5, 0.1, 1, works=False))


def test_it_is_not_even_tried_where_steps_are_cheap() -> None:
    machine = Machine(0.0001, 0.00001, 1)
    assert not compiling_pays(plan_of(), FACTS, SPEC, machine=machine)
    assert machine.asked == [False]


def test_a_measurement_that_the_system_ends_means_no() -> None:
    class Ended(Machine):
        def ask(self, request: BenchmarkRequest, *, side_by_side: bool) -> BenchmarkResult:
            if request.job.compute.compile:
                raise ImsegError("ended", expected="memory")
            return super().ask(request, side_by_side=side_by_side)

    assert not compiling_pays(plan_of(), FACTS, SPEC, machine=Ended(0.5, 0.1, 1))


def test_it_is_no_question_on_a_cpu_with_one_thread_or_for_few_steps() -> None:
    assert compiling_may_pay(plan_of(), FACTS)
    assert not compiling_may_pay(plan_of(threads=1), FACTS)
    assert not compiling_may_pay(plan_of().with_recipe(max_steps=400), FACTS)
    assert compiling_may_pay(plan_of(threads=1, device="cuda"), FACTS)
    assert not compiling_may_pay(plan_of(device="mps"), FACTS)


@given(
    plain=st.floats(0.001, 10), compiled=st.floats(0.001, 10), first=st.floats(1, 100),
    steps=st.integers(1, 10**6), shapes=st.integers(1, 6),
)  # fmt: skip
def test_whoever_compiles_is_done_earlier(plain, compiled, first, steps, shapes) -> None:
    one, other = (
        BenchmarkResult(step=plain),
        BenchmarkResult(step=compiled, first=first, compiled=True),
    )
    if is_worth(one, other, steps=steps, shapes=shapes):
        assert steps * compiled + shapes * first < steps * plain


@pytest.mark.parametrize(("asked", "wanted"), [("on", True), ("off", False)])
def test_on_and_off_are_taken_at_their_word(asked: str, wanted: bool, monkeypatch) -> None:
    monkeypatch.setattr(duration, "compiling_pays", lambda *_: pytest.fail("nothing is measured"))
    plan = make_plan(Settings(compile=asked, max_steps=10, device="cpu"), FACTS)
    assert plan.compute.compile is wanted
    assert plan.as_dict()["compute"]["compile"] is wanted
    assert Plan.from_dict(plan.as_dict()) == plan


def test_what_was_resolved_is_what_is_planned(monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(duration, "compiling_may_pay", lambda *_: True)
    monkeypatch.setattr(duration, "compiling_pays", lambda *_: True)

    class Data:
        spec = SPEC

    plan, _ = preparation._new_plan(
        Settings(max_steps=10, device="cpu"), FACTS, Data(), matched=None, since=0.0,
        progress=lambda event: said.append(event.text), probe=True,
    )  # fmt: skip
    assert plan.compute.compile
    assert any("compiling pays" in text for text in said)
    assert any(", compiled," in text for text in said)


def test_networks_share_a_gpu_as_far_as_they_fit() -> None:
    gigabyte = 2**30
    assert on_gpu(10, free=140 * gigabyte, each=2 * gigabyte) == MOST_ON_GPU
    assert on_gpu(3, free=140 * gigabyte, each=2 * gigabyte) == 3
    assert on_gpu(10, free=8 * gigabyte, each=2 * gigabyte) == 2
    assert on_gpu(10, free=gigabyte, each=2 * gigabyte) == 1
    assert on_gpu(1, free=0, each=1) == 1
