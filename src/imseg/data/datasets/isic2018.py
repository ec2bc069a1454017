"""Skin lesions: the ISIC challenge of 2018, task 1, or of 2017, part 1, as downloaded.

The images are JPEG files named ``<id>.jpg``; each mask is ``<id>_segmentation.png``, 0 skin and 255
lesion. Whatever else lies in the folders (superpixels, licenses, attributions) is not looked at.
Without an official test folder a third of the validation images stays for validation, and two
thirds are for test.

Source: https://challenge.isic-archive.com/data/
"""

from __future__ import annotations

import re

from imseg.data.datasets.sources import PublicDataset, SourceLayout, copy_files

_LAYOUTS = (
    SourceLayout(
        "ISIC 2018",
        {
            "training": ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
            "validation": (
                "ISIC2018_Task1-2_Validation_Input",
                "ISIC2018_Task1_Validation_GroundTruth",
            ),
            "test": ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
        },
        frozenset({"test"}),
    ),
    SourceLayout(
        "ISIC 2017",
        {
            "training": ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
            "validation": ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
            "test": ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
        },
        frozenset({"test"}),
    ),
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
