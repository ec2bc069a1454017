"""The tables beside predicted masks: whole files that are written row by row."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from imseg.report.predictions.measurements import MeasurementFile


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_rows_are_written_under_the_keys_of_the_first(tmp_path):
    with MeasurementFile(tmp_path / "new" / "t.csv") as table:
        table.add([])
        table.add([{"image": "ä, b.png", "area": 3}, {"image": 'c "d".png', "area": 4.5}])
        table.add(iter([{"image": "e.png", "area": 0}]))
    text = (tmp_path / "new" / "t.csv").read_bytes().decode()
    assert text == 'image,area\n"ä, b.png",3\n"c ""d"".png",4.5\ne.png,0\n'
    assert files_in(tmp_path / "new") == ["t.csv"]


def test_without_a_row_there_is_no_file(tmp_path):
    with MeasurementFile(tmp_path / "t.csv") as table:
        table.add([])
    assert files_in(tmp_path) == []


def test_an_error_leaves_what_was_there_before(tmp_path):
    (tmp_path / "t.csv").write_text("old")
    with pytest.raises(KeyboardInterrupt), MeasurementFile(tmp_path / "t.csv") as table:
        table.add([{"a": 1}])
        raise KeyboardInterrupt
    assert files_in(tmp_path) == ["t.csv"]
    assert (tmp_path / "t.csv").read_text() == "old"


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    (tmp_path / ".t.csv.0123.tmp").write_text("half")
    with MeasurementFile(tmp_path / "t.csv") as table:
        table.add([{"a": 1}])
    assert files_in(tmp_path) == ["t.csv"]


def test_rows_do_not_stay_in_memory(tmp_path):
    with MeasurementFile(tmp_path / "t.csv") as table:
        table.add([{"image": "first.png", "object": 0}])
        tracemalloc.start()
        try:
            for number in range(10_000):
                table.add([{"image": f"image_{number}.png", "object": number}])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 100_000, "10,000 rows as dictionaries take 3 MB"
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 10_002
