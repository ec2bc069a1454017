"""Networks that are trained by the nodes of a Ray cluster, all of them on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.small_sets import SETTINGS, Told, small_set, weights_of

import imseg
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.workers import ray_tasks
from imseg.engine.workers.choice import choose_executor
from imseg.engine.workers.executors import Processes, Serial
from imseg.engine.workers.ray_tasks import RayTasks
from imseg.errors import ImsegError, TrainingFailed
from imseg.networks.registry import CustomConfig, UNetConfig
from imseg.progress import Event, Stepped

GENERATION = {
    **SETTINGS, "approach": "im", "generations": 1, "patience": 0, "select": "all",
    "epochs": 250, "max_steps": 250, "validate_every": 50,
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes with a core each, the first of them the head."""
    pytest.importorskip("ray", reason="missing: the extra imseg[cluster]")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The networks that one process trains."""
    out = tmp_path_factory.mktemp("serial") / "run"
    imseg.fit(small_set("binary"), out=out, progress=Told(), executor=Serial(), **GENERATION)
    return weights_of(out)


class Losing(Told):
    """Calls something once, when a stage has made some steps.

    Args:
        lose: Called with nothing, by the stage.
    """

    def __init__(self, **lose: Any) -> None:
        super().__init__()
        self._lose = {name.replace("_", "-"): each for name, each in lose.items()}

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, Stepped):
            lose = self._lose.pop(event.network.partition("/")[0], None)
            if lose is not None:
                lose()


def workers_of_nodes() -> list[int]:
    """Return the processes on this machine that train networks."""
    shown = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    lines = (line.strip().partition(" ") for line in shown.stdout.splitlines())
    return [int(pid) for pid, _, words in lines if "imseg.engine.workers.worker" in words]


@pytest.mark.cluster
def test_nodes_that_are_lost_change_no_bit(cluster, serial, tmp_path) -> None:
    def lose() -> None:
        cluster.remove_node(next(iter(cluster.worker_nodes)))

    told = Losing(start=lose, generation_1=lose)
    run = imseg.fit(
        small_set("binary"), out=tmp_path / "run", progress=told,
        executor="ray", address=cluster.address, **GENERATION,
    )  # fmt: skip
    assert len(run.summary["stages"]) == 2
    assert not told._lose, "a node was taken away from every stage"
    assert told.said("its node was lost; it goes on elsewhere")
    assert weights_of(tmp_path / "run") == serial
    cluster.add_node(num_cpus=1)


@pytest.mark.cluster
def test_a_process_that_is_killed_on_a_node_is_started_again(cluster, serial, tmp_path) -> None:
    def kill() -> None:
        os.kill(workers_of_nodes()[0], signal.SIGKILL)

    told = Losing(start=kill)
    asked = {**GENERATION, "approach": "ldt", "networks": 1}
    for name in ("generations", "patience", "select"):
        del asked[name]
    imseg.fit(
        small_set("binary"), out=tmp_path / "run", progress=told,
        executor="ray", address=cluster.address, **asked,
    )  # fmt: skip
    assert told.said("and was started again")
    assert weights_of(tmp_path / "run").items() <= serial.items()


COMMAND = """
import sys
import imseg
from tests.e2e.small_sets import Told, small_set
from tests.engine.workers.test_ray_tasks import GENERATION
out, address = sys.argv[1:]
more = {"executor": "ray", "address": address}
imseg.fit(small_set("binary"), out=out, progress=Told(), **more, **GENERATION)
"""


@pytest.mark.cluster
def test_after_the_death_of_who_began_it_the_same_command_goes_on(
    cluster, serial, tmp_path
) -> None:
    root, run = Path(__file__).parents[3], tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(root)])}
    command = [sys.executable, "-c", COMMAND, str(run), cluster.address]
    began = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 200
    while not list(run.glob("generation-1/*")) and time.monotonic() < deadline:
        assert began.poll() is None
        time.sleep(0.1)
    began.kill()
    began.wait()
    finished = sorted(run.glob("start/*.safetensors"))
    when = [path.stat().st_mtime_ns for path in finished]
    assert len(finished) == 2 and not (run / "summary.json").exists()
    subprocess.run(command, check=True, env=environment)
    assert [path.stat().st_mtime_ns for path in finished] == when, "not trained twice"
    assert weights_of(run) == serial
    until = time.monotonic() + 20
    while workers_of_nodes() and time.monotonic() < until:
        time.sleep(0.2)
    assert not workers_of_nodes(), "nothing goes on behind"


@pytest.mark.cluster
def test_what_cannot_be_trained_says_so_and_takes_no_other_along(
    cluster, make_job, tmp_path
) -> None:
    good = make_job(0)
    bad = make_job(1, name="start/bad", output=tmp_path / "bad.safetensors")
    bad = type(bad)(**{**vars_of(bad), "samples": ()})
    ended: dict[str, str] = {}
    with RayTasks(cluster.address) as executor, pytest.raises(TrainingFailed, match="start/bad"):
        executor.run(
            [bad, good],
            stepped=lambda *about: None,
            noted=lambda *about: None,
            done=lambda job, trained, why: ended.update({job.name: why}),
        )


def vars_of(job: Any) -> dict[str, Any]:
    return {name: getattr(job, name) for name in type(job).__dataclass_fields__}


@pytest.mark.cluster
def test_nodes_with_other_versions_are_refused_before_training(
    cluster, make_job, monkeypatch
) -> None:
    monkeypatch.setattr(ray_tasks.platform, "python_version", lambda: "3.9.1")
    with RayTasks(cluster.address) as executor, pytest.raises(ImsegError) as refused:
        executor.run([make_job(0)], stepped=never, noted=never, done=never)
    assert "python 3.9.1" in refused.value.expected
    assert f"python {sys.version.split()[0]}" in refused.value.got


def never(*about: object) -> None:
    raise AssertionError("nothing is trained")


@pytest.mark.cluster
def test_a_network_needs_a_node_with_its_cores(cluster) -> None:
    with pytest.raises(ImsegError, match="No node of the Ray cluster has 2 cores"):
        RayTasks(cluster.address, threads=2).__enter__()
    import ray

    ray.shutdown()


def test_without_ray_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImsegError, match="ray is needed for --executor ray") as refused:
        RayTasks().__enter__()
    assert "imseg[cluster]" in refused.value.hint


def test_an_address_that_cannot_be_reached_is_told_in_seconds() -> None:
    pytest.importorskip("ray", reason="missing: the extra imseg[cluster]")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    began = time.monotonic()
    for address in (nobody, "nowhere", "ray://127.0.0.1:10001"):
        with pytest.raises(ImsegError) as refused:
            RayTasks(address).__enter__()
        assert address in refused.value.what and refused.value.hint
    assert time.monotonic() - began < 30


def test_who_trains_is_chosen_by_name() -> None:
    compute, network = ComputeConfig(device="cuda:0", threads=3), UNetConfig()
    chosen = choose_executor(compute, workers=4, network=network, name="ray", address="auto")
    assert isinstance(chosen, RayTasks)
    assert (chosen._address, chosen._threads, chosen._gpus) == ("auto", 3, 0.25)
    assert isinstance(choose_executor(compute, workers=4, network=network), Processes)
    own = CustomConfig(callable="__main__:<lambda> 0123")
    with pytest.raises(ImsegError, match="cannot be trained on other machines"):
        choose_executor(compute, workers=4, network=own, name="ray")


def test_steps_that_follow_one_another_are_told_together() -> None:
    def stepped(steps: int, loss: float) -> dict[str, Any]:
        return {"event": "stepped", "steps": steps, "loss": loss}

    note = {"event": "note", "text": "halved", "warning": False}
    short = ray_tasks._in_short([stepped(1, 4.0), stepped(3, 2.0), note, stepped(2, 1.0)])
    assert short == [stepped(4, 2.5), note, stepped(2, 1.0)]
