"""Sentences to token ids with the bundle's own tokenizer."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finecut.errors import BundleError, UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from finecut.bundle.manifest import Text

MAX_QUERY_CHARS = 2000  # far beyond any sentence; past it the input is a document or an attack
_JOINERS = "\u200c\u200d"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of one sentence, special ones included; never padded."""

    ids: list[int]
    truncated: bool  # some of the sentence did not fit into max_words


def clean_query(query: object) -> str:
    """The query as one line of plain text: control characters and runs of spaces become a space.

    Raises:
        UsageError: not a string, nothing left to look for, or over 2000 characters.

    >>> clean_query("  a dog\\n runs ")
    'a dog runs'
    """
    if not isinstance(query, str):
        raise UsageError(f"A query is a sentence (str), got {type(query).__name__}.")
    if len(query) > MAX_QUERY_CHARS:
        raise UsageError(
            f"The query has {len(query)} characters, expected at most {MAX_QUERY_CHARS}: "
            "a sentence that describes a moment."
        )
    # "C" are control, format, surrogate and unassigned characters: none of them is a word. The two
    # joiners belong to the spelling of several languages.
    plain = "".join(
        " " if unicodedata.category(c)[0] == "C" and c not in _JOINERS else c for c in query
    )
    plain = " ".join(plain.split())
    if not plain.strip(_JOINERS):
        raise UsageError("The query is empty; describe what to look for in a sentence.")
    return plain


def load_tokenizer(data: bytes, where: str) -> Tokenizer:
    """The tokenizer serialised in ``data``, with its own padding and truncation off.

    Raises:
        BundleError: not in the `tokenizers` format.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises bare Exception
        raise BundleError(
            f"{where} is no tokenizer in the Hugging Face `tokenizers` format: {error}"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def tokenize(tokenizer: Tokenizer, queries: Sequence[str], text: Text) -> list[Tokens]:
    """Token ids of each query in the bundle's template, at most ``max_words`` of them.

    A sentence that is too long loses its end but keeps the special token that closes it.

    Raises:
        UsageError: a query that cannot be meant (see `clean_query`).
        BundleError: the tokenizer finds no token at all in a query.
    """
    found = []
    for query in queries:
        sentence = text.template.replace("{}", clean_query(query))
        if text.lowercase:
            sentence = sentence.lower()
        ids = tokenizer.encode(sentence).ids
        if len(ids) > text.max_words:
            ids = _cut(tokenizer, sentence, text.max_words)
            found.append(Tokens(ids, truncated=True))
        elif ids:
            found.append(Tokens(ids, truncated=False))
        else:
            raise UsageError(
                f"The query {query!r} has no word this bundle knows; put it in other words."
            )
    return found


def _cut(tokenizer: Tokenizer, sentence: str, most: int) -> list[int]:
    plain = tokenizer.encode(sentence, add_special_tokens=False)
    plain.truncate(most - tokenizer.num_special_tokens_to_add(False))
    return tokenizer.post_process(plain).ids
