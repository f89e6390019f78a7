"""Frozen dataclasses from TOML tables and back; a key that does not exist is an error that names
the nearest one, and so is a value of another type."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

from finecut.errors import FinecutError, UsageError

T = TypeVar("T")


def from_table(kind: type[T], table: Any, where: str) -> T:
    """A dataclass from a table, nested ones included; keys left out keep their defaults.

    Args:
        kind: the dataclass.
        table: what ``tomllib`` read.
        where: the table's name, for messages; "" is the file itself.

    Raises:
        UsageError: an unknown key, a value of another type or out of range, or a missing key.

    >>> @dataclasses.dataclass
    ... class Train:
    ...     epochs: int = 5
    >>> from_table(Train, {"epochs": 2}, "train")
    Train(epochs=2)
    """
    values = checked(kind, table, where)
    missing = needed(kind) - values.keys()
    if missing:
        raise UsageError(f"{_shown(where)} lacks {', '.join(sorted(missing))}.")
    try:
        return kind(**values)
    except (FinecutError, ArithmeticError, TypeError, ValueError) as error:
        raise UsageError(f"[{where}] {error}" if where else str(error)) from error


def checked(kind: type, table: Any, where: str) -> dict[str, Any]:
    """The values of a table as the dataclass takes them; keys that it needs may be missing.

    Raises:
        UsageError: an unknown key, or a value of another type.
    """
    if not isinstance(table, Mapping):
        raise UsageError(f"{_shown(where)} must be a table, got {table!r}.")
    hints = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind) if field.init]
    refuse_unknown(table, known, where)
    return {name: _value(hints[name], table[name], _below(where, name)) for name in table}


def needed(kind: type) -> set[str]:
    """The fields of a dataclass that have no default."""
    absent = dataclasses.MISSING
    fields = dataclasses.fields(kind)
    return {f.name for f in fields if f.default is absent and f.default_factory is absent}


def _shown(where: str) -> str:
    return f"[{where}]" if where else "the file"


def _below(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def refuse_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise UsageError for the first key that is not known, with the nearest known one."""
    known = list(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"{_shown(where)} has no key {name!r}.{hint} Known: {', '.join(known)}."
            )


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        options = [option for option in inner if option is not types.NoneType]
        if len(options) == 1:
            return _value(options[0], value, where)
        for option in options:
            try:
                return _value(option, value, where)
            except UsageError:
                continue
        raise _wrong(where, " or ".join(_name(option) for option in options), value)
    if origin is Literal:
        if value not in inner or isinstance(value, bool) != isinstance(inner[0], bool):
            raise _wrong(where, " or ".join(repr(option) for option in inner), value)
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_table(hint, value, where)
    if origin in (tuple, frozenset, list):
        if not isinstance(value, list | tuple):
            raise _wrong(where, "a list", value)
        return origin(_value(inner[0], item, where) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(where, "a table", value)
        return {name: _value(inner[1], item, _below(where, name)) for name, item in value.items()}
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise _wrong(where, "a number", "a whole number beyond all floats") from None
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise _wrong(where, _name(hint), value)
    return value


def _name(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return words.get(hint, str(hint))


def _wrong(where: str, expected: str, value: Any) -> UsageError:
    return UsageError(f"{where} must be {expected}, got {value!r}.")


# ---------------------------------------------------------------------- and back

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_table(value: Any) -> Any:
    """A dataclass as plain tables; fields that are None are left out (TOML has no null)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {name: to_table(item) for name, item in pairs.items() if item is not None}
    if isinstance(value, Mapping):
        return {name: to_table(item) for name, item in value.items() if item is not None}
    if isinstance(value, frozenset | set):
        return [to_table(item) for item in sorted(value)]
    if isinstance(value, list | tuple):
        return [to_table(item) for item in value]
    return value


def write_toml(table: Mapping[str, Any]) -> str:
    """TOML text of nested tables of text, numbers, booleans and lists.

    >>> print(write_toml({"name": "x", "train": {"lr": 1e-4, "sizes": [1, 2]}}), end="")
    name = "x"
    <BLANKLINE>
    [train]
    lr = 0.0001
    sizes = [1, 2]
    """
    lines: list[str] = []
    _write(table, "", lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def _write(table: Mapping[str, Any], path: str, lines: list[str]) -> None:
    plain = {name: item for name, item in table.items() if not isinstance(item, Mapping)}
    inner = {name: item for name, item in table.items() if isinstance(item, Mapping)}
    if path and (plain or not inner):
        lines += ["", f"[{path}]"]
    lines += [f"{_key(name)} = {_literal(item)}" for name, item in plain.items()]
    for name, item in inner.items():
        _write(item, f"{path}.{_key(name)}" if path else _key(name), lines)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(value: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped as well.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    if isinstance(value, Mapping):  # inside a list
        return "{" + ", ".join(f"{_key(n)} = {_literal(i)}" for n, i in value.items()) + "}"
    if isinstance(value, int | float):
        return repr(value)
    raise UsageError(f"{value!r} cannot be written as TOML.")
