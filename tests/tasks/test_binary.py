"""Binary masks: the paper's rule of selection, at its edge."""

from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize(
    ("foreground", "disputed", "admitted"),
    [(3, 3, False), (4, 3, True), (3, 4, False), (0, 0, False), (1, 0, True)],
)
def test_an_image_needs_more_agreed_foreground_than_disputed_pixels(
    binary, foreground: int, disputed: int, admitted: bool
) -> None:
    labels = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    labels.view(-1)[:foreground] = 1
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    mask.view(-1)[16 - disputed :] = True
    assert binary().exceeds_inconsistency(labels, mask).tolist() == [admitted]
