"""Text that users write: whatever their editor puts before it, and whatever ends its lines."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from imseg.approaches.planning.settings import settings_from
from imseg.data.files.atomic import read_text
from imseg.data.folder.config import read_config
from imseg.errors import ImsegError

WRITTEN = {
    "plain UTF-8": lambda text: text.encode(),
    "UTF-8 with its mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16 of Windows": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16, the other way": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
}


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("written", WRITTEN)
def test_settings_say_the_same_however_an_editor_saved_them(
    tmp_path: Path, written: str, ends: str
) -> None:
    text = ends.join(['task = "binary"', "[classes]", '0 = "Zellkörper"', '1 = "细胞"', ""])
    (tmp_path / "imseg.toml").write_bytes(WRITTEN[written](text))
    found = read_config(tmp_path)
    assert (found.task, dict(found.names)) == ("binary", {0: "Zellkörper", 1: "细胞"})
    config = tmp_path / "settings.toml"
    config.write_bytes(WRITTEN[written](f"# café{ends}epochs = 7{ends}"))
    assert settings_from({}, config=config).epochs == 7


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b'[classes]\n0 = "caf\xe9"\n', "byte 0xe9 in line 2"),
        (codecs.BOM_UTF8 + b"a\nb\n\x81", "byte 0x81 in line 3"),
        ("a = 1".encode("utf-16-le"), "bytes that are 0"),
        (codecs.BOM_UTF16_LE + b"\x00t\x00", "line 1"),
    ],
)
def test_text_in_another_encoding_is_refused_with_its_line(
    tmp_path: Path, content: bytes, got: str
) -> None:
    path = tmp_path / "imseg.toml"
    path.write_bytes(content)
    with pytest.raises(ImsegError) as caught:
        read_text(path)
    assert got in str(caught.value.got)
    assert "save it with the encoding UTF-8" in str(caught.value.hint)
