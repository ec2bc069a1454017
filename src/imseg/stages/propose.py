"""Every network proposes a mask, judges take the best one: the EvalNet approach."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from imseg.engine.judge import judge_candidates
from imseg.stages.choose_mask import Kept, as_candidates, choose_masks
from imseg.stages.panel import Agreement, Bench, Panel
from imseg.stages.quality import Judge
from imseg.tasks import Planes


@dataclass(frozen=True, slots=True, kw_only=True)
class BestProposal:
    """The best mask that any network proposes, if it is good enough; else the one kept before.

    Source: METHOD, "The approaches, as differences": EvalNet.
    """

    judge: Judge = field(default_factory=Judge)
    """How judges are trained."""
    judges: int = field(default=2, metadata={"option": "judges"})
    """How many of the best judges say together how good a mask is."""
    accepts: Literal["low", "high"] = field(default="high", metadata={"option": "accepts"})
    """The threshold from which on a mask is taken."""

    block = None
    teachers = None

    def __str__(self) -> str:
        return (
            f"every network proposes a mask; {self.judges} judges (EvalNet) take the one they like"
            " most, if it is good enough"
        )

    def label(self, panel: Panel) -> Agreement:
        """Return the best proposals of all teachers of a panel; nothing is blocked.

        Raises:
            ValueError: If the panel has no judges.
        """
        bench, task = panel.bench, panel.task
        if bench is None:
            raise ValueError("proposals need judges")
        candidates = as_candidates(task, panel.ballots)
        scores = torch.stack([self._score(panel, bench, labels) for labels in candidates])
        kept = None
        if panel.kept is not None:
            labels, has = panel.kept
            there = labels.to(candidates.device)
            kept = Kept(labels=there, scores=self._score(panel, bench, there), has=has)
        low, high = bench.thresholds
        chosen = choose_masks(
            task,
            candidates,
            scores,
            threshold=high if self.accepts == "high" else low,
            kept=kept,
        )
        disputed = task.vote(panel.ballots)[1].any(dim=1, keepdim=True)
        return Agreement(
            labels=chosen.labels,
            inconsistent=torch.zeros_like(disputed),
            disputed=disputed,
            consensus=chosen.labels,
            first=panel.ballots[0],
            admitted=chosen.admitted,
        )

    def _score(self, panel: Panel, bench: Bench, labels: Planes) -> Float[Tensor, "b"]:
        judges = bench.judges[: self.judges]
        judged = judge_candidates(judges, panel.images, labels, bench.quality, panel.numerics)
        return bench.quality.score(judged, amplification=False)
