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
from PIL import Image
from tests.e2e.small_sets import SETTINGS, Told, pairs, scenes, small_set, weights_of

import imseg
from imseg.approaches.running import teachers
from imseg.cli.main import run as command_line
from imseg.data.synthetic import CellScene, write_demo
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.workers import ray_cluster, ray_tasks
from imseg.engine.workers.choice import choose_executor
from imseg.engine.workers.executors import Processes, Serial
from imseg.engine.workers.ray_tasks import RayTasks
from imseg.errors import ImsegError, TrainingFailed
from imseg.networks.registry import CustomConfig, UNetConfig
from imseg.progress import Event, Stepped, Working

MARK = "IMSEG_TEST_OF_NODES"
"""What the processes of the nodes of these tests have in their environment."""
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
    os.environ[MARK] = str(os.getpid())  # handed on to everything that nodes start
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
    """Return the processes of these nodes that train networks."""
    shown = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    lines = (line.strip().partition(" ") for line in shown.stdout.splitlines())
    workers = [int(pid) for pid, _, words in lines if "imseg.engine.workers.worker" in words]
    return [pid for pid in workers if f"{MARK}={os.getpid()}".encode() in surroundings_of(pid)]


def surroundings_of(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


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


class LosingAt(Told):
    """Takes a node away once, while something is done.

    Args:
        cluster: Whose node.
        what: Words of what is done.
    """

    def __init__(self, cluster: Any, what: str) -> None:
        super().__init__()
        self._cluster, self._what = cluster, what
        self.lost = False

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        said = event.what if isinstance(event, Working) else getattr(event, "text", "")
        if self._what in said and not self.lost:
            self.lost = True
            self._cluster.remove_node(next(iter(self._cluster.worker_nodes)))


@pytest.mark.cluster
def test_a_node_that_is_lost_while_it_labels_changes_no_bit(cluster, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(teachers, "LARGEST", 1)  # a piece for each batch
    images = imseg.dataset_from_arrays(
        pairs("binary", 0, 8), unlabeled=scenes(1, 200)[0], val=pairs("binary", 2, 4), task="binary"
    )
    asked = {**GENERATION, "epochs": 3, "max_steps": 3, "validate_every": 1}
    imseg.fit(images, out=tmp_path / "one", progress=Told(), executor=Serial(), **asked)
    told = LosingAt(cluster, "generation-1: pseudo-labels")
    imseg.fit(
        images, out=tmp_path / "many", progress=told,
        executor="ray", address=cluster.address, **asked,
    )  # fmt: skip
    assert told.lost
    found = weights_of(tmp_path / "many")
    assert found == weights_of(tmp_path / "one") and len(found) == 4
    cluster.add_node(num_cpus=1)


@pytest.mark.cluster
def test_runs_of_a_comparison_are_made_at_once_and_a_lost_node_changes_nothing(
    cluster, tmp_path
) -> None:
    data = tmp_path / "data"
    scene = CellScene(difficulty=0.0, size=(32, 32))
    write_demo(data, seed=1, labeled=8, unlabeled=6, val=4, test=4, scene=scene)
    asked = {
        **{name: value for name, value in SETTINGS.items() if name != "networks"},
        "approaches": ["ldt", "im"], "seeds": [0, 1], "generations": 1, "workers": 1,
        "epochs": 60, "max_steps": 60,
    }  # fmt: skip
    one = imseg.compare(data, out=tmp_path / "one", progress=Told(), **asked)
    told = LosingAt(cluster, "at once on the cluster: seed-0/im")
    many = imseg.compare(
        data, out=tmp_path / "many", progress=told,
        executor="ray", address=cluster.address, **asked,
    )  # fmt: skip
    assert told.lost and told.said("at once on the cluster: seed-0/ldt, seed-1/ldt")
    for a, b in zip(one.rows, many.rows, strict=True):
        assert (a.name, a.mean, a.difference) == (b.name, b.mean, b.difference)
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "many")
    cluster.add_node(num_cpus=1)


@pytest.mark.cluster
def test_pictures_are_predicted_by_nodes(cluster, tmp_path) -> None:
    images = scenes(3, 5)[0]
    run = imseg.fit(small_set("binary"), out=tmp_path / "run", executor=Serial(), **SETTINGS)
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"pictures/{number}.png")
    command = [
        "predict", str(run.path), str(tmp_path / "pictures"), "--out",
    ]  # fmt: skip
    assert command_line([*command, str(tmp_path / "one")]) == 0
    ray = ["--executor", "ray", "--address", cluster.address]
    assert command_line([*command, str(tmp_path / "many"), *ray]) == 0
    for name in [*(f"{number}.png" for number in range(5)), "measurements.csv"]:
        one, many = (tmp_path / place / name for place in ("one", "many"))
        assert one.read_bytes() == many.read_bytes()


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
    monkeypatch.setattr(ray_cluster.platform, "python_version", lambda: "3.9.1")
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

    assert not ray.is_initialized(), "nothing stays connected"


@pytest.mark.cluster
def test_a_network_needs_a_node_with_its_memory(cluster) -> None:
    with pytest.raises(ImsegError, match=r"and 1048576\.0 GiB of memory") as refused:
        RayTasks(cluster.address, memory=2**50).__enter__()
    assert "GiB" in refused.value.got and "core" in refused.value.got


@pytest.mark.cluster
def test_who_answers_to_sigterm_stays_who_it_was(cluster) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, never)
        with RayTasks(cluster.address):
            assert signal.getsignal(signal.SIGTERM) is never
    finally:
        signal.signal(signal.SIGTERM, before)


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


def test_an_address_that_never_answers_is_told_in_seconds(monkeypatch) -> None:
    pytest.importorskip("ray", reason="missing: the extra imseg[cluster]")
    monkeypatch.setattr(ray_cluster, "REACHED_WITHIN", 4.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(ImsegError, match="can be reached") as refused:
            RayTasks(f"127.0.0.1:{silent.getsockname()[1]}").__enter__()
    assert time.monotonic() - began < 15
    assert "4 s" in refused.value.got or "deadline" in refused.value.got.lower()


def test_who_trains_is_chosen_by_name() -> None:
    compute, network = ComputeConfig(device="cuda:0", threads=3), UNetConfig()
    chosen = choose_executor(compute, workers=4, network=network, name="ray", address="auto")
    assert isinstance(chosen, RayTasks)
    assert chosen._cluster._address == "auto"
    assert chosen._needs == {"CPU": 3.0, "GPU": 0.25, "memory": 0.0}
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
