"""Everything the doctor finds in a folder that was looked at."""

from __future__ import annotations

from imseg.data.class_keys import as_color, as_number
from imseg.data.doctor.diagnosis import Diagnosis, masks_of
from imseg.data.doctor.duplicates import find_near_duplicates
from imseg.data.doctor.impure import find_impure
from imseg.data.doctor.mixed_ones import find_mixed_ones
from imseg.data.doctor.oddities import find_odd_pictures
from imseg.data.doctor.shifted import find_shifted
from imseg.data.doctor.smeared import find_smeared
from imseg.data.folder import FolderScan


def diagnose(found: FolderScan) -> list[Diagnosis]:
    """Return everything that looks wrong though the files can be read, masks first.

    Args:
        found: What one look at every file gave.
    """
    return [
        *diagnose_masks(found),
        *find_near_duplicates(found.survey),
        *find_odd_pictures(found.survey),
    ]


def diagnose_masks(found: FolderScan) -> list[Diagnosis]:
    """Return what looks wrong with the values of masks.

    Measurements and numbers of objects may be anything, so nothing is said about them where the
    user says that the masks hold such.

    Args:
        found: What one look at every file gave.
    """
    config, spec = found.config, found.spec
    if found.task in ("regression", "instances") or (spec and spec.coding == "numbers"):
        return []
    masks = list(masks_of(found.survey))
    void = as_number(config.void)
    smeared = find_smeared(masks, void)
    ill = {cure.name for diagnosis in smeared for cure in diagnosis.cures}
    if spec is not None and spec.coding == "objects":
        return smeared
    clean = [mask for mask in masks if mask.facts.name not in ill]
    listed = [as_color(key) for key in (*config.listed, config.void) if key is not None]
    return [
        *smeared,
        *find_mixed_ones(clean, void=void, listed=config.listed),
        *find_shifted(clean, void=void, listed=config.listed),
        *find_impure(masks, listed=[color for color in listed if color is not None]),
    ]
