"""The terms a text is found by: folded words, and characters in pairs where no spaces are written.

Languages that write no spaces (Chinese, Japanese, Thai, …), and Korean, whose particles cling to
the word, are cut into single characters and overlapping pairs: a word of any length is then found
inside any sentence without a dictionary. Words of other languages are folded (case, width, accents)
and kept whole; nothing is stemmed, so names and numbers are found as they are written.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST_TERM = 64  # characters; longer "words" are addresses or noise, and are cut
BREAK = "|"  # between the running text and the pairs in `row_terms`; itself no term of any query

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # kana and iteration marks
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\uac00-\ud7a3"  # Hangul syllables
)
# Patterns are compiled at their first use (re keeps them): it takes as long as importing all of
# this package, and most searches meet no text.
# Vowel signs of Indic scripts are marks, which \w leaves out: they belong to their word.
_SPACED = rf"(?![{_UNSPACED}])(?:[^\W_\u30fb]|[\u0900-\u0dff\u200c\u200d])"
_TERM = rf"[{_UNSPACED}]+|(?:{_SPACED})+"
_EDGES = r"(?<=[a-z])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
_FIRST_UNSPACED = rf"[{_UNSPACED}]"
_MARKS = "[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670]"
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d"})


def folded(text: str) -> str:
    """The text without differences of case, width and accent.

    >>> folded("ＣＡＦÉ Straße Łódź Ёлка ｶﾞ")
    'cafe strasse lodz елка ガ'
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(_MARKS, "", unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFC", text).translate(_LETTERS)


def sequence(text: str) -> list[str]:
    """The terms in the order they are written: words, and single characters of unspaced scripts.

    >>> sequence("The Tokyo Tower 东京塔, 333 m")
    ['the', 'tokyo', 'tower', '东', '京', '塔', '333', 'm']
    """
    terms: list[str] = []
    for match in re.finditer(_TERM, folded(text)):
        run = match.group()
        if re.match(_FIRST_UNSPACED, run):
            terms += run
        else:
            terms.append(run[:LONGEST_TERM])
    return terms


def query_terms(text: str) -> list[str]:
    """What a query looks for, each once: words, pairs of unspaced characters, single ones alone.

    >>> query_terms("猫 in 东京塔 in")
    ['猫', 'in', '东京', '京塔']
    """
    terms: list[str] = []
    for match in re.finditer(_TERM, folded(text)):
        run = match.group()
        if not re.match(_FIRST_UNSPACED, run):
            terms.append(run[:LONGEST_TERM])
        elif len(run) == 1:
            terms.append(run)
        else:
            terms += _pairs(run)
    return list(dict.fromkeys(terms))


def row_terms(text: str) -> str:
    """All terms of a stored text, spaces between: its sequence, then the pairs behind a break.

    >>> row_terms("Tokyo 东京塔")
    'tokyo 东 京 塔 | 东京 京塔'
    """
    terms, pairs = sequence(text), []
    for match in re.finditer(_TERM, folded(text)):
        run = match.group()
        if len(run) > 1 and re.match(_FIRST_UNSPACED, run):
            pairs += _pairs(run)
    return " ".join([*terms, BREAK, *pairs] if pairs else terms)


def apart(name: str) -> str:
    """A name with its parts set apart, as they are looked for.

    >>> apart("GoldenGate2019"), apart("IMG_0042b")
    ('Golden Gate 2019', 'IMG_0042 b')
    """
    return re.sub(_EDGES, " ", name)


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]
