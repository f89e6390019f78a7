"""BigFile: what is written is read; what does not add up is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finecut.errors import NotFound, ShapeError, UsageError
from finecut.learn.data.bigfile import BigFile, write_bigfile

TABLE = np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bigfile(tmp_path / "feature", ["video7_1", "b", "c"], TABLE)
    return tmp_path / "feature"


def test_what_is_written_is_read(folder: Path) -> None:
    file = BigFile(folder)
    assert list(file) == ["video7_1", "b", "c"] and len(file) == 3 and file.dim == 2
    assert file["b"].tolist() == [2.0, 3.0]
    assert "z" not in file
    assert file.rows(["c", "video7_1"]).tolist() == [[4.0, 5.0], [0.0, 1.0]]
    with pytest.raises(NotFound, match="1 names are unknown, first 'z'"):
        file.rows(["b", "z"])


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("shape.txt", "3 3"),
        ("shape.txt", "4 2"),
        ("shape.txt", "-3 -2"),
        ("shape.txt", "3 2 1"),
        ("shape.txt", "three two"),
        ("id.txt", "video7_1 b"),
        ("feature.bin", "short"),
    ],
)
def test_sizes_must_agree(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(body)
    with pytest.raises(ShapeError):
        BigFile(folder)


def test_missing_parts_are_named(folder: Path) -> None:
    (folder / "id.txt").unlink()
    with pytest.raises(NotFound, match=r"id\.txt is missing"):
        BigFile(folder)


def test_nothing_wrong_is_written(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        write_bigfile(folder, ["a", "b", "c"], TABLE)
    with pytest.raises(ShapeError, match="2 names"):
        write_bigfile(tmp_path / "x", ["a", "b"], TABLE)
    with pytest.raises(ShapeError, match="distinct"):
        write_bigfile(tmp_path / "x", ["a", "a", "b"], TABLE)
    with pytest.raises(UsageError, match="white space"):
        write_bigfile(tmp_path / "x", ["a", "b c", "d"], TABLE)
