"""One root seed, and from it a generator for every named use.

A name path such as ``("im", "generation", 2, "network", 4)`` always gives the same numbers,
whatever was drawn before, however many workers there are, and whether or not the run was
interrupted.
"""

import hashlib

import torch


def derive(root: int, *path: str | int) -> int:
    """Return a 63-bit seed for a use.

    Args:
        root: The seed of the experiment.
        path: The name of the use.
    """
    text = "\x1f".join([str(root), *(str(part) for part in path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(root: int, *path: str | int) -> torch.Generator:
    """Return a fresh CPU generator for a use."""
    return torch.Generator().manual_seed(derive(root, *path))
