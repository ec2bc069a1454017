"""Archives from anybody: what is unpacked, and what is refused before a byte of it is written."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.datasets.prepared import contents

from imseg.data.files.archives import ArchiveLimits, archive_stem, is_archive, unpack
from imseg.errors import ImsegError

SMALL = ArchiveLimits(entries=20, entry_bytes=1000, total_bytes=3000, ratio=5, free_bytes=2000)


def make_zip(path: Path, entries: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = options.get("mode", stat.S_IFREG | 0o644) << 16
            zipped.writestr(info, content)
    return path


def make_tar(path: Path, entries: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def make_special_tar(path: Path, kind: bytes, *, link: str = "") -> Path:
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("odd.png")
        info.type, info.linkname = kind, link
        tar.addfile(info)
    return path


def refusal(archive: Path, folder: Path, limits: ArchiveLimits | None = None) -> str:
    """Return the text of the error, after checking that nothing was written anywhere."""
    before = contents(archive.parent)
    with pytest.raises(ImsegError) as caught:
        unpack(archive, folder, limits=limits)
    assert contents(archive.parent) == before
    text = str(caught.value)
    assert str(archive) in text
    return text


GOOD = {"top/a.png": b"first", "top/deep/b.png": b"second" * 100, "c.txt": b""}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "A.TAR.XZ"])
def test_every_kind_is_unpacked_as_it_was_packed(tmp_path, name):
    archive = tmp_path / name
    if name.endswith(".zip"):
        make_zip(archive, GOOD)
    else:
        ending = name.lower().rpartition(".")[2]
        make_tar(archive, GOOD, {"tar": "w", "tgz": "w:gz"}.get(ending, f"w:{ending}"))
    seen: list[tuple[int, int]] = []
    done = unpack(archive, tmp_path / "out", progress=lambda *pair: seen.append(pair))
    assert contents(tmp_path / "out") == GOOD
    assert done.written == 605 and {str(path) for path in done.files} == set(GOOD)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert is_archive(archive) and archive_stem(archive).lower() == "a"


def test_only_what_is_wanted_is_written_but_everything_is_looked_at(tmp_path):
    archive = make_zip(tmp_path / "a.zip", GOOD)
    unpack(archive, tmp_path / "out", wanted=lambda path: path.suffix == ".txt")
    assert contents(tmp_path / "out") == {"c.txt": b""}
    evil = make_zip(tmp_path / "b.zip", {**GOOD, "../../x.png": b"!"})
    with pytest.raises(ImsegError, match="leaves the folder"):
        unpack(evil, tmp_path / "none", wanted=lambda path: path.suffix == ".txt")
    assert not (tmp_path / "none").exists()


def test_what_hides_or_comes_from_macos_is_left_out(tmp_path):
    junk = {"__MACOSX/._a.png": b"1", ".DS_Store": b"2", "top/.hidden/a.png": b"3"}
    unpack(make_zip(tmp_path / "a.zip", {**junk, "top/a.png": b"4"}), tmp_path / "out")
    assert contents(tmp_path / "out") == {"top/a.png": b"4"}


def test_backslashes_of_windows_programs_are_folders(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"top\\": b"", "top\\deep\\a.png": b"1"})
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"top/deep/a.png": b"1"}


ODD_NAMES = {
    "../a.png": "leaves the folder",
    "top/../../a.png": "leaves the folder",
    "top\\..\\..\\a.png": "leaves the folder",
    "/etc/a.png": "absolute",
    "C:\\a.png": "absolute",
    "c:a.png": "absolute",
    "\\\\server\\a.png": "absolute",
    "a\nb.png": "control characters",
    "a\x1b[2Jb.png": "control characters",
    "a\u202egnp.png": "control characters",
    "a\u2028.png": "control characters",
    "a" * 300 + ".png": "longer than files have",
    "/".join("a" * 40): "longer than files have",
}


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_refused_and_shown_without_harm(tmp_path, name, kind):
    make = make_zip if kind == "zip" else make_tar
    archive = make(tmp_path / ("a.zip" if kind == "zip" else "a.tar.gz"), {"fine": b"", name: b"1"})
    text = refusal(archive, tmp_path / "out")
    assert ODD_NAMES[name] in text
    first = text.splitlines()[0]
    assert first.isprintable(), "the name is shown in a way that no terminal obeys"
    assert len(first) < 300 + len(str(tmp_path))


def test_a_name_cut_by_a_zero_byte_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"aXb.png": b"1"})
    archive.write_bytes(archive.read_bytes().replace(b"aXb", b"a\0b"))
    assert "control characters" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, mode):
    archive = make_zip(tmp_path / "a.zip", {"odd.png": b"/etc/passwd"}, mode=mode | 0o777)
    wanted = "is a link" if mode == stat.S_IFLNK else "is a device"
    assert f"'odd.png', which {wanted}" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "is a device"),
        (tarfile.BLKTYPE, "is a device"),
        (tarfile.FIFOTYPE, "is a device"),
        (tarfile.GNUTYPE_SPARSE, "is a file with holes"),
    ],
)
def test_links_devices_and_holes_in_a_tar_are_refused(tmp_path, kind, wanted):
    archive = make_special_tar(tmp_path / "a.tar", kind, link="/etc/passwd")
    assert f"'odd.png', which {wanted}" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize(
    "names",
    [
        ("a.png", "a.png"),
        ("a.png", "A.PNG"),
        ("top/a.png", "top//a.png"),
        ("top/a.png", "./top/a.png"),
        ("e\u0301.png", "\u00e9.png"),
        ("top", "top/a.png"),
        ("top/a.png", "top"),
    ],
)
def test_a_file_that_would_replace_another_is_refused(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            zipped.writestr(zipfile.ZipInfo(name), b"1")
    assert "is there twice" in refusal(tmp_path / "a.zip", tmp_path / "out")


def test_a_folder_may_be_named_twice(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in (".", "top", "top"):
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
        tar.addfile(tarfile.TarInfo("top/a.png"), io.BytesIO())
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert contents(tmp_path / "out") == {"top/a.png": b""}


def test_an_encrypted_zip_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"a.png": b"secret"})
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    archive.write_bytes(data)
    assert "'a.png', which is encrypted" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_too_many_entries_are_refused(tmp_path, kind):
    entries = {f"{index}.png": b"" for index in range(21)}
    archive = tmp_path / ("a.zip" if kind == "zip" else "a.tar.gz")
    (make_zip if kind == "zip" else make_tar)(archive, entries)
    assert "holds more than 20 entries" in refusal(archive, tmp_path / "out", SMALL)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_too_large_an_entry_is_refused(tmp_path, kind):
    archive = tmp_path / ("a.zip" if kind == "zip" else "a.tar.gz")
    (make_zip if kind == "zip" else make_tar)(archive, {"huge.png": bytes(1001)})
    text = refusal(archive, tmp_path / "out", SMALL)
    assert "'huge.png', which unpacks to 1001 bytes" in text


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_bomb_of_many_small_entries_is_refused_at_the_entry_that_is_too_much(tmp_path, kind):
    archive = tmp_path / ("a.zip" if kind == "zip" else "a.tar.gz")
    (make_zip if kind == "zip" else make_tar)(
        archive, {f"{index}.png": bytes(900) for index in range(9)}
    )
    text = refusal(archive, tmp_path / "out", SMALL)
    assert "that unpack to more than 2." in text and "KiB, at the entry '3.png'" in text


def test_the_ratio_counts_beyond_what_is_always_allowed(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {f"{index}.png": bytes(900) for index in range(3)})
    packed = archive.stat().st_size
    limits = ArchiveLimits(ratio=1, free_bytes=2700 - packed)
    unpack(archive, tmp_path / "out", limits=limits)
    tight = ArchiveLimits(ratio=1, free_bytes=2699 - packed)
    text = refusal(archive, tmp_path / "again", tight)
    assert "that unpack to more than 2.6 KiB, at the entry '2.png'" in text


def test_a_real_bomb_is_refused_without_being_unpacked(tmp_path):
    """Ten gigabytes in ten megabytes: the compressed stream says so only as it is read."""
    archive = tmp_path / "bomb.tar.gz"
    with gzip.open(archive, "wb", compresslevel=9) as file:
        info = tarfile.TarInfo("a.png")
        info.size = 10 << 30
        file.write(info.tobuf())
        file.write(bytes(1 << 20))
    assert "which unpacks to 10.0 GiB" in refusal(archive, tmp_path / "out")


def test_a_header_that_asks_for_all_memory_is_refused(tmp_path):
    """Long names are read into memory at once: a header may claim gigabytes of name."""
    archive = tmp_path / "a.tar.gz"
    with gzip.open(archive, "wb") as file:
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4 << 30
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(1 << 16))
    assert "has a header larger than any real one" in refusal(archive, tmp_path / "out")


def test_a_table_of_contents_that_asks_for_all_memory_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {f"{index}.png": b"1" for index in range(50)})
    text = refusal(archive, tmp_path / "out", ArchiveLimits(header_bytes=1000))
    assert "has a header larger than any real one" in text


def test_a_zip_entry_longer_than_it_says_is_not_written_in_full(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"a.png": bytes(5000)})
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.index(mark) + offset, 10)
    archive.write_bytes(data)
    with pytest.raises(ImsegError, match=r"a\.zip"):
        unpack(archive, tmp_path / "out")
    assert sum(map(len, contents(tmp_path / "out").values())) <= 10


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
def test_files_that_are_no_archives_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"no archive at all" * 100)
    text = refusal(tmp_path / name, tmp_path / "out")
    assert "cannot be unpacked" in text and "a whole zip or tar file" in text


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_archives_that_are_cut_short_are_refused(tmp_path, name):
    archive = tmp_path / name
    entries = {f"{index}.png": bytes(range(256)) * 8 for index in range(30)}
    make_zip(archive, entries) if name == "a.zip" else make_tar(
        archive, entries, "w" if name == "a.tar" else "w:gz"
    )
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(ImsegError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")


def test_a_damaged_header_in_the_middle_of_a_tar_is_not_taken_for_its_end(tmp_path):
    archive = make_tar(tmp_path / "a.tar", {"a.png": b"1", "b.png": b"2"}, "w")
    data = bytearray(archive.read_bytes())
    data[1024 + 148] ^= 0x55
    archive.write_bytes(data)
    assert "a header is damaged" in refusal(archive, tmp_path / "out")


def test_damaged_content_is_noticed(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"a.png": bytes(range(256))})
    data = bytearray(archive.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 16, 12345)
    archive.write_bytes(data)
    with pytest.raises(ImsegError, match="Bad CRC"):
        unpack(archive, tmp_path / "out")


def test_no_room_on_the_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    import shutil

    archive = make_zip(tmp_path / "a.zip", GOOD)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=604))
    text = refusal(archive, tmp_path / "out")
    assert "no room to unpack" in text and "605 bytes free" in text and "604 bytes" in text


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(ImsegError, match=r"There is no file .*none\.zip"):
        unpack(tmp_path / "none.zip", tmp_path / "out")


@given(
    names=st.lists(
        st.text(st.sampled_from("a./\\:\n\u202eZ~ "), min_size=1, max_size=12),
        min_size=1,
        max_size=4,
        unique=True,
    ),
    as_zip=st.booleans(),
)
def test_whatever_the_names_nothing_is_written_outside(tmp_path_factory, names, as_zip):
    root = tmp_path_factory.mktemp("any")
    folder = root / "deep/er/out"
    archive = root / ("a.zip" if as_zip else "a.tar")
    if as_zip:
        make_zip(archive, dict.fromkeys(names, b"1"))
    else:
        make_tar(archive, dict.fromkeys(names, b"1"), "w")
    try:
        unpack(archive, folder)
    except ImsegError:
        assert not folder.exists() or not contents(folder)
    written = {root / name for name in contents(root)} - {archive}
    assert all(path.resolve().is_relative_to(folder.resolve()) for path in written)
    assert not any(path.is_symlink() for path in root.rglob("*"))


def test_the_stem_of_an_archive_is_its_name_without_the_whole_ending():
    assert archive_stem(Path("x/masks.tar.gz")) == "masks"
    assert archive_stem(Path("leftImg8bit_trainvaltest.zip")) == "leftImg8bit_trainvaltest"
    assert not is_archive(Path(".hidden.zip")) and not is_archive(Path("a.gz"))
    assert PurePosixPath("a") == PurePosixPath("a/")
