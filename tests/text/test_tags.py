"""Part-of-speech tags with the tagger that is installed, and the cache beside it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from finecut.errors import MissingDependency, UsageError
from finecut.text import tags
from finecut.text.tags import Tagged, Tagger

needs_hanta = pytest.mark.skipif(
    importlib.util.find_spec("HanTa") is None, reason="HanTa is not installed (finecut[learn])"
)


@pytest.fixture(scope="module")
def hanta() -> Tagger:
    return Tagger("hanta")


@needs_hanta
def test_nouns_verbs_and_auxiliaries(hanta: Tagger) -> None:
    (words,) = hanta(["A man is playing the guitar!"])
    assert [w.tag for w in words] == ["DET", "NOUN", "AUX", "VERB", "DET", "NOUN", "PUNCT"]
    assert [w.word for w in words] == ["A", "man", "is", "playing", "the", "guitar", "!"]


@needs_hanta
def test_says_which_tagger_it_is(hanta: Tagger) -> None:
    from importlib.metadata import version

    assert hanta.name == f"hanta {version('HanTa')}"


@needs_hanta
def test_empty_and_odd_captions(hanta: Tagger) -> None:
    empty, odd, again = hanta(["", "  naïve 猫 — ok ", ""])
    assert empty == again == []
    assert [w.word for w in odd] == ["naïve", "猫", "—", "ok"]


@needs_hanta
def test_answers_are_cached_and_a_cut_line_costs_one_caption(
    tmp_path: Path, hanta: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "deep" / "tags.jsonl"
    first = Tagger("hanta", cache_file=file)
    answers = first(["a dog runs", "a cat sleeps"])
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps({"tagger": "other 1", "caption": "a dog runs", "words": []}) + "\n")
        out.write('{"tagger": "hanta')
    second = Tagger("hanta", cache_file=file)
    monkeypatch.setattr(second, "_tag", lambda captions: pytest.fail(f"tagged again: {captions}"))
    assert second(["a cat sleeps", "a dog runs"]) == answers[::-1]


@needs_hanta
def test_callers_cannot_change_what_is_cached(hanta: Tagger) -> None:
    hanta(["a dog"])[0].clear()
    assert hanta(["a dog"]) == [[Tagged("a", "DET"), Tagged("dog", "NOUN")]]


def test_unknown_taggers_and_mixed_wishes_are_refused() -> None:
    with pytest.raises(UsageError, match="tagger 'nltk'; expected"):
        Tagger("nltk")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'en_x' is spaCy's"):
        Tagger("hanta", model="en_x")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags, "SPACY_MODELS", ())
    with pytest.raises(MissingDependency, match="spaCy or its English model"):
        Tagger("spacy")


@pytest.mark.skipif(tags._installed_spacy_model() is None, reason="no spaCy model is installed")
def test_spacy_is_taken_where_it_is_installed() -> None:
    tagger = Tagger()
    assert tagger.name.startswith("spacy en_core_web")
    (words, nothing) = tagger(["A man is  playing the guitar!", ""])
    assert [w.tag for w in words] == ["DET", "NOUN", "AUX", "VERB", "DET", "NOUN", "PUNCT"]
    assert nothing == []
    with pytest.raises(MissingDependency, match="'en_none' is not installed"):
        Tagger(model="en_none")
