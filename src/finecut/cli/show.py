"""What the command line prints: results on stdout, everything else on stderr, errors in one line.

The only place of the project that prints.
"""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar

import typer

from finecut.errors import FinecutError, QueryError
from finecut.storage.location import is_url

P = ParamSpec("P")
R = TypeVar("R")

# C0 and C1 controls and the marks that turn the direction of text, but not the end of a line.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def out(text: str = "") -> None:
    """One line of the result."""
    sys.stdout.write(_printable(text, sys.stdout) + "\n")


def out_path(path: str) -> None:
    """One path on a line of its own, byte for byte as the file system has it: for pipes."""
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:  # replaced by a stream of text
        out(path)
        return
    sys.stdout.flush()
    binary.write(os.fsencode(path) + b"\n")


def out_bytes(data: bytes) -> None:
    """A whole file as the result, byte for byte."""
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        sys.stdout.write(data.decode("utf-8", "backslashreplace"))
        return
    sys.stdout.flush()
    binary.write(data)


def say(text: str = "") -> None:
    """One line beside the result: progress, notes, warnings."""
    sys.stderr.write(_printable(plain(text), sys.stderr) + "\n")


def _printable(text: str, stream: Any) -> str:
    # File names may hold bytes that are no text (surrogates), and a terminal may not know "…".
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def plain(text: str) -> str:
    r"""Text that cannot steer a terminal: control characters, which names may hold, spelled out.

    >>> plain("a\x1b[31m.mp4"), plain("two\nlines")
    ('a\\x1b[31m.mp4', 'two\nlines')
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def print_json(value: Any) -> None:
    """One JSON object on one line of stdout; not-a-number is an error, never `NaN`."""
    out(json.dumps(value, ensure_ascii=False, allow_nan=False))


def say_error(kind: str, message: str, *, as_json: bool, **more: Any) -> None:
    """What went wrong, on stderr: a line, or with ``--json`` an object as the last line."""
    if as_json:
        error = {"type": kind, "message": message, **more}
        say(json.dumps({"error": error}, ensure_ascii=False))
    else:
        say(f"finecut: {message}")


def caret_lines(query: str, at: int) -> str:
    """A query on one line, and under it a mark at the character where it cannot be read.

    >>> print(caret_lines("a dog AND", 6))
      a dog AND
            ^
    """
    shown = "".join(c if c.isprintable() else " " for c in query)
    before = sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in shown[:at]
    )
    return f"  {shown}\n  {' ' * before}^"


def os_error_text(error: OSError) -> str:
    """What the system refused, with the file it was about.

    >>> os_error_text(FileNotFoundError(2, "No such file or directory", "a/b"))
    'a/b: no such file or directory'
    """
    reason = (error.strerror or str(error) or type(error).__name__).strip()
    reason = reason[:1].lower() + reason[1:]
    return f"{os.fsdecode(error.filename)}: {reason}" if error.filename else reason


def fail(error: FinecutError, *, as_json: bool) -> NoReturn:
    """Say what went wrong on stderr and leave with the error's exit code."""
    if isinstance(error, QueryError):
        say_error(type(error).__name__, str(error), as_json=as_json, at=error.at)
        if not as_json:
            say(caret_lines(error.query, error.at))
    else:
        say_error(type(error).__name__, str(error), as_json=as_json)
    raise typer.Exit(error.exit_code)


def command(body: Callable[P, R]) -> Callable[P, R]:
    """Let a verb raise finecut's errors: they become a message and an exit code.

    With ``--json`` the message is an object, ``{"error": {"type", "message"}}``, on stderr.
    """

    @wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return body(*args, **kwargs)
        except FinecutError as error:
            fail(error, as_json=bool(kwargs.get("as_json")))

    return run


def time_text(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss, with tenths below a minute of interest.

    >>> time_text(3.04), time_text(75), time_text(3661.5)
    ('0:03.0', '1:15.0', '1:01:01.5')
    """
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def bytes_text(size: float) -> str:
    """Bytes in the unit that reads best.

    >>> bytes_text(512), bytes_text(3_000_000)
    ('512 B', '2.9 MiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def path_text(path: str) -> str:
    """A path as people read it: on one line, and from here where that is shorter; a URL whole."""
    try:
        relative = path if is_url(path) else os.path.relpath(path)
    except ValueError:  # another drive
        relative = path
    shown = relative if len(relative) < len(path) else path
    return plain(shown).replace("\n", "\\n")


def linked(text: str, path: str) -> str:
    """The text as a link to a file, on terminals that show links."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb" or is_url(path):
        return text
    from pathlib import Path

    return f"\x1b]8;;{Path(path).absolute().as_uri()}\x1b\\{text}\x1b]8;;\x1b\\"


def table(rows: list[tuple[str, ...]], *, right: tuple[int, ...] = ()) -> None:
    """Rows of cells in columns as wide as they need; plain text, also in pipes."""
    for line in table_lines(rows, right=right):
        out(line)


def table_lines(rows: list[tuple[str, ...]], *, right: tuple[int, ...] = ()) -> list[str]:
    """The lines of a table.

    >>> table_lines([("9", "a"), ("10", "b")], right=(0,))
    [' 9  a', '10  b']
    """
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
