"""Which executor trains the networks of a run, and who else can be given work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.workers import executors, ray_calls, ray_cluster, ray_tasks
from imseg.errors import ImsegError
from imseg.networks.registry import Network

ExecutorName = Literal["auto", "ray"]
"""``auto``: this machine. ``ray``: the nodes of a Ray cluster."""


def choose_executor(
    compute: ComputeConfig,
    *,
    workers: int,
    network: Network,
    name: ExecutorName = "auto",
    address: str | None = None,
    memory: int | None = None,
) -> executors.Executor:
    """Return who trains networks.

    On this machine these are processes for several networks side by side, on the CPU or one GPU;
    else this process. A network of the user's own that other processes could not import is trained
    in this one.

    Args:
        compute: How networks are computed.
        workers: How many are trained side by side on a machine.
        network: Which network.
        name: Where they are trained.
        address: Of a Ray cluster; None: one is started here.
        memory: Bytes that the process of a training takes, told to a cluster; None: unknown.

    Raises:
        ImsegError: If a cluster is asked for and the network cannot be imported there.
    """
    kind = torch.device(compute.device).type
    if name == "ray":
        if not network.is_importable:
            raise ImsegError(
                "A network that is given as an object cannot be trained on other machines.",
                expected="a network that they can import.",
                got=network.name,
                hint="--network module:callable, with the module installed on all nodes.",
            )
        share = 1 / workers if kind == "cuda" else 0.0
        return ray_tasks.RayTasks(address, threads=compute.threads, gpus=share, memory=memory)
    if workers > 1 and kind in ("cpu", "cuda") and network.is_importable:
        return executors.Processes(workers, threads=compute.threads)
    return executors.Serial()


@contextmanager
def nodes_named(
    name: ExecutorName, address: str | None, *, place: Path, device: str = "auto"
) -> Iterator[executors.Spread | None]:
    """Give who calls functions on other machines, connected within a ``with`` block; None: nobody.

    Args:
        name: Whose machines.
        address: Of a Ray cluster; None: one is started here.
        place: A folder that all of them must see.
        device: Where they compute: on a GPU each call has one to itself, by ``auto`` where the
            cluster has any.

    Raises:
        ImsegError: If the cluster cannot be used, or there is an address without one.
    """
    if name == "ray":
        with ray_cluster.RayCluster(address, {"CPU": 1.0}) as cluster:
            cluster.check(place.absolute())
            there = device.startswith("cuda") or (device == "auto" and cluster.nodes({"GPU": 1.0}))
            yield ray_calls.RayCalls(cluster, gpus=1.0 if there else 0.0)
        return
    if address is not None:
        raise ImsegError(
            "--address says nothing without --executor ray.",
            expected="both, or neither.",
            got=f"--address {address}",
            hint="--executor ray",
        )
    yield None
