"""What a store keeps when its sources change, its files are damaged or its maker is killed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from imseg.data.cache import store, stored_arrays
from imseg.data.cache.store import Stored, changed_sources, open_array, store_split
from imseg.data.files import listing
from imseg.errors import ImsegError
from imseg.types import Image, LabeledImage, Reading, TargetSpec

SPEC = TargetSpec(
    kind="binary", values=(0, 255), names=("background", "cell"), colors=((0, 0, 0), (255, 0, 0))
)
COUNT = 5


@dataclass
class Data:
    """A folder of small pairs that can be written again, and a store of them."""

    root: Path
    entries: list[LabeledImage] = field(default_factory=list)
    written: int = 0

    def write(self, index: int, *, image: bool = True, mask: bool = True) -> LabeledImage:
        """Give a pair a content that no other has."""
        self.written += 1
        numbers = np.random.Generator(np.random.PCG64(self.written))
        image_path, mask_path = self.root / f"{index}.png", self.root / f"{index}-mask.png"
        if image:
            Pillow.fromarray(numbers.integers(0, 256, (6, 5), np.uint8)).save(image_path)
        if mask:
            Pillow.fromarray(numbers.integers(0, 2, (6, 5), np.uint8) * 255).save(mask_path)
        return LabeledImage(Image(f"{index}.png", image_path), mask_path)

    def fill(self, count: int = COUNT) -> list[LabeledImage]:
        self.entries = [self.write(index) for index in range(count)]
        return self.entries

    def store(self, name: str = "store", **changes: Any) -> Stored:
        options = {"entries": self.entries, "spec": SPEC, "reading": Reading(channels=1)}
        options |= {"size": (4, 4), "workers": 1, **changes}
        return store_split(options.pop("entries"), self.root / name, "part", **options)

    def fresh_digest(self, **changes: Any) -> str:
        with tempfile.TemporaryDirectory(dir=self.root) as folder:
            return self.store(folder, **changes).digest


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """A data folder with five pairs."""
    data = Data(tmp_path)
    data.fill()
    return data


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures whose pixels or targets are decoded, as that happens."""
    return watch(monkeypatch)


def watch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    making_of_images, making_of_targets = store._making_of_images, store._making_of_targets

    def watched(make: Callable, suffix: str) -> Callable:
        def making(entries: Any, *options: Any) -> Any:
            made = make(entries, *options)

            def load(number: int) -> Any:
                seen.append(entries[number].name + suffix)
                return made.load(number)

            return replace(made, load=load)

        return making

    monkeypatch.setattr(store, "_making_of_images", watched(making_of_images, ""))
    monkeypatch.setattr(store, "_making_of_targets", watched(making_of_targets, " mask"))
    return seen


@given(
    images=st.sets(st.integers(0, COUNT - 1)),
    masks=st.sets(st.integers(0, COUNT - 1)),
    removed=st.sets(st.integers(0, COUNT - 1)),
    added=st.integers(0, 2),
    turned=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_exactly_what_changed_is_decoded_again(images, masks, removed, added, turned) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        data = Data(Path(folder))
        data.fill()
        data.store()
        decoded = watch(patch)
        for index in images:
            data.write(index, mask=False)
        for index in masks:
            data.write(index, image=False)
        left = [entry for i, entry in enumerate(data.entries) if i not in removed]
        data.entries = left + [data.write(COUNT + i) for i in range(added)]
        if turned:
            data.entries.reverse()
        result = data.store()
        new = [f"{COUNT + i}.png" for i in range(added)]
        changed = {f"{i}.png" for i in images - removed} | set(new)
        changed_masks = {f"{i}.png" for i in masks - removed} | set(new)
        assert sorted(decoded) == sorted([*changed, *(f"{name} mask" for name in changed_masks)])
        assert result.decoded == len(changed | changed_masks)
        assert result.reused == len(data.entries) - result.decoded
        assert result.digest == data.fresh_digest()
        assert result.names == tuple(entry.name for entry in data.entries)
        assert changed_sources(result) == ()


@given(
    place=st.integers(0, 10**6), held=st.sampled_from(["images", "targets"]), bit=st.integers(0, 7)
)
@settings(max_examples=15, deadline=None)
def test_a_flipped_bit_is_found_and_only_that_picture_is_decoded_again(place, held, bit) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        data = Data(Path(folder))
        data.fill()
        before = data.store()
        path = data.root / "store" / f"part-{held}.npy"
        content = bytearray(path.read_bytes())
        place %= len(content)
        content[place] ^= 1 << bit
        path.write_bytes(content)
        decoded = watch(patch)
        after = data.store()
        row = (place - (len(content) - COUNT * 16)) // 16
        mask = " mask" if held == "targets" else ""
        assert decoded == ([f"{row}.png{mask}"] if row >= 0 else [])
        assert after.digest == before.digest == data.fresh_digest()
        assert open_array(path).shape[0] == COUNT


def test_nothing_is_written_or_decoded_where_nothing_changed(data, decoded, monkeypatch) -> None:
    # Files that are old enough by now would be noted in the index as such.
    monkeypatch.setattr(listing, "RECENT", 0)
    first = data.store()
    decoded.clear()
    before = {path: identity(path) for path in (data.root / "store").iterdir()}
    again = data.store()
    assert (again.decoded, again.reused) == (0, COUNT)
    assert not decoded
    assert again.digest == first.digest
    assert {path: identity(path) for path in (data.root / "store").iterdir()} == before


def test_settled_files_are_known_without_being_opened(data, monkeypatch) -> None:
    monkeypatch.setattr(listing, "RECENT", 0)
    data.store()
    monkeypatch.setattr(listing, "content_of", lambda source: pytest.fail("opened"))
    result = data.store()
    assert result.decoded == 0
    assert changed_sources(result) == ()


def test_files_of_another_time_are_known_by_their_content(data, decoded) -> None:
    data.store()
    decoded.clear()
    for entry in data.entries:
        os.utime(entry.image.pixels, (1, 1))
    result = data.store()
    assert (result.decoded, decoded) == (0, [])


def test_moved_files_are_known_by_their_content(data, decoded) -> None:
    before = data.store()
    decoded.clear()
    moved = []
    for entry in data.entries:
        path = entry.image.pixels.rename(data.root / f"moved-{entry.name}")
        moved.append(LabeledImage(Image(path.name, path), entry.mask))
    result = data.store(entries=moved)
    assert (result.digest, decoded) == (before.digest, [])
    assert result.names[0] == "moved-0.png"
    assert changed_sources(result) == ()


def test_a_change_within_the_clock_s_tick_is_seen(data) -> None:
    path = data.entries[0].image.pixels
    Pillow.fromarray(np.full((6, 5), 1, np.uint8)).save(path.with_suffix(".bmp"))
    data.entries[0] = LabeledImage(Image("0.bmp", path.with_suffix(".bmp")), data.entries[0].mask)
    path = data.entries[0].image.pixels
    stamp = path.stat()
    before = data.store()
    Pillow.fromarray(np.full((6, 5), 2, np.uint8)).save(path)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert path.stat().st_size == stamp.st_size
    assert changed_sources(before) == ("0.bmp",)
    assert (open_array(data.store().images)[0] == 2).all()


@pytest.mark.parametrize(("cut", "lost"), [(1, 1), (17, 2), (79, 5), (150, 5)])
@pytest.mark.parametrize("held", ["images", "targets"])
def test_an_array_that_was_cut_short_keeps_the_pictures_before_the_cut(
    data, held, cut, lost
) -> None:
    before = data.store()
    path = data.root / "store" / f"part-{held}.npy"
    path.write_bytes(path.read_bytes()[:-cut])
    after = data.store()
    assert after.digest == before.digest == data.fresh_digest()
    assert after.decoded == lost
    assert data.store().decoded == 0


def test_bytes_after_the_end_of_an_array_are_removed(data) -> None:
    path = data.store().images
    sound = path.read_bytes()
    path.write_bytes(sound + b"more")
    assert data.store().decoded == 0
    assert path.read_bytes() == sound


@pytest.mark.parametrize("held", ["part-images.npy", "part-targets.npy", "part.json"])
def test_a_file_that_was_lost_is_made_again(data, held) -> None:
    before = data.store()
    (data.root / "store" / held).unlink()
    after = data.store()
    assert (after.digest, after.decoded) == (before.digest, COUNT)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "null", '{"format": 1}', '{"format": 9, "names": []}', "\0\0", "[" * 9999],
)
def test_an_index_that_says_nothing_is_made_again(data, text) -> None:
    before = data.store()
    before.index.write_text(text)
    assert data.store().digest == before.digest
    assert data.store().decoded == 0


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=15, deadline=None)
def test_a_damaged_index_never_gives_wrong_pictures(place, bit) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Data(Path(folder))
        data.fill(2)
        before = data.store()
        content = bytearray(before.index.read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        before.index.write_bytes(content)
        after = data.store()
        assert (after.digest, after.names) == (before.digest, before.names)


@pytest.mark.parametrize("published", [0, 1, 2])
def test_a_store_whose_maker_was_killed_is_completed(data, published, monkeypatch) -> None:
    data.store()
    data.write(1)
    data.entries = data.entries[::-1]
    publish, done = stored_arrays.NewFile.publish, []

    def killed(file: stored_arrays.NewFile) -> None:
        if len(done) == published:
            raise KeyboardInterrupt
        done.append(publish(file))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stored_arrays.NewFile, "publish", killed)
        patch.setattr(stored_arrays.NewFile, "discard", lambda file: None)
        data.store()
    left = len(list((data.root / "store").glob(".*.tmp")))
    assert left == 3 - published
    assert data.store().digest == data.fresh_digest()
    assert len(list((data.root / "store").iterdir())) == 3


def test_only_left_overs_of_the_split_itself_are_removed(data) -> None:
    folder = data.root / "store"
    folder.mkdir()
    names = [".part-images.npy.1f.tmp", ".part.json.1f.tmp", ".other.json.1f.tmp", "mine.tmp"]
    for name in names:
        (folder / name).write_text("")
    data.store()
    assert {path.name for path in folder.glob("*tmp")} == {".other.json.1f.tmp", "mine.tmp"}


def test_other_meanings_of_mask_values_leave_the_pixels_alone(data, decoded) -> None:
    data.store()
    decoded.clear()
    spec = replace(SPEC, values=(0, 255), void=7)
    result = data.store(spec=spec)
    assert sorted(decoded) == [f"{index}.png mask" for index in range(COUNT)]
    assert result.digest == data.fresh_digest(spec=spec)


@pytest.mark.parametrize(
    "change", [{"size": (4, 3)}, {"reading": Reading(channels=3)}], ids=["size", "channels"]
)
def test_another_size_or_reading_is_decoded_anew(data, change) -> None:
    before = data.store()
    after = data.store(**change)
    assert after.decoded == COUNT
    assert after.digest != before.digest
    assert after.digest == data.fresh_digest(**change)


def test_pictures_are_taken_from_another_store(data, decoded) -> None:
    known = data.entries
    store_split([known[0].image, known[1].image], data.root / "old", "unlabeled", **options())
    store_split(known[2:], data.root / "older", "labeled", **options())
    decoded.clear()
    data.entries = [*known, data.write(COUNT)]
    result = data.store(reuse=[data.root / "old", data.root / "older", data.root / "none"])
    expected = ["0.png mask", "1.png mask", "5.png", "5.png mask"]
    assert sorted(decoded) == expected
    assert (result.decoded, result.reused) == (3, 3)
    assert result.digest == data.fresh_digest()


def test_a_damaged_picture_of_another_store_is_not_taken(data) -> None:
    other = data.store("other")
    with other.images.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read()[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    result = data.store(reuse=other.images.parent)
    assert (result.decoded, result.digest) == (1, other.digest)


def test_who_has_mapped_an_array_keeps_what_it_was(data) -> None:
    before = data.store()
    mapped = open_array(before.images)
    content = np.array(mapped)
    data.write(0)
    data.entries.pop()
    data.store()
    assert np.array_equal(mapped, content)


def test_equal_pictures_in_a_split_are_no_reason_to_write(data) -> None:
    for entry in data.entries[1:]:
        entry.image.pixels.write_bytes(data.entries[0].image.pixels.read_bytes())
    images = data.store().images
    written = identity(images)
    data.store()
    assert identity(images) == written


def test_arrays_are_known_by_their_content(tmp_path) -> None:
    data = Data(tmp_path)
    pixels = [np.full((4, 4, 1), level, np.uint8) for level in range(3)]
    data.entries = [Image(f"unlabeled[{i}]", each) for i, each in enumerate(pixels)]
    stored = data.store()
    pixels[1] += 100
    assert changed_sources(stored) == ()
    result = data.store()
    assert (result.decoded, result.digest) == (1, data.fresh_digest())


def test_changed_and_lost_files_are_named(data) -> None:
    stored = data.store()
    assert changed_sources(stored) == ()
    data.entries[0].image.pixels.touch()
    data.entries[1].image.pixels.unlink()
    data.write(2, image=False)
    data.write(4)
    assert changed_sources(stored) == ("1.png", "2.png", "4.png")
    assert changed_sources(stored.index) == ("1.png", "2.png", "4.png")


def test_changes_cannot_be_told_without_an_index(data) -> None:
    stored = data.store()
    stored.index.unlink()
    with pytest.raises(ImsegError, match=r"part\.json is not the index of stored images"):
        changed_sources(stored)


def test_a_file_that_changes_while_it_is_read_is_noticed(data, monkeypatch) -> None:
    making = store._making_of_images

    def changing(images: Any, *options: Any) -> Any:
        made = making(images, *options)

        def load(number: int) -> Any:
            values = made.load(number)
            if number == 3:
                data.write(3, mask=False)
            return values

        return replace(made, load=load)

    with monkeypatch.context() as patch:
        patch.setattr(store, "_making_of_images", changing)
        stored = data.store()
    assert changed_sources(stored) == ("3.png",)
    again = data.store()
    assert (again.decoded, again.digest) == (1, data.fresh_digest())


def identity(path: Path) -> tuple[int, int]:
    """Return what differs once a file has been written again."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def options() -> dict[str, Any]:
    return {"spec": SPEC, "reading": Reading(channels=1), "size": (4, 4), "workers": 1}
