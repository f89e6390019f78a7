"""A query in a language the bundle does not know is told, and not answered with noise."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from finecut.search.understood import Sought
from finecut.text.language import NAMES, foreign


def in_known_language(
    sought: Sought, name: str, languages: Collection[str], channels: Collection[str]
) -> tuple[Sought | None, str | None]:
    """The query as far as it can be searched, and what a person should know of its language.

    Pictures are left out where the script shows that the bundle reads none of the words; texts are
    searched in any language. A guess by words alone changes nothing but the note.

    Args:
        sought: what was asked.
        name: of the bundle.
        languages: that the bundle understands.
        channels: of text that the index holds.

    Returns: the query, None where nothing is left to search; and a sentence, None where all is
        well.
    """
    words = " ".join(term.words for step in sought.steps for term in step.terms)
    found = foreign(words, languages)
    if found is None:
        return sought, None
    known = ", ".join(NAMES.get(code.partition("-")[0], code) for code in languages)
    if not found.certain:
        return sought, f"This looks like {found.name}; the bundle {name} understands {known}."
    texts = frozenset(channels)
    if sought.channels is not None:
        texts &= sought.channels
    told = f"The query is in {found.name}, the bundle {name} understands {known}"
    if not texts:
        return None, (
            f"{told}: nothing was searched. Ask in {known}, or index with a bundle that knows "
            f"{found.name} (finecut models names some)."
        )
    steps = tuple(
        replace(step, terms=tuple(replace(term, asked=None) for term in step.terms), unseen=())
        for step in sought.steps
    )
    heard = replace(sought, steps=steps, channels=texts)
    return heard, f"{told}: words were searched, pictures were not."
