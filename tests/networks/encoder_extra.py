"""The extra with encoders, also where torchvision is another build than torch."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch

_kept: list[torch.library.Library] = []
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def need_encoders() -> None:
    """Import timm and segmentation_models_pytorch, or skip and say what is missing.

    The torchvision of PyPI cannot load its operators beside a torch for the CPU alone. Encoders
    call none of them: here they are declared, so that it can be imported.
    """
    try:
        try:
            importlib.import_module("torchvision")
        except RuntimeError:
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            if not _kept:
                _kept.append(torch.library.Library("torchvision", "FRAGMENT"))
                for operator in ("nms", "qnms"):
                    _kept[0].define(operator + SCHEMA)
        importlib.import_module("timm")
        importlib.import_module("segmentation_models_pytorch")
    except ImportError as error:
        pytest.skip(f"imseg[encoders] is not installed: {error}")
