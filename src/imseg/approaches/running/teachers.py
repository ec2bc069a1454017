"""The networks of a run that label its unlabeled images: in this process, or on other nodes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Self

import torch
from jaxtyping import Bool
from safetensors.torch import load, save
from torch import Tensor, nn

from imseg.approaches.planning.plan import Plan
from imseg.approaches.runs import run_files
from imseg.components import consensus, labeling
from imseg.data.cache.store import open_array
from imseg.data.files.atomic import write_whole
from imseg.engine.hardware.device import keep_freed_memory
from imseg.engine.inference.predictor import BATCH
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.training import job, seeds
from imseg.engine.workers.executors import Spread
from imseg.errors import ImsegError
from imseg.tasks import Planes, Task, task_for
from imseg.tasks.quality import quality_for
from imseg.types import Bytes

Kept = Callable[[int, int], tuple[Planes, Bool[Tensor, "b"]]]
"""Gives the labels of so many images from a row on, and which of them have one."""

LARGEST = 32 << 20
"""Bytes that a piece of labels has at most: who joins them holds so many."""
PIECES = 16
"""So many pieces there are at least, where each has a batch of images."""
PLACE = "pieces"
"""The folder of pieces beside the labels."""
USED = "used"
"""Which images are used, in the file of a piece."""
HASH_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class RunNetworks:
    """The networks of a run as far as they are trained, and what they predict with."""

    plan: Plan
    """What to do."""
    task: Task
    """What a pixel is."""
    folder: RunFolder
    """The run."""

    def load(self, networks: Sequence[job.Trained]) -> list[nn.Module]:
        """Return trained networks in inference mode, to predict with the whole machine."""
        keep_freed_memory()  # where others train, this process has not been asked to yet
        return run_files.load_networks(self.folder, networks, self.plan.whole_machine)

    def trained(self, name: str) -> job.Trained:
        """Return what is known about a network.

        Raises:
            ImsegError: If it is not there.
        """
        known = job.read_known(self.folder.weights(name))
        if known is None:
            raise ImsegError(
                f"{self.folder.weights(name)} is not there, or damaged.",
                expected="a network that was trained before.",
                got="none.",
                hint="repeat the command: what is missing is trained again.",
            )
        return known

    def scorer_group(self, networks: Sequence[job.Trained]) -> consensus.ScorerGroup:
        """Return mask scorers, and when they are content."""
        thresholds = run_files.Judgment.read(self.folder.judgment).thresholds
        quality = quality_for(self.task)
        return consensus.ScorerGroup(
            scorers=self.load(networks), quality=quality, thresholds=thresholds
        )

    def teacher_batches(
        self,
        teachers: Sequence[nn.Module],
        seed: Callable[[int], int],
        *,
        bench: consensus.ScorerGroup | None = None,
        kept: Kept | None = None,
    ) -> labeling.PanelFor:
        """Return who seats teachers in front of images.

        Args:
            teachers: Networks in inference mode, best first.
            seed: Gives the seed of a row, for views of its image.
            bench: Mask scorers, if there are any.
            kept: Gives labels from the generation before; None if there was none.
        """

        def seat(start: int, images: Bytes) -> consensus.TeacherBatch:
            return consensus.TeacherBatch(
                task=self.task,
                teachers=teachers,
                images=images,
                compute=self.plan.whole_machine,
                seeds=tuple(map(seed, range(start, start + len(images)))),
                strength=self.plan.strengths.views,
                rotate=self.plan.rotate,
                moves=self.plan.teacher_moves,
                bench=bench,
                kept=None if kept is None else kept(start, len(images)),
            )

        return seat

    def ask(self, teachers: Teachers) -> labeling.Ask:
        """Return who labels the unlabeled images of a run."""
        approach, folder = self.plan.approach, self.folder
        labeler = approach.pseudo_label
        if labeler is None:
            raise ValueError(f"{approach.name} has no unlabeled images to label")
        before = folder.cache / f"generation-{teachers.generation - 1}"
        networks, scorers = (
            [self.trained(name) for name in names]
            for names in (teachers.networks, teachers.scorers)
        )
        return labeling.ask_teachers(
            teachers.images,
            teacher_batch_for=self.teacher_batches(
                self.load(networks),
                lambda row: seeds.derive(self.plan.seed, "views", teachers.generation, row),
                bench=self.scorer_group(scorers) if scorers else None,
                kept=_kept(before) if teachers.keep else None,
            ),
            labeler=labeler,
            select=approach.selection,
            task=self.task,
        )


def _kept(folder: Path) -> Kept:
    """Return what gives the labels that a folder holds, and which images have one."""
    path, rows = labeling.labels_in(folder)
    labels = open_array(path)
    used = torch.zeros(len(labels), dtype=torch.bool)
    used[rows] = True

    def keep(start: int, count: int) -> tuple[Planes, Bool[Tensor, "b"]]:
        here = slice(start, start + count)
        return torch.from_numpy(labels[here].copy()), used[here]

    return keep


@dataclass(frozen=True, slots=True, kw_only=True)
class Teachers:
    """Who labels which images for a generation; plain values, so that a node can be told."""

    generation: int
    """For which generation, from 1."""
    images: Path
    """The stored images."""
    digest: str
    """Hash of their content."""
    networks: tuple[str, ...]
    """The teachers' names, best first."""
    scorers: tuple[str, ...] = ()
    """The names of mask scorers, best first."""
    jobs: tuple[str, ...] = ()
    """What decided each of the networks, then of the mask scorers, by its hash: a node that has
    loaded others of these names does not take those for them."""
    keep: bool = False
    """Whether labels of the generation before are kept where they are better."""

    def as_json(self) -> str:
        """Return all of it as text."""
        return json.dumps({**asdict(self), "images": str(self.images)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what ``as_json`` made."""
        found = json.loads(text)
        names = {name: tuple(found.pop(name)) for name in ("networks", "scorers", "jobs")}
        return cls(**found | names | {"images": Path(found["images"])})


@lru_cache(maxsize=1)
def _opened(run: str, teachers: str) -> tuple[RunNetworks, labeling.Ask]:
    """Return the networks of a run and who labels; loaded once for all pieces of a generation."""
    folder = RunFolder(Path(run))
    plan = run_files.Record.read(folder.experiment).plan
    spec, _ = run_files.read_target(folder.target)
    networks = RunNetworks(plan=plan, task=task_for(spec, paper=plan.paper), folder=folder)
    return networks, networks.ask(Teachers.from_json(teachers))


def label_piece(*, run: str, teachers: str, start: int, stop: int, out: str) -> None:
    """Label some unlabeled images of a run and write what came out, its hash behind it.

    Args:
        run: The run folder.
        teachers: Who labels, as JSON.
        start: The first image.
        stop: The first one that is not asked for.
        out: The file.
    """
    networks, ask = _opened(run, teachers)
    with networks.plan.whole_machine.threaded():
        batches = [ask(first, min(first + BATCH, stop)) for first in range(start, stop, BATCH)]
    found = {USED: torch.cat([used for _, used in batches])}
    for name in (field.name for field in fields(consensus.PseudoLabelBatch)):
        parts = [getattr(agreement, name) for agreement, _ in batches]
        if parts[0] is not None:
            found[name] = torch.cat([part.cpu() for part in parts]).contiguous()
    content = save(found)
    write_whole(Path(out), content + hashlib.sha256(content).digest())


@dataclass(frozen=True, slots=True)
class _Piece:
    """A file with the labels of some images."""

    start: int
    stop: int
    path: Path

    def read(self) -> labeling.Answer:
        """Return the labels, and which images are used.

        Raises:
            ImsegError: If the file is damaged; it is deleted then.
        """
        content = self.path.read_bytes()
        labels, said = content[:-HASH_BYTES], content[-HASH_BYTES:]
        if hashlib.sha256(labels).digest() != said:
            self.path.unlink()
            raise ImsegError(
                f"{self.path} is damaged.",
                expected="the pseudo-labels that a node of the cluster wrote.",
                got="other bytes than it wrote.",
                hint="repeat the command: they are made again, and nothing else.",
            )
        found = load(labels)
        used = found.pop(USED)
        return consensus.PseudoLabelBatch(**found), used


def drop_pieces(folder: Path) -> None:
    """Delete the pieces beside labels that are whole now."""
    shutil.rmtree(folder / PLACE, ignore_errors=True)


class SpreadLabels:
    """Has nodes of a cluster label the images, a piece each, and gives their labels in order.

    Pieces stay beside the labels until those are whole: a run that was killed asks for none of them
    again. One piece at a time is in memory.

    Args:
        networks: Of the run.
        teachers: Who labels.
        folder: Where the labels of the generation go.
        spread: Calls functions on nodes.
    """

    def __init__(
        self, networks: RunNetworks, teachers: Teachers, *, folder: Path, spread: Spread
    ) -> None:
        count, height, width, _ = open_array(teachers.images).shape
        spec = networks.task.spec
        each = height * width * (3 * spec.planes * spec.dtype.itemsize + 2)
        size = min(-(-count // PIECES), max(1, LARGEST // each))
        self._size = -(-size // BATCH) * BATCH
        key = f"{teachers.as_json()} {self._size}"
        place = folder / PLACE / hashlib.sha256(key.encode()).hexdigest()[:16]
        self._pieces = [
            _Piece(start, min(start + self._size, count), place / f"{start}.safetensors")
            for start in range(0, count, self._size)
        ]
        self._missing = [piece for piece in self._pieces if not piece.path.exists()]
        self._there = set(self._pieces) - set(self._missing)
        run, who = str(networks.folder.path.absolute()), teachers.as_json()
        asked = [
            {"run": run, "teachers": who, "start": each.start, "stop": each.stop,
             "out": str(each.path.absolute())}
            for each in self._missing
        ]  # fmt: skip
        cores = networks.plan.whole_machine.threads
        self._calls = spread.each(label_piece, asked, cores=cores) if asked else iter(())
        self._open: tuple[_Piece, consensus.PseudoLabelBatch, Bool[Tensor, "b"]] | None = None

    def __call__(self, start: int, stop: int) -> labeling.Answer:
        """Return the labels of some images, all of one piece, and which of them are used."""
        piece = self._pieces[start // self._size]
        if self._open is None or self._open[0] is not piece:
            while piece not in self._there:
                self._there.add(self._missing[next(self._calls)[0]])
            self._open = (piece, *piece.read())
        _, whole, used = self._open
        here = slice(start - piece.start, stop - piece.start)
        parts = {field.name: getattr(whole, field.name) for field in fields(whole)}
        some = {name: part[here] for name, part in parts.items() if part is not None}
        return consensus.PseudoLabelBatch(**some), used[here]
