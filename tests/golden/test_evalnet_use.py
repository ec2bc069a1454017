"""What EvalNet's opinions are used for: ``evalnet_num_augs`` and ``segnet_selection``.

Left out: nothing of the counts and choices. The reference averages mask scorers in float16, against
steps of .006; ours are doubles, and all golden counts are the same. How it stores files is not
compared: names, whether an image was copied from the generation before (``image_is``), and masks of
0/255.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imseg.components.amplification import copies_for
from imseg.components.votes import Kept, choose_masks
from imseg.tasks.quality import quality_for


def tensor(array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


@pytest.mark.parametrize("case", ["isic", "suim", "wide"])
def test_binary_masks_get_as_many_copies_as_in_the_reference(golden, binary, case) -> None:
    arrays = golden("evalnet_num_augs")
    scored = tensor(arrays[f"bin_{case}_pred"])[:, :, None, None]
    low, high = arrays[f"bin_{case}_thr"].tolist()
    scores = quality_for(binary()).score(scored, amplification=True)
    counts = copies_for(scores, low=low, high=high)
    assert counts == arrays[f"bin_{case}_num_files"].tolist()
    assert set(counts) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("case", ["mc", "hela"])
def test_masks_of_classes_get_as_many_copies_as_in_the_reference(
    golden, multiclass, multilabel, case
) -> None:
    arrays = golden("evalnet_num_augs")
    scored = torch.stack([tensor(arrays[f"{case}_{head}"]) for head in ("iou", "det")], dim=2)
    quality = quality_for(multiclass(4) if case == "mc" else multilabel())
    assert scored.shape[2:] == (2, quality.outputs)
    low, high = arrays[f"{case}_thr"].tolist()
    counts = copies_for(quality.score(scored, amplification=True), low=low, high=high)
    assert counts == arrays[f"{case}_num_files"].tolist()
    assert set(counts) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("case", ["bin", "mc", "hela"])
def test_the_mask_of_the_reference_is_chosen(
    golden, binary, multiclass, multilabel, case, earlier
) -> None:
    arrays = golden("segnet_selection")
    tasks = {
        "bin": binary(paper=True),
        "mc": multiclass(4, paper=True),
        "hela": multilabel(paper=True),
    }
    task = tasks[case]
    masks = arrays[f"{case}_masks"]
    planes = np.moveaxis(masks, -1, 2) if masks.ndim == 5 else masks[:, :, None]
    candidates = tensor(planes // (1 if case == "mc" else 255))
    scored = tensor(arrays[f"{case}_scores"]).double()
    scored = scored.reshape(*scored.shape[:3], *((1, 1) if case == "bin" else scored.shape[3:]))
    quality = quality_for(task)
    scores = torch.stack(
        [quality.score(scored[:, :, m], amplification=False) for m in range(scored.shape[2])]
    )
    kept = Kept(candidates[3], scores[3], tensor(arrays[f"{case}_has_last"]))
    chosen = choose_masks(
        task,
        candidates[:3],
        scores[:3],
        threshold=arrays[f"{case}_threshold"].item(),
        kept=kept if earlier else None,
    )
    name = f"{case}_lastgen{int(earlier)}"
    np.testing.assert_array_equal(chosen.admitted, arrays[f"{name}_written"])
    np.testing.assert_array_equal(chosen.which, arrays[f"{name}_mask_index"])
    if case == "hela":
        written = arrays[f"{name}_pos"]
        np.testing.assert_array_equal(chosen.labels[:, 2] * 255, written)
        assert len(np.unique(chosen.which)) > 3
