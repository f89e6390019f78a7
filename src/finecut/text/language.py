"""Which language a query is in, as far as a search needs to know: is it one the bundle understands?

A script that none of the bundle's languages is written in decides: its letters mean nothing to the
bundle. Languages in Latin letters are told by their commonest words, and only guessed at: names and
borrowed phrases ("la la land") are everywhere.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

EVERY = frozenset(["*", "mul"])  # a bundle's languages: it was trained on a hundred or so

# Script -> languages written in it, the first one named where nothing else tells them apart.
_SCRIPTS = {
    "HAN": ("zh", "ja"),
    "KANA": ("ja",),
    "HANGUL": ("ko",),
    "CYRILLIC": ("ru", "uk", "bg", "sr", "mk", "be", "kk", "mn"),
    "GREEK": ("el",),
    "ARABIC": ("ar", "fa", "ur", "ps"),
    "HEBREW": ("he", "yi"),
    "DEVANAGARI": ("hi", "mr", "ne"),
    "BENGALI": ("bn",),
    "TAMIL": ("ta",),
    "TELUGU": ("te",),
    "GURMUKHI": ("pa",),
    "GUJARATI": ("gu",),
    "KANNADA": ("kn",),
    "MALAYALAM": ("ml",),
    "SINHALA": ("si",),
    "THAI": ("th",),
    "LAO": ("lo",),
    "KHMER": ("km",),
    "MYANMAR": ("my",),
    "GEORGIAN": ("ka",),
    "ARMENIAN": ("hy",),
    "ETHIOPIC": ("am",),
}
NAMES = {
    "zh": "Chinese", "ja": "Japanese", "ko": "Korean", "ru": "Russian", "el": "Greek",
    "ar": "Arabic", "he": "Hebrew", "hi": "Hindi", "bn": "Bengali", "ta": "Tamil",
    "te": "Telugu", "pa": "Punjabi", "gu": "Gujarati", "kn": "Kannada", "ml": "Malayalam",
    "si": "Sinhala", "th": "Thai", "lo": "Lao", "km": "Khmer", "my": "Burmese",
    "ka": "Georgian", "hy": "Armenian", "am": "Amharic", "en": "English", "de": "German",
    "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese", "nl": "Dutch",
    "sv": "Swedish", "da": "Danish", "pl": "Polish", "cs": "Czech", "tr": "Turkish",
    "vi": "Vietnamese", "id": "Indonesian", "fi": "Finnish", "ro": "Romanian", "hu": "Hungarian",
}  # fmt: skip

# Common words of captions, without those that are English words too ("die", "in", "on", "a").
_COMMON = {
    "en": "a an the in on at of and is are with to by from his her their two three man woman "
    "person people into over while up down it this that someone something",
    "de": "ein eine einen einem einer der das dem den und mit auf im ist sind wird von zu zwei "
    "mann frau hund katze menschen kinder junge mädchen während über eines nicht oder am",
    "fr": "un une le les des du et avec dans sur est sont au aux qui deux homme femme chien chat "
    "gens enfants garçon fille pendant pas ou ses près d'un d'une",
    "es": "un una el los las unos unas y con en sobre es está están del al que dos hombre mujer "
    "perro gato gente niños niño niña mientras se por para su",
    "it": "un una il lo gli le e con su è sono del della nel nella che due uomo donna cane gatto "
    "gente bambini ragazzo ragazza mentre di dei delle sul sulla",
    "pt": "um uma o os e com em no na nos nas sobre está estão do da dos das que dois duas homem "
    "mulher cachorro cão gato pessoas crianças menino menina enquanto",
    "nl": "een de het en met op zijn van naar twee vrouw hond kat mensen kinderen jongen meisje "
    "terwijl niet wordt aan bij",
    "sv": "en ett och med på är av till två kvinna hund katt människor barn pojke flicka medan som",
    "da": "en et og med på er af til to mand kvinde hund kat mennesker børn dreng pige mens som",
    "pl": "i z na w jest są się do dwa dwie mężczyzna kobieta pies kot ludzie dzieci chłopiec "
    "dziewczyna przez nie",
    "cs": "a s na v je jsou se do dva dvě muž žena pes kočka lidé děti chlapec dívka přes",
    "tr": "bir ve ile için iki adam kadın köpek kedi insanlar çocuklar üzerinde içinde olan",
    "vi": "một và với trên trong là đang của hai người đàn ông phụ nữ chó mèo",
    "id": "seorang sebuah dan dengan di yang sedang dua pria wanita anjing kucing orang anak",
    "fi": "ja on mies nainen koira kissa ihmiset lapset kaksi joka",
    "ro": "un o și cu pe în este sunt doi două bărbat femeie câine pisică oameni copii care",
    "hu": "egy és a az férfi nő kutya macska emberek gyerekek két",
}
_WORDS = {language: frozenset(words.split()) for language, words in _COMMON.items()}
_FEWEST = 2  # common words of a language that make it likely


@dataclass(frozen=True, slots=True)
class Foreign:
    """A query in a language that a bundle does not understand."""

    language: str  # its code
    certain: bool  # the script says so; else its words do

    @property
    def name(self) -> str:
        """In English; the code where we have no name for it."""
        return NAMES.get(self.language, self.language)


def foreign(query: str, languages: Collection[str]) -> Foreign | None:
    """The language of a query when it is none of ``languages``; None when it is, or may be.

    Args:
        query: a sentence or a few words.
        languages: codes a bundle names, as "en" or "zh-Hans"; "*" or "mul" stands for every one.

    >>> foreign("一只狗在草地上奔跑", ["en"]).name
    'Chinese'
    >>> foreign("ein Hund rennt über die Wiese", ["en"])
    Foreign(language='de', certain=False)
    >>> foreign("a dog runs across the meadow", ["en"]) is None
    True
    >>> foreign("一只狗", ["en", "zh-Hans"]) is None
    True
    """
    known = {code.lower().partition("-")[0] for code in languages}
    if known & EVERY or not known:
        return None
    counts = Counter(script for script in map(_script, query) if script)
    if not counts:
        return None
    # Japanese mixes Han with kana: any kana says which of the two it is.
    if counts["KANA"]:
        counts["KANA"] += counts.pop("HAN", 0)
    script, letters = counts.most_common(1)[0]
    if script != "LATIN":
        ours = _SCRIPTS[script]
        if letters * 2 <= counts.total() or known & set(ours):
            return None
        return Foreign(ours[0], certain=True)
    return _by_words(query, known)


def _by_words(query: str, known: set[str]) -> Foreign | None:
    words = {word.strip(".,;:!?\"'()").casefold() for word in query.split()}
    hits = {language: len(words & common) for language, common in _WORDS.items()}
    best = max(hits, key=lambda language: (hits[language], language in known))
    most_known = max((count for language, count in hits.items() if language in known), default=0)
    if best in known or hits[best] < _FEWEST or hits[best] <= most_known:
        return None
    return Foreign(best, certain=False)


@lru_cache(maxsize=4096)
def _script(letter: str) -> str | None:
    if not letter.isalpha():
        return None
    name = unicodedata.name(letter, "")
    if name.startswith(("CJK ", "IDEOGRAPHIC")):
        return "HAN"
    if name.startswith(("HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA")):
        return "KANA"
    if name.startswith(("LATIN", "FULLWIDTH LATIN")):
        return "LATIN"
    first = name.partition(" ")[0]
    return first if first in _SCRIPTS else None
