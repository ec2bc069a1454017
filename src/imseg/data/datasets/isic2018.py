"""Skin lesions: the ISIC challenge of 2018, task 1, or of 2017, part 1, as downloaded.

The images are JPEG files named ``<id>.jpg``; each mask is ``<id>_segmentation.png``, 0 skin and 255
lesion. Whatever else lies in the folders (superpixels, licenses, attributions) is not looked at.
Without an official test folder a third of the validation images stays for validation, and two
thirds are for test.

Source: https://challenge.isic-archive.com/data/
"""

import re

from imseg.data.datasets.sources import PublicDataset, SourceLayout, copy_files


def _layout(source: str, images: str, masks: str, test: str) -> SourceLayout:
    """Return where the images and masks of a year lie; ``{}`` stands for the part."""
    words = {"training": "Training", "validation": "Validation", "test": test}
    parts = {part: (images.format(word), masks.format(word)) for part, word in words.items()}
    return SourceLayout(source, parts, frozenset({"test"}))


_LAYOUTS = (
    _layout("ISIC 2018", "ISIC2018_Task1-2_{}_Input", "ISIC2018_Task1_{}_GroundTruth", "Test"),
    _layout("ISIC 2017", "ISIC-2017_{}_Data", "ISIC-2017_{}_Part1_GroundTruth", "Test_v2"),
)

ISIC2018 = PublicDataset(
    name="isic2018",
    title="ISIC",
    page="https://challenge.isic-archive.com/data/",
    tree="either of\n"
    + "\n".join(f"{each.source}: {', '.join(each.folders)}" for each in _LAYOUTS),
    layouts=_LAYOUTS,
    one_layout=True,
    image=re.compile(r"(ISIC_\d+)", re.IGNORECASE),
    mask=re.compile(r"(ISIC_\d+)_segmentation", re.IGNORECASE),
    example=("ISIC_0000000.jpg", "ISIC_0000000_segmentation.png"),
    write=copy_files,
    task="binary",
    classes={0: ("skin", (0, 0, 0)), 255: ("lesion", (255, 160, 0))},
)
