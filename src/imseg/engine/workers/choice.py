"""Which executor trains the networks of a run."""

from typing import Literal

import torch

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.workers.executors import Executor, Processes, Serial
from imseg.engine.workers.ray_tasks import RayTasks
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
) -> Executor:
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
        return RayTasks(address, threads=compute.threads, gpus=share)
    if workers > 1 and kind in ("cpu", "cuda") and network.is_importable:
        return Processes(workers, threads=compute.threads)
    return Serial()
