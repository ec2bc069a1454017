"""How files and arrays are known again."""

from __future__ import annotations

import time

import numpy as np
import pytest

from imseg.data.files.listing import RECENT, Stamp, content_of, fingerprint, stamps_of, still_holds


def test_times_that_are_too_recent_are_not_trusted() -> None:
    now = time.time_ns()
    old = Stamp("", "/a", 1, now - 2 * RECENT, now - 2 * RECENT)
    unpacked = Stamp("", "/b", 1, now - 2 * RECENT, now)
    kept = fingerprint((old, unpacked), "").stamps
    assert kept[0] == old
    assert kept[1] != unpacked
    assert kept[1]._replace(modified=unpacked.modified) == unpacked


def test_a_file_is_told_from_its_like_by_place_and_time(tmp_path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    before = stamps_of(path)
    assert before == stamps_of(path)
    time.sleep(0.02)
    path.write_bytes(b"two")
    assert before != stamps_of(path)
    assert before[0].size == stamps_of(path)[0].size


@pytest.mark.parametrize("label", [None, "nucleus"])
def test_a_file_still_holds_what_it_held_until_it_is_changed(tmp_path, label) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    source = path if label is None else {label: path, "cell": path}
    known = fingerprint(stamps_of(source), content_of(source))
    assert still_holds(known)
    path.touch()
    assert still_holds(known)
    path.write_bytes(b"two")
    assert not still_holds(known)
    path.unlink()
    assert not still_holds(known)
    assert not still_holds(known._replace(content=""))


def test_content_is_what_matters_for_all_kinds_of_sources(tmp_path) -> None:
    for name, content in {"a.png": b"x", "b.PNG": b"x", "c.tif": b"x", "d.png": b"y"}.items():
        (tmp_path / name).write_bytes(content)
    a, b, c, d = (tmp_path / name for name in ("a.png", "b.PNG", "c.tif", "d.png"))
    assert content_of(a) == content_of(b)
    assert len({content_of(path) for path in (a, c, d)}) == 3
    assert content_of({"one": a, "two": d}) == content_of({"two": d, "one": b})
    assert content_of({"one": a, "two": d}) != content_of({"one": d, "two": a})
    zeros = np.zeros((2, 3), np.uint8)
    others = [zeros.T, zeros[:1], zeros.view(np.int8), zeros + 1]
    assert content_of(zeros[::-1]) == content_of(zeros)
    assert len({content_of(each) for each in (zeros, *others)}) == 5


def test_what_cannot_be_read_has_no_content(tmp_path) -> None:
    assert content_of(tmp_path / "none.png") == ""
    assert stamps_of(tmp_path / "none.png")[0].size == -1
