"""Networks that are trained by the nodes of a Ray cluster, all of them on this machine."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import threading
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
from imseg.engine.training.recipe import Recipe
from imseg.engine.workers import ray_cluster, ray_tasks
from imseg.engine.workers.choice import choose_executor, nodes_named
from imseg.engine.workers.executors import Processes, Serial
from imseg.engine.workers.ray_cluster import RayCluster
from imseg.engine.workers.ray_tasks import RayTasks
from imseg.errors import ImsegError, TrainingFailed
from imseg.networks.registry import CustomConfig, UNetConfig
from imseg.progress import Event, Stepped, Working

GENERATION = {
    **SETTINGS, "approach": "im", "generations": 1, "patience": 0, "select": "all",
    "epochs": 250, "max_steps": 250, "validate_every": 50,
}  # fmt: skip


LONG = Recipe(epochs=100_000, batch_size=3)
"""Of a network that takes longer than any test."""
NODE = {"num_cpus": 1, "memory": 2 << 30, "object_store_memory": 80 << 20}
OURS = "IMSEG_NODES_OF_TEST"
"""Variable that all processes of the cluster inherit, and no others."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes with a core and 2 GiB each, the first of them the head."""
    pytest.importorskip("ray", reason="missing: the extra imseg[cluster]")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ[OURS] = str(os.getpid())
    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    for _ in range(2):
        made.add_node(**NODE)
    yield made
    made.shutdown()


@pytest.fixture
def joined(cluster) -> Iterator[Any]:
    """A function that adds a node to the cluster for one test."""
    added = []

    def join(**changes: Any) -> None:
        added.append(cluster.add_node(**{**NODE, **changes}))

    yield join
    for node in added:
        cluster.remove_node(node)


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
    """Return the processes that train networks for nodes of this test's cluster."""
    command = ["ps", "axeww", "-o", "pid,args"]  # "e": what a process inherits follows its words
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = (line.strip().partition(" ") for line in shown.stdout.splitlines())
    ours = f"{OURS}={os.getpid()}"
    return [
        int(pid)
        for pid, _, words in lines
        if "imseg.engine.workers.worker " in words and ours in words.split()
    ]


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
    for _ in range(2):
        cluster.add_node(**NODE)


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
    cluster.add_node(**NODE)


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
    cluster.add_node(**NODE)


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


def other_version(folder: Path) -> dict[str, str]:
    """Return what a node inherits on which imseg says that it is version 0.0.1."""
    said = folder / "imseg-0.0.1.dist-info" / "METADATA"
    said.parent.mkdir()
    said.write_text("Metadata-Version: 2.1\nName: imseg\nVersion: 0.0.1\n", encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}


def never(*about: object) -> None:
    raise AssertionError("nothing is trained")


def ignored(*about: object) -> None:
    """Hear it."""


@pytest.mark.cluster
def test_a_node_with_other_versions_is_refused_before_training(
    cluster, joined, make_job, tmp_path
) -> None:
    joined(env_vars=other_version(tmp_path))
    with RayTasks(cluster.address) as executor, pytest.raises(ImsegError) as refused:
        executor.run([make_job(0)], stepped=never, noted=never, done=never)
    assert f"imseg {imseg.__version__} as here" in refused.value.expected
    assert refused.value.got.endswith(": imseg 0.0.1") and ";" not in refused.value.got


@pytest.mark.cluster
def test_a_node_that_joins_while_a_stage_is_trained_is_looked_at(
    cluster, joined, make_job, tmp_path
) -> None:
    waits = threading.Event()

    def join(*about: object) -> None:
        if not waits.is_set():
            waits.set()
            joined(num_cpus=8, env_vars=other_version(tmp_path))

    jobs = [make_job(i, recipe=LONG) for i in range(4)]
    with RayTasks(cluster.address) as executor, pytest.raises(ImsegError) as refused:
        executor.run(jobs, stepped=join, noted=ignored, done=never)
    assert refused.value.got == f"{platform.node()}: imseg 0.0.1"


@pytest.mark.cluster
def test_a_node_that_does_not_see_the_run_is_refused(cluster) -> None:
    with RayCluster(cluster.address, {"CPU": 1.0}) as nodes, pytest.raises(ImsegError) as refused:
        nodes.check(Path("/nowhere/run"))
    assert refused.value.got.count("/nowhere/run is not there") == 3


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("needs", "words", "most"),
    [
        ({"threads": 2}, "2 cores,", "1 core."),
        ({"gpus": 0.5}, "1 core and 0.5 of a GPU,", "1 core and 0 of a GPU."),
        ({"memory": 3 << 30}, "1 core and 3.0 GiB of memory,", "1 core and 2.0 GiB of memory."),
    ],
)
def test_a_network_needs_a_node_with_room_for_it(cluster, needs, words, most) -> None:
    import ray

    with pytest.raises(ImsegError, match=f"No node of the Ray cluster has {words}") as refused:
        RayTasks(cluster.address, **needs).__enter__()
    assert refused.value.got == f"nodes with at most {most}"
    assert not ray.is_initialized(), "the connection is closed"


def gpus_seen() -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.cluster
@pytest.mark.parametrize(("device", "seen"), [("auto", "0"), ("cpu", "")])
def test_a_call_has_a_gpu_to_itself_where_there_is_one(
    cluster, joined, tmp_path, device, seen
) -> None:
    joined(num_gpus=1)
    with nodes_named("ray", cluster.address, place=tmp_path, device=device) as nodes:
        assert nodes is not None
        assert [found for _, found in nodes.each(gpus_seen, [{}, {}], cores=1)] == [seen, seen]


@pytest.mark.cluster
def test_networks_share_the_memory_of_a_node(cluster, joined, make_job) -> None:
    joined(num_cpus=2, memory=4 << 30)
    told: list[str] = []
    with RayTasks(cluster.address, memory=3 << 30) as executor:
        executor.run(
            [make_job(0), make_job(1)],
            stepped=lambda job, *about: told.append(job.name),
            noted=ignored,
            done=lambda job, trained, why: told.append(f"end of {job.name}"),
        )
    first, second = dict.fromkeys(name for name in told if not name.startswith("end"))
    assert told.index(f"end of {first}") < told.index(second), "one after the other"


@pytest.mark.cluster
def test_a_network_that_was_finished_when_its_task_was_lost_is_not_trained_again(
    cluster, make_job
) -> None:
    job, ended, notes = make_job(0), [], []

    def lose(*about: object) -> None:
        if ended:
            return
        (worker,) = workers_of_nodes()
        command = ["ps", "-o", "ppid=", "-p", str(worker)]
        task = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        os.kill(task, signal.SIGSTOP)  # it passes nothing on any more
        until = time.monotonic() + 60
        while not job.output.with_suffix(".json").exists() and time.monotonic() < until:
            time.sleep(0.05)
        ended.append(job.output.stat().st_mtime_ns)
        os.kill(task, signal.SIGKILL)

    networks = []
    with RayTasks(cluster.address) as executor:
        executor.run(
            [job],
            stepped=lose,
            noted=lambda job, text, warning: notes.append(text),
            done=lambda job, trained, why: networks.append(trained),
        )
    assert [network.job for network in networks] == [job.digest()]
    assert job.output.stat().st_mtime_ns == ended[0] and not notes


@pytest.mark.cluster
def test_only_the_calling_thread_speaks_with_ray_and_an_error_ends_no_process(
    cluster, make_job, tmp_path
) -> None:
    heard_by = set()

    class Enough(Exception):
        """Raised where steps are told."""

    def stop(*about: object) -> None:
        heard_by.add(threading.current_thread())
        raise Enough

    jobs = [make_job(i, recipe=LONG) for i in range(5)]  # two of them wait for room
    with pytest.raises(Enough), RayTasks(cluster.address) as executor:
        executor.run(jobs, stepped=stop, noted=ignored, done=never)
    assert heard_by == {threading.current_thread()}
    until = time.monotonic() + 20
    while workers_of_nodes() and time.monotonic() < until:
        time.sleep(0.2)
    assert not workers_of_nodes(), "nothing goes on behind"


@pytest.mark.cluster
def test_who_hears_that_the_command_is_to_end_hears_it_beside_ray_too(cluster) -> None:
    def hear(*about: object) -> None:
        """Be told."""

    before = signal.signal(signal.SIGTERM, hear)
    try:
        for address in (cluster.address, None):
            with RayTasks(address):
                assert signal.getsignal(signal.SIGTERM) is hear
            assert signal.getsignal(signal.SIGTERM) is hear
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.cluster
def test_a_cluster_of_another_version_of_ray_is_told_with_both(cluster, monkeypatch) -> None:
    import ray

    with monkeypatch.context() as changed, pytest.raises(ImsegError) as refused:
        changed.setattr(ray, "__version__", "0.0.1")
        RayTasks(cluster.address).__enter__()
    assert "cannot be joined from here" in refused.value.what
    assert "Ray: 0.0.1" in refused.value.got and f"Ray: {ray.__version__}" in refused.value.got


WITH_TOKEN = """
import sys
from ray.cluster_utils import Cluster
head = {"num_cpus": 1, "memory": 2 << 30, "object_store_memory": 80 << 20}
made = Cluster(initialize_head=True, head_node_args={**head, "include_dashboard": False})
print(made.address, flush=True)
sys.stdin.read()
made.shutdown()
"""


JOIN = """
import sys
from imseg.engine.workers.ray_cluster import RayCluster
from imseg.engine.workers.ray_tasks import RayTasks
from imseg.errors import ImsegError
try:
    with RayTasks(sys.argv[1]):
        print("joined")
except ImsegError as error:
    print(error.got)
"""


@pytest.mark.cluster
def test_a_cluster_that_asks_for_a_token_is_joined_with_it(cluster, tmp_path) -> None:
    path = os.pathsep.join(each for each in sys.path if each)
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("RAY_AUTH")}
    bare = {**kept, "PYTHONPATH": path, "HOME": str(tmp_path)}
    right, wrong = (
        {**bare, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": letter * 64} for letter in "ab"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", WITH_TOKEN], env=right, **pipes) as head:
        address = head.stdout.readline().strip()

        def said(environment: dict[str, str]) -> str:
            command = [sys.executable, "-c", JOIN, address]
            return subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            ).stdout.strip()

        assert said(right) == "joined"
        for environment in (bare, wrong):
            assert "token is missing or incorrect" in said(environment)
        head.stdin.close()


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
