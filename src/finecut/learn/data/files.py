"""Open annotation files without trusting them: text, JSON, tables, and pickles of plain data."""

from __future__ import annotations

import csv
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finecut.learn.data.benchmark import MAX_ANNOTATION_BYTES, AnnotationError


def read_bytes(path: Path) -> bytes:
    """The whole file.

    Raises:
        AnnotationError: missing, not a file, unreadable, or over 2 GiB.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise AnnotationError(f"{path} is not a file.")
        if size > MAX_ANNOTATION_BYTES:
            raise AnnotationError(
                f"{path} has {size} bytes, expected an annotation file of at most "
                f"{MAX_ANNOTATION_BYTES}."
            )
        return path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read: {error.strerror or error}.") from error


def read_text(path: Path) -> str:
    """The file as text: UTF-8 where it is, Latin-1 otherwise (LSMDC is not UTF-8 throughout)."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_lines(path: Path) -> list[str]:
    """The lines that are not empty, without surrounding white space."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def read_json(path: Path) -> Any:
    """Parsed JSON.

    Raises:
        AnnotationError: not JSON; says where.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path} is not JSON: {error}.") from error


def read_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, object) of every line that is not empty."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise AnnotationError(f"{path}:{number} is not JSON: {error}.") from error


def read_table(path: Path, columns: tuple[str, ...], *, delimiter: str = ",") -> list[list[str]]:
    """The rows below a header that must hold ``columns``, in that order of columns.

    Raises:
        AnnotationError: a column is missing, or a row is shorter than the header.
    """
    rows = list(csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter))
    header = [name.strip() for name in rows[0]] if rows else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise AnnotationError(
            f"{path}: the first line must name the columns {', '.join(columns)}; "
            f"missing {', '.join(missing)}, got {header[:10]}."
        )
    places = [header.index(name) for name in columns]
    found = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) <= max(places):
            raise AnnotationError(
                f"{path}:{number} has {len(row)} columns, expected {len(header)}."
            )
        found.append([row[place].strip() for place in places])
    return found


def want(value: Any, kind: type | tuple[type, ...], path: Path, what: str) -> Any:
    """``value`` when it is of ``kind``; else an error that names file and place."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(k.__name__ for k in kinds)
        raise AnnotationError(f"{path}: {what} must be {names}, got {type(value).__name__}.")
    return value


class _PlainUnpickler(pickle.Unpickler):
    """Reads dicts, lists, strings and numbers; nothing that names a class or a function."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it asks for an object outside the file")


def read_plain_pickle(path: Path) -> Any:
    """A pickle that holds plain data only (MSVD's captions); anything else is refused.

    Raises:
        AnnotationError: not a pickle, or one that would build objects of any class.
    """
    try:
        # encoding: the published MSVD file was written by Python 2
        return _PlainUnpickler(io.BytesIO(read_bytes(path)), encoding="latin-1").load()
    except AnnotationError:
        raise
    except Exception as error:  # a broken pickle may raise nearly anything
        raise AnnotationError(
            f"{path} is not a pickle of plain data (dicts, lists, strings, numbers): {error}. "
            "It is not opened any other way, for a pickle can run programs."
        ) from error
