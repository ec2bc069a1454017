"""What a run folder alone knows, without any data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from imseg.approaches.run import Run
from imseg.approaches.run_files import read_form
from imseg.data.bounded import read_bounded
from imseg.data.splits import held_out
from imseg.engine.job import Trained
from imseg.engine.runs import RunFolder


@dataclass(frozen=True)
class StageFacts:
    """A stage of a run."""

    name: str
    """``start`` or ``generation-K``."""
    best: str
    """Its network ranked first."""
    networks: tuple[Trained, ...]
    """Its networks, best by validation first."""
    failed: tuple[str, ...]
    """Why networks are missing."""
    labels: dict[str, Any] | None
    """What became of the unlabeled images."""
    audit: dict[str, Any] | None
    """How good pseudo-labels were, where hidden masks were named."""

    @property
    def title(self) -> str:
        """Its name for people."""
        return "Start" if self.name == "start" else f"Generation {self.number}"

    @property
    def short(self) -> str:
        """Its name where there is little room."""
        return "start" if self.name == "start" else str(self.number)

    @property
    def number(self) -> int:
        """0 for the start."""
        return 0 if self.name == "start" else int(self.name.removeprefix("generation-"))


class RunFacts:
    """What a run folder knows.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.metric = run.metric
        self.folder = RunFolder(run.path)
        self.summary = run.summary
        audits = run.audits
        self.stages = tuple(self._stage(each, audits) for each in run.summary["stages"])
        self.aside = tuple(self._stage(each, {}) for each in run.summary.get("aside", ()))

    @property
    def final(self) -> StageFacts:
        """The stage that the network of the run is from."""
        return next(stage for stage in self.stages if stage.name == self.summary["stage"])

    @property
    def network(self) -> str:
        """The network of the run."""
        return str(self.summary["network"])

    @property
    def validation_score(self) -> float:
        """What the network of the run scores on validation images."""
        return float(self.summary["validation"][self.metric.key])

    @property
    def final_merit(self) -> float:
        """The same, higher is better."""
        return self.metric.merit(self.summary["validation"])

    @property
    def start_merit(self) -> float:
        """What the best network of the start scores on validation images; higher is better."""
        return self.metric.merit(self.stages[0].networks[0].scores)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Where the run comes from."""
        return read_form(self.folder.provenance)

    @cached_property
    def _pictures(self) -> dict[str, Any]:
        return read_form(self.folder.data)

    @property
    def chosen_by_labels(self) -> bool:
        """Whether validation images were taken from the labeled ones."""
        return not self._pictures.get("val")

    @property
    def validation(self) -> int:
        """Images that epochs, networks and generations were chosen by."""
        return len(self._pictures.get("val") or ()) or held_out(len(self._pictures["labeled"]))

    @property
    def labeled(self) -> int:
        """Labeled images to learn from."""
        all_of_them = len(self._pictures["labeled"])
        return all_of_them - self.validation if self.chosen_by_labels else all_of_them

    @property
    def unlabeled(self) -> int:
        """Unlabeled images that were learned from; 0 for those who learn from labels alone."""
        for stage in self.stages:
            if stage.labels is not None:
                return int(stage.labels["images"])
        return len(self._pictures.get("unlabeled") or ()) if len(self.stages) > 1 else 0

    @property
    def upper_bound_images(self) -> int:
        """Unlabeled images whose hidden masks were learned from, for upper bounds."""
        sees = self.run.plan.customized().labeled.hidden_too
        return len(self._pictures.get("unlabeled") or ()) if sees else 0

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What the run warned of while it went on, each once."""
        try:
            lines = read_bounded(self.folder.log).decode("utf-8", "replace").splitlines()
        except OSError:
            return ()
        found: dict[str, None] = {}
        for line in lines:
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue  # a torn last line
            if isinstance(event, dict) and event.get("warning") and event.get("text"):
                found[str(event["text"])] = None
        return tuple(found)

    def _stage(self, plain: dict[str, Any], audits: dict[str, dict[str, Any]]) -> StageFacts:
        judges = plain["name"] == "judges"
        names = [] if judges else [network["name"] for network in plain["networks"]]
        return StageFacts(
            name=plain["name"],
            best=plain["best"],
            networks=tuple(self.run.trained(name) for name in names),
            failed=tuple(plain.get("failed", ())),
            labels=plain.get("pseudo_labels"),
            audit=audits.get(plain["name"]),
        )
