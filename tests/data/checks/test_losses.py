"""A repaired copy shows what the original did, or says what it does not; a mender may be wrong."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from tests.data.checks.test_doctor_masks import colored, discs, jpeg, smooth, unsharp
from tests.data.checks.test_spared_classes import dots, patches, strokes

from imseg.data.checks import mask_values, repair, repaired_files
from imseg.data.checks.fitness import MaskValueFinding
from imseg.data.checks.repair import repair_folder
from imseg.data.images.decoding import turned
from imseg.data.masks.io import MaskFile, pack_colors, read_mask, resize_mask, unpack_colors
from imseg.data.masks.losses import find_losses, shown_values
from imseg.data.masks.recoding import Exchange, Snap, Threshold
from imseg.errors import ImsegError

seeds = st.integers(0, 10_000)
DRAWN = st.sampled_from([discs, patches, strokes, dots])


def pair_folder(maker, masks: list[np.ndarray]) -> Path:
    for place, mask in enumerate(masks):
        maker.save(f"labeled/images/{place}.png", maker.picture(mask.shape[:2]))
        maker.save(f"labeled/masks/{place}.png", mask)
    return maker.root


def planted(recode) -> MaskValueFinding:
    return MaskValueFinding(
        severity="error", what="planted", recode=recode, files=("labeled/masks/1.png",), reason="x"
    )


CLASSES = [patches(seed, (0, 1, 2, 3, 255)) for seed in range(3)]


@pytest.mark.parametrize(
    ("recode", "told"),
    [
        (Threshold(0, 255), "became 0, as "),
        (Exchange({3: 2}), "became 2"),
        (Exchange({255: 0}), "255 became 0"),
        (Exchange(dict.fromkeys(range(256), 0)), "became 0"),
        (Snap((0, 0xFFFFFF)), "became"),
    ],
)
def test_a_mender_that_loses_classes_is_refused_and_leaves_nothing(
    recode, told, maker, tmp_path, monkeypatch
) -> None:
    root = pair_folder(maker, CLASSES)
    monkeypatch.setattr(mask_values, "find_smeared", lambda *_: iter([planted(recode)]))
    with pytest.raises(ImsegError, match="would lose labels of 1 file") as caught:
        repair_folder(root, tmp_path / "fixed")
    assert "labeled/masks/1.png" in caught.value.got and told in caught.value.got
    assert sorted(os.listdir(tmp_path)) == ["my-data"]  # noqa: PTH208


def test_a_mender_that_only_renumbers_is_let_through(maker, tmp_path, monkeypatch) -> None:
    root = pair_folder(maker, CLASSES)
    once = iter([planted(Exchange({3: 7, 255: 9}))])
    monkeypatch.setattr(mask_values, "find_smeared", lambda *_: once)
    fixed = repair_folder(root, tmp_path / "fixed")
    assert [each.did for each in fixed.repairs] == ["3 became 7, 255 became 9"]


def spoiled(monkeypatch, spoil) -> None:
    """Let something happen to the copy after it was mended, that no change tells of."""
    mend = repair._mend

    def and_spoil(folder, *words, **options):
        done = mend(folder, *words, **options)
        spoil(folder)
        return done

    monkeypatch.setattr(repair, "_mend", and_spoil)


def blank(folder: Path) -> None:
    path = folder / "labeled/masks/2.png"
    repaired_files.write_mask(path, MaskFile(np.zeros_like(read_mask(path).values), "values"))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (blank, "labeled/masks/2.png: it was changed without a word"),
        (lambda copy: (copy / "labeled/masks/0.png").unlink(), "masks/0.png: it is missing"),
        (lambda copy: (copy / "labeled/images/1.png").unlink(), "images/1.png: it is missing"),
    ],
)
def test_what_no_change_tells_of_is_refused(spoil, told, maker, tmp_path, monkeypatch) -> None:
    root = pair_folder(maker, CLASSES)
    spoiled(monkeypatch, spoil)
    with pytest.raises(ImsegError) as caught:
        repair_folder(root, tmp_path / "fixed")
    assert told in caught.value.got


def test_a_pair_that_a_new_name_would_part_is_refused(maker, tmp_path, monkeypatch) -> None:
    root = pair_folder(maker, CLASSES)

    select = repaired_files.select_files

    def rename(folder, **how):
        selection = select(folder, **how)
        selection.renamed[root / "labeled/masks/1.png"] = ("one.png", "x")
        return selection

    monkeypatch.setattr(repaired_files, "select_files", rename)
    with pytest.raises(ImsegError, match="would lose") as caught:
        repair_folder(root, tmp_path / "fixed")
    assert "labeled/images/1.png and labeled/masks/1.png are no pair any more" in caught.value.got


def test_objects_that_vanish_at_a_smaller_size_are_named(maker, tmp_path) -> None:
    numbered = np.zeros((48, 40), np.uint8)
    for number in range(1, 9):
        numbered[5 * number : 5 * number + 4, 4:30] = number
    numbered[0, 0], numbered[2, 36] = 9, 10
    for place in range(4):
        maker.save(f"labeled/images/{place}.png", maker.picture())
        maker.save(f"labeled/masks/{place}.png", resize_mask(numbered, (24, 20)))
    maker.save("labeled/masks/0.png", numbered)
    fixed = repair_folder(maker.root, tmp_path / "fixed", task="instances")
    (done,) = fixed.repairs
    after = read_mask(tmp_path / "fixed/labeled/masks/0.png").values
    gone = set(range(1, 11)) - set(np.unique(after).tolist())
    assert gone == {number for number in (9, 10) if f"value {number} vanished" in done.about}
    assert gone


def test_a_faint_object_that_a_cut_at_half_removes_is_named(maker, tmp_path) -> None:
    smeared = [smooth(discs(seed)) for seed in range(3)]
    rows, columns = np.mgrid[:96, :96]
    faint = 100 * np.exp(-((rows - 8) ** 2 + (columns - 8) ** 2) / 12)
    smeared[1] = np.maximum(smeared[1], faint.astype(np.uint8))
    fixed = repair_folder(pair_folder(maker, smeared), tmp_path / "fixed")
    about = {each.file: each.about for each in fixed.repairs}
    assert about["labeled/masks/1.png"].endswith("pixels changed, 1 faint area vanished")
    assert all(about[f"labeled/masks/{place}.png"].endswith("changed") for place in (0, 2))


def test_a_class_that_only_masks_left_out_show_is_named(maker, tmp_path) -> None:
    root = pair_folder(maker, CLASSES)
    maker.save("labeled/masks/alone.png", np.full((96, 96), 17, np.uint8))
    fixed = repair_folder(root, tmp_path / "fixed")
    (told,) = (each for each in fixed.report.warnings if "in no mask of the copy" in each.what)
    assert "17 was in labeled/masks/alone.png" in told.got
    assert "mask of the copy" not in str(repair_folder(tmp_path / "fixed", tmp_path / "b").report)


@given(seed=seeds, draw=DRAWN, classes=st.integers(1, 30), void=st.sampled_from([None, 255]))
def test_every_value_of_a_clean_mask_is_shown(seed, draw, classes, void) -> None:
    mask = draw(seed, tuple(range(1, classes + 1)))
    if void:
        mask[:3] = void
    # Of a class that others cover there may be a single pixel left, between two of them.
    squares = sliding_window_view(mask, (2, 2)).reshape(-1, 4)
    solid = squares[(squares == squares[:, :1]).all(axis=1), 0]
    assert set(np.unique(solid).tolist()) <= set(shown_values(mask, "values"))
    assert find_losses(MaskFile(mask, "values"), MaskFile(mask, "values")) == []


@given(seed=seeds, turn=st.sampled_from([5, 6, 7, 8]), step=st.integers(1, 5))
def test_turned_and_renumbered_masks_have_lost_nothing(seed, turn, step) -> None:
    mask = patches(seed, (0, 1, 2, 3, 200))[:, :70]
    after = MaskFile(np.ascontiguousarray(turned(mask, turn)).astype(np.int64) + step, "values")
    assert find_losses(MaskFile(mask, "values"), after) == []
    after.values[after.values == 1 + step] = step
    lost = len(np.unique(mask)) - len(np.unique(after.values))
    assert len(find_losses(MaskFile(mask, "values"), after)) == lost


@given(seed=seeds, quality=st.integers(40, 95), factor=st.floats(0.4, 0.9))
def test_cutting_a_smear_at_half_loses_nothing_that_a_mask_shows(seed, quality, factor) -> None:
    for smeared in (jpeg(discs(seed), quality), smooth(discs(seed), factor)):
        after = MaskFile(Threshold(0, 255)(smeared), "values")
        assert find_losses(MaskFile(smeared, "values"), after) == []


@given(seed=seeds)
def test_snapping_smeared_colors_loses_nothing_but_other_colors_do(seed) -> None:
    clean = colored(seed)
    main = tuple(np.unique(clean).tolist())
    for smeared in (unsharp(clean), pack_colors(jpeg(unpack_colors(clean), 75))):
        before = MaskFile(smeared, "colors")
        assert find_losses(before, MaskFile(Snap(main)(smeared), "colors")) == []
    fewer = MaskFile(Snap(main[:1])(clean), "colors")
    assert len(find_losses(MaskFile(clean, "colors"), fewer)) == len(main) - 1
