"""Tables into dataclasses and back: nothing unknown, nothing of another type."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finecut.errors import UsageError
from finecut.learn.strict_toml import from_table, to_table, write_toml


@dataclass(frozen=True)
class Inner:
    size: int = 1
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    name: str
    rate: float = 0.5
    on: bool = False
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    words: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    free: Mapping[str, Any] = field(default_factory=dict)


def test_a_whole_table() -> None:
    table = {
        "name": "x", "rate": 1, "on": True, "inner": {"size": 2}, "maybe": {"kind": "b"},
        "words": ["p", "q"], "sizes": {"b": 2, "a": 1}, "free": {"any": [1, {"thing": 2}]},
    }  # fmt: skip
    got = from_table(Outer, table, "")
    assert got == Outer(
        "x", 1.0, True, Inner(2), Inner(1, "b"), ("p", "q"), {"b": 2, "a": 1}, table["free"]
    )
    assert isinstance(got.rate, float) and list(got.sizes) == ["b", "a"]
    assert from_table(Outer, tomllib.loads(write_toml(to_table(got))), "") == got


@pytest.mark.parametrize(("table", "message"), [
    ({}, "the file lacks name"),
    ({"name": "x", "inner": {"siez": 1}}, r"\[inner\] has no key 'siez'. Did you mean 'size'\? "
                                          "Known: size, kind"),
    ({"name": "x", "zzz": 1}, "the file has no key 'zzz'. Known: name"),
    ({"name": 1}, "name must be a text, got 1"),
    ({"name": "x", "rate": "fast"}, "rate must be a number, got 'fast'"),
    ({"name": "x", "rate": True}, "rate must be a number, got True"),
    ({"name": "x", "on": 1}, "on must be true or false, got 1"),
    ({"name": "x", "inner": {"size": 1.5}}, "inner.size must be a whole number, got 1.5"),
    ({"name": "x", "inner": {"size": True}}, "inner.size must be a whole number, got True"),
    ({"name": "x", "inner": {"kind": "c"}}, "inner.kind must be 'a' or 'b', got 'c'"),
    ({"name": "x", "inner": 3}, r"\[inner\] must be a table, got 3"),
    ({"name": "x", "words": "p"}, "words must be a list, got 'p'"),
    ({"name": "x", "words": [1]}, "words must be a text, got 1"),
    ({"name": "x", "sizes": {"a": "1"}}, "sizes.a must be a whole number, got '1'"),
    ({"name": "x", "sizes": [1]}, "sizes must be a table"),
])  # fmt: skip
def test_what_is_refused(table: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_table(Outer, table, "")


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        st.recursive(
            st.one_of(
                st.booleans(),
                st.integers(-(2**63), 2**63 - 1),
                st.floats(allow_nan=False, allow_infinity=False),
                st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
            ),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3), st.dictionaries(st.text("ab .", max_size=3), inner)
            ),
            max_leaves=6,
        ),
        max_size=4,
    )
)
def test_what_is_written_reads_back(table: dict) -> None:
    assert tomllib.loads(write_toml(table)) == table


def test_what_toml_cannot_hold() -> None:
    with pytest.raises(UsageError, match="cannot be written as TOML"):
        write_toml({"a": object()})
