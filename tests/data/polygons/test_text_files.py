"""Annotations in UTF-8, with byte order marks, and in the code page of a computer."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest
from tests.data.polygons.polygon_files import (
    Coco,
    Cvat,
    as_base64,
    cvat_polygon,
    labelme_shape,
    save_picture,
    square,
)

from imseg.data.polygons import convert_polygons, read_annotations
from imseg.errors import ImsegError

WORDS = {
    "gb18030": "细胞",
    "big5": "細胞",
    "cp932": "細胞",
    "euc_kr": "세포",
    "cp1251": "клетка",
    "cp1252": "Zelle é",
}


def labelme(path: Path, label: str, encoding: str, **more: object) -> Path:
    """Write a LabelMe file in an encoding."""
    shape = labelme_shape(label, square(2, 2, 5))
    plain = {"version": "3.16", "shapes": [shape], "imagePath": f"{label}.png"} | more
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(plain, ensure_ascii=False).encode(encoding))
    return path


@pytest.mark.parametrize("encoding", list(WORDS))
def test_a_code_page_is_refused_with_the_remedy_and_read_when_it_is_named(tmp_path, encoding):
    word = WORDS[encoding]
    picture = save_picture(tmp_path / f"raw/{word}.png")
    source = labelme(tmp_path / "raw/a.json", word, encoding)
    with pytest.raises(ImsegError) as caught:
        convert_polygons(tmp_path / "raw", tmp_path / "out")
    text = str(caught.value)
    assert f"{source} is not UTF-8." in text and "iconv -f" in text
    assert re.search(r"--encoding \w", text) and "byte 0x" in text
    if encoding not in ("big5",):  # many codes of Big5 are others of GB 18030
        assert f"{encoding} reads {word!r}" in text
    made = convert_polygons(tmp_path / "raw", tmp_path / "out", encoding=encoding)
    assert made.objects == {word: 1}
    assert (tmp_path / f"out/labeled/images/{word}.png").read_bytes() == picture.read_bytes()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_byte_order_marks_and_wide_characters_are_read(tmp_path, encoding):
    source = labelme(tmp_path / "a.json", "细胞", encoding)
    assert read_annotations(source).labels == ("细胞",)


def test_files_in_utf_8_stay_so_beside_those_in_a_code_page(tmp_path):
    labelme(tmp_path / "a.json", "细胞", "gb18030")
    labelme(tmp_path / "b.json", "细菌", "utf-8")
    assert read_annotations(tmp_path, encoding="gb18030").labels == ("细胞", "细菌")


def test_a_picture_inside_a_file_in_a_code_page_is_found(tmp_path):
    content = save_picture(tmp_path / "other/a.png").read_bytes()
    labelme(tmp_path / "raw/a.json", "细胞", "gb18030", imageData=as_base64(content))
    convert_polygons(tmp_path / "raw", tmp_path / "out", encoding="gb18030")
    assert (tmp_path / "out/labeled/images/a.png").read_bytes() == content


@pytest.mark.parametrize("name", ["gb18031", "hex", "rot13", "no such"])
def test_an_encoding_that_is_none_is_told(tmp_path, name):
    source = labelme(tmp_path / "a.json", "细胞", "gb18030")
    with pytest.raises(ImsegError, match=f"no encoding named '{name}'[\\s\\S]*gb18030"):
        read_annotations(source, encoding=name)


def test_the_wrong_encoding_is_told(tmp_path):
    source = labelme(tmp_path / "a.json", "Zelle é", "cp1252")
    with pytest.raises(ImsegError, match="not UTF-8, and not euc_kr"):
        read_annotations(source, encoding="euc_kr")


@pytest.mark.parametrize("declared", ["gb18030", "cp932", "windows-1251", "iso-8859-1", "utf-16"])
def test_xml_says_its_encoding_itself(tmp_path, declared):
    word = {"windows-1251": "клетка", "iso-8859-1": "Zelle é"}.get(declared, "細胞")
    cvat = Cvat(word)
    cvat.image("a.png", cvat_polygon(square(2, 2, 5), word))
    text = cvat.text().replace('encoding="utf-8"', f'encoding="{declared}"')
    (tmp_path / "a.xml").write_bytes(text.encode(declared))
    assert read_annotations(tmp_path / "a.xml").labels == (word,)


def test_xml_and_coco_in_a_code_page_that_they_do_not_say(tmp_path):
    cvat, coco = Cvat("细胞"), Coco("细胞")
    cvat.image("a.png", cvat_polygon(square(2, 2, 5), "细胞"))
    (tmp_path / "a.xml").write_bytes(cvat.text().replace(' encoding="utf-8"', "").encode("gb18030"))
    coco.draw(coco.image("a.png"), square(2, 2, 5))
    plain = json.dumps(coco.plain(), ensure_ascii=False)
    (tmp_path / "b.json").write_bytes(plain.encode("gb18030"))
    for name in ("a.xml", "b.json"):
        with pytest.raises(ImsegError, match="--encoding gb18030"):
            read_annotations(tmp_path / name)
        assert read_annotations(tmp_path / name, encoding="gbk").labels == ("细胞",)


class NamedInCodePage(zipfile.ZipInfo):
    """An entry of a zip file whose name is in a code page, as the Explorer of Windows writes it."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.filename.encode("gb18030"), self.flag_bits


def test_names_in_a_zip_file_may_be_in_the_code_page_too(tmp_path):
    picture = save_picture(tmp_path / "细胞.png").read_bytes()
    notes = labelme(tmp_path / "细胞.json", "细胞", "gb18030").read_bytes()
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as file:
        file.writestr(NamedInCodePage("图/细胞.png"), picture)
        file.writestr(NamedInCodePage("图/细胞.json"), notes)
    for name in ("细胞.png", "细胞.json"):
        (tmp_path / name).unlink()
    convert_polygons(tmp_path / "raw.zip", tmp_path / "out", encoding="gb18030")
    assert (tmp_path / "out/labeled/images/细胞.png").read_bytes() == picture
