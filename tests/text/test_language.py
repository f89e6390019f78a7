"""A query the bundle does not understand is told from one it does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finecut.text.language import NAMES, foreign

BY_SCRIPT = {
    "zh": ["一只狗在草地上奔跑", "猫", "两个人在厨房做饭", "日落时分的海滩"],
    "ja": ["犬が草の上を走る", "カタカナ", "猫がソファで寝ている", "東京タワーの夜景"],
    "ko": ["개가 풀밭을 달린다", "고양이"],
    "ru": ["собака бежит по траве", "кошка"],
    "el": ["ένας σκύλος τρέχει"],
    "ar": ["كلب يركض على العشب"],
    "he": ["כלב רץ על הדשא"],
    "hi": ["एक कुत्ता घास पर दौड़ता है"],
    "th": ["สุนัขวิ่งบนหญ้า"],
}
BY_WORDS = {
    "de": ["ein Hund rennt über die Wiese", "zwei Frauen kochen in der Küche und lachen"],
    "fr": ["un chien court dans l'herbe", "deux femmes cuisinent avec des enfants"],
    "es": ["un perro corre por el césped", "dos mujeres cocinan en la cocina con su hijo"],
    "it": ["un cane corre nel prato", "due donne cucinano con una ragazza"],
    "pt": ["um cachorro corre na grama", "duas mulheres cozinham em uma cozinha com crianças"],
    "nl": ["een hond rent over het gras", "twee vrouwen koken met een kind"],
    "sv": ["en hund springer på gräset", "två kvinnor lagar mat och skrattar med ett barn"],
    "pl": ["pies i kot bawią się na trawie", "kobieta i mężczyzna gotują w kuchni"],
    "tr": ["bir köpek ve bir kedi", "iki kadın mutfakta yemek için"],
    "vi": ["một con chó đang chạy trên cỏ"],
}
ENGLISH = [
    "a dog runs across the grass",
    "dog",
    "la la land",
    "el dorado",
    "crème brûlée on a table",
    "die hard",
    "a café in Zürich",
    "two men play ping-pong",
    "San Francisco de Asís, the mission",
    "a sign that says 出口",
    "",
    "123 !?",
    "🐕",
]


@pytest.mark.parametrize(
    ("language", "query"), [(code, query) for code, all_ in BY_SCRIPT.items() for query in all_]
)
def test_a_script_decides(language: str, query: str) -> None:
    found = foreign(query, ["en"])
    assert found is not None and found.certain
    assert found.language == language
    assert foreign(query, [language]) is None
    assert foreign(query, ["en", "*"]) is None


@pytest.mark.parametrize(
    ("language", "query"), [(code, query) for code, all_ in BY_WORDS.items() for query in all_]
)
def test_common_words_make_it_likely(language: str, query: str) -> None:
    found = foreign(query, ["en"])
    assert found is not None and not found.certain
    assert found.language == language, found
    assert foreign(query, ["en", language]) is None


@pytest.mark.parametrize("query", ENGLISH)
def test_english_is_understood(query: str) -> None:
    assert foreign(query, ["en"]) is None


def test_japanese_written_in_han_alone_is_taken_for_chinese_at_worst() -> None:
    assert foreign("東京", ["ja"]) is None  # Han is among what Japanese is written in
    assert foreign("東京", ["en"]).language == "zh"


@given(st.text(max_size=60), st.sets(st.sampled_from([*NAMES, "xx", "zh-Hans"]), max_size=4))
def test_any_text_is_answered(query: str, languages: set[str]) -> None:
    found = foreign(query, languages)
    assert found is None or found.language not in languages
    assert found is None or found.name


def test_real_english_captions_raise_no_alarm(shared: Path) -> None:
    path = shared / "data" / "annotations" / "didemo" / "val_data.json"
    captions = [entry["description"] for entry in json.loads(path.read_text(encoding="utf-8"))]
    alarms = [caption for caption in captions if foreign(caption, ["en"])]
    assert len(captions) > 4000
    assert len(alarms) <= len(captions) // 1000, alarms
