"""Odd names of files, and odd settings files, drawn from a ``random.Random``."""

from __future__ import annotations

import random
from typing import Any

import tomli_w

INJECTED = "INJECTED"
"""Stands behind ends of lines in names: no line that is printed may begin with it."""

_NAMES = (
    "line\n" + INJECTED, "line\r" + INJECTED, "tab\there", "escape\x1b[31mred", "bell\x07",
    "del\x7f",
    "next\x85line", "sep\u2028" + INJECTED, "turned\u202egnp", "isolate\u2066x", "zero\u200bwidth",
    "bom\ufeff", "n\u0303fd", "\u00f1fc", "\U0001f9a0cells", "\u7ec6\u80de", "\u0631\u062e",
    "halves\udcff\udcfe",
    "-dash", "--out", "-", "..dots", "dots.", ".hidden", " blank ", "a b", "%s%n", "{name}", "{0}",
    "[bold]x[bold]", ":dna:", "back\\slash", "quote'\"", "comma,semi;", "=1+1", "#hash", "$HOME",
    "*",
    "CON", "nul", "a" * 200, "\u00e9" * 100, "x" * 251, "~", "a.png", "a.png.png", "masks", "imseg",
)  # fmt: skip
LONGEST = 255
"""Most bytes of a name in common file systems."""


def odd_name(rng: random.Random, suffix: str = "") -> str:
    """Return a name that a file system takes, though few people would choose it."""
    if rng.random() < 0.75:
        stem = rng.choice(_NAMES)
    else:
        letters = [
            rng.choice((rng.randrange(1, 128), rng.randrange(160, 0x2FFF))) for _ in range(6)
        ]
        stem = "".join(map(chr, letters)).replace("/", "_")
    room = LONGEST - len(suffix)
    while len(stem.encode(errors="surrogateescape")) > room:
        stem = stem[:-1]
    name = stem + suffix
    return name if name not in (".", "..", "") else "_" + name


_VALUES: tuple[Any, ...] = (
    0, 1, -1, 2, 7, 255, 256, 65535, 65536, 2**31, 2**63 - 1, -(2**63), 10**30, 0.5, -0.0, 1e-320,
    1e308,
    float("inf"), float("-inf"), float("nan"), True, False, "", " ", "binary", "Binary",
    "multiclass",
    "multilabel", "instances", "regression", "channels", "refuse", "#ff0000", "#FF00zz", "cell",
    "1",
    "line\n" + INJECTED, "esc\x1b[31m", "\u202eturned", "x" * 3000, [], [1, 2], [255, 0, 0],
    [[[1]]], {}, {"name": "cell"}, {"name": "", "color": 3}, {"color": "#00ff00"}, {"name": ["a"]},
)  # fmt: skip
_FOLDER_KEYS = (
    "task",
    "void",
    "pixel_size",
    "pages",
    "unit",
    "classes",
    "tsak",
    "colour",
    "",
    "a.b",
)
_CLASS_KEYS = (
    "0", "1", "2", "3", "128", "255", "007", "-1", "70000", "9" * 30, "#ff0000", "#00FF00", "alive",
    "dead", "position", "cell", "", " ", "line\n" + INJECTED, "\x1b[2J", "\u0661",
)  # fmt: skip
_SETTINGS = (
    "approach", "effort", "paper", "seed", "task", "generations", "patience", "teachers",
    "networks",
    "epochs", "max_steps", "image_size", "width", "batch_size", "limit_unlabeled", "erode",
    "dilate",
    "grow_labels", "blocking", "ignore", "block_color", "reblock", "select", "vote", "views",
    "plain_view", "mask_scorers", "thresholds", "consistency_weight", "consistency_ramp",
    "consistency_level", "learning_rate", "weight_decay", "learning_rate_schedule", "warm_up_steps",
    "average_weights", "keep_weights", "network", "weights", "decoder_width",
    "encoder_learning_rate", "strength_schedule", "strength_level",
    "fresh_copies", "rotate", "tta", "match", "unlabeled_masks",
    "reuse", "device", "precision", "compile", "validate_every", "workers", "epoch", "lr", "",
)  # fmt: skip
_WORDS: tuple[Any, ...] = (
    "im", "im+", "im++", "aim+", "aim++", "ldt", "aldt", "evalnet", "fdt", "gt-im++", "consistency",
    "noisy-student", "input-ensemble", "model-ensemble", "ldt-matched", "ldt-online", "quick",
    "standard", "paper", "isic2018", "hela", "auto", "cpu", "cuda:7", "bfloat16", "float32", "on",
    "off",
    "both", "none", "input", "mean", "noise", "all", "same-classes", "majority", "low", "mid",
    "high",
    "nowhere", ".", "/dev/null", 3, 4, 5, 16, 32, 0.25, [32, 32], [16, 4000], [0, 0], [0.1, 0.9],
    [32, 32, 32], [float("nan"), 1.0],
)  # fmt: skip
_BROKEN: tuple[bytes, ...] = (
    b"task = \n", b"=", b"[", b"[classes\n0 = 1", b'task = "binary', b"\xff\xfe\x00", b"\x00" * 40,
    b"task = 'binary'\ntask = 'binary'\n", b"a = " + b"[" * 3000 + b"]" * 3000,
    b"a" + b".a" * 3000 + b"=1",
    b"a = " + b"{a=" * 2000 + b"1" + b"}" * 2000, b"\xef\xbb\xbftask = 'binary'\n",
    b"task = 2026-01-01\n",
    b"pixel_size = " + b"9" * 6000 + b"\n", b"void = 0x" + b"f" * 5000 + b"\n", b"x = 07:32:00\n",
    b"[classes]\n0 = 'a'\n[classes]\n", b"[[classes]]\n", b"task = 'bi\x1bnary'\n",
    b"'\x07' = 1\n", b"\r\r\n",
    b'"line\\nINJECTED" = 1\n', b'task = "line\\nINJECTED"\n', b'[classes]\n"\\u001b[31m" = 3\n',
    b"",
)  # fmt: skip


def odd_folder_config(rng: random.Random) -> bytes:
    """Return what may stand in the ``imseg.toml`` of a data folder."""
    if rng.random() < 0.3:
        return rng.choice(_BROKEN)
    plain: dict[str, Any] = {}
    for key in rng.sample(_FOLDER_KEYS, rng.randint(1, 3)):
        plain[key] = rng.choice(_VALUES)
    if rng.random() < 0.5:
        keys = rng.sample(_CLASS_KEYS, rng.randint(1, 4))
        plain["classes"] = {key: rng.choice((key, "cell", *_VALUES)) for key in keys}
    return _dumped(plain)


def odd_settings(rng: random.Random) -> bytes:
    """Return what may stand in a file for ``--config``."""
    if rng.random() < 0.15:
        return rng.choice(_BROKEN)
    keys = rng.sample(_SETTINGS, rng.randint(1, 3))
    return _dumped({key: rng.choice(rng.choice((_VALUES, _WORDS))) for key in keys})


def _dumped(plain: dict[str, Any]) -> bytes:
    return tomli_w.dumps(plain).encode(errors="surrogateescape")
