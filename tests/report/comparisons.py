"""A made-up comparison in the form that a real one is written in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imseg.engine.storage.sealed import write_sealed

METRIC = {"key": "iou", "label": "IoU", "higher_is_better": True, "unit": "", "pooled_key": ""}
ERROR = {"key": "rmse", "label": "RMSE", "higher_is_better": False, "unit": "m", "pooled_key": ""}


def difference(
    mean: float, half: float, *seeds: float, higher_is_better: bool = True
) -> dict[str, Any]:
    """Return a difference with an interval, and a margin, of this half width."""
    good = (mean > 0) == higher_is_better
    return {
        "mean": mean,
        "interval": [mean - half, mean + half],
        "of_seeds": list(seeds) or [mean],
        "images_better": 0.5 + mean,
        "margin": half,
        "verdict": ("better" if good else "worse") if abs(mean) > half else "open",
    }


def row(
    name: str,
    kind: str,
    mean: float,
    *,
    baseline: str | None = None,
    against: dict[str, Any] | None = None,
    stages: int = 1,
    seeds: tuple[int, ...] = (0, 1),
    gap: float | None = None,
) -> dict[str, Any]:
    """Return a row; stages rise to the mean."""
    return {
        "name": name,
        "approach": name.partition(" ")[0],
        "kind": kind,
        "asked": kind != "matched",
        "matched_to": None,
        "baseline": baseline,
        "same_as": None,
        "mean": mean,
        "spread": 0.011,
        "interval": [mean - 0.02, mean + 0.02],
        "last": {"mean": mean, "spread": 0.011, "interval": [mean - 0.02, mean + 0.02]},
        "difference": against,
        "other_differences": {},
        "ended_with_start": [],
        "gap_closed": None if gap is None else {"mean": gap, "interval": [gap - 0.2, gap + 0.2]},
        "network_steps": 250,
        "steps": 750 * stages,
        "tflops": 6.2 * stages,
        "minutes": 1.1 * stages,
        "width": 0.5,
        "runs": [_run(name, mean, stages, seed) for seed in seeds],
    }


def _run(name: str, mean: float, stages: int, seed: int) -> dict[str, Any]:
    names = ["start", *[f"generation-{number}" for number in range(1, stages)]]
    scores = [mean - 0.02 * (stages - 1 - i) + 0.004 * seed for i in range(stages)]
    return {
        "seed": seed,
        "path": f"seed-{seed}/{name}",
        "stage": names[-1],
        "network": f"{names[-1]}/network-1",
        "width": 0.5,
        "score": scores[-1],
        "last_score": scores[-1],
        "network_steps": 250,
        "steps": 750 * stages,
        "flops": 6.2e12 * stages,
        "seconds": 66.0 * stages,
        "dataset": {},
        "per_image": {},
        "stages": [
            {
                "name": stage,
                "network": f"{stage}/network-1",
                "score": score,
                "interval": [score - 0.02, score + 0.02],
                "networks": [score, score - 0.01],
                "validation": score + 0.015,
            }
            for stage, score in zip(names, scores, strict=True)
        ],
    }


def rows() -> list[dict[str, Any]]:
    """Return approaches as a real study has them."""
    return [
        row("ldt", "labels", 0.676),
        row("aldt", "labels", 0.684),
        row("ldt-matched im", "matched", 0.690),
        row("ldt-matched im++", "matched", 0.694),
        row(
            "im", "method", 0.701, baseline="ldt-matched im", stages=4, gap=0.35,
            against=difference(0.011, 0.014, 0.019, 0.003),
        ),
        row(
            "im++", "method", 0.719, baseline="ldt-matched im++", stages=4, gap=0.6,
            against=difference(0.025, 0.012, 0.021, 0.029),
        ),
        row(
            "noisy-student", "method", 0.671, baseline="ldt-matched im", stages=4, gap=-0.1,
            against=difference(-0.019, 0.011, -0.015, -0.023),
        ),
        row("fdt", "bound", 0.748),
    ]  # fmt: skip


def content(**changes: Any) -> dict[str, Any]:
    """Return the content of ``comparison.json``."""
    data = {
        "name": "data/isic", "task": "binary", "labeled": 156, "unlabeled": 400, "val": 50,
        "test": 500,
    }  # fmt: skip
    return {
        "data": data,
        "metric": METRIC,
        "images": 500,
        "seeds": [0, 1],
        "settings": {"networks": 3, "max_steps": 250, "image_size": [96, 96]},
        "rows": rows(),
        "missing": [],
        **changes,
    }


def write(folder: Path, **changes: Any) -> Path:
    """Write a comparison and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_sealed(folder / "comparison.json", content(**changes))
    return folder
