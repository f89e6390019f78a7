"""Encodings are told apart by the letters their languages use most."""

from __future__ import annotations

import pytest

from finecut.text.encoding import decode_text
from text.lines import LINES, OLD


def test_utf8_stays_utf8_where_a_byte_was_hit_or_cut():
    text = "Привет, как дела? " * 20
    data = bytearray(text.encode())
    data[7] = 0xFF
    assert decode_text(bytes(data))[1] == "utf-8"
    assert decode_text(text.encode()[:-2])[1] == "utf-8"
    assert decode_text(b"plain")[1] == "utf-8" and decode_text(b"") == ("", "utf-8")


@pytest.mark.parametrize(("language", "encoding"), OLD)
def test_single_lines_with_the_language_known(language, encoding):
    for line in LINES[language]:
        hint = language.split("-")[0]
        assert decode_text(line.encode(encoding), hint)[0] == line


def test_single_lines_without_a_hint():
    lines = [(line, encoding) for name, encoding in OLD for line in LINES[name]]
    right = sum(decode_text(line.encode(encoding))[0] == line for line, encoding in lines)
    assert right >= 0.85 * len(lines) and len(lines) > 70


def test_any_bytes_decode():
    for seed in range(256):
        text, name = decode_text(bytes((seed * step * 7 + step) % 256 for step in range(300)))
        assert isinstance(text, str) and name
