"""The everyday verbs in Chinese, and a list that is complete and holds nothing else."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

import finecut
from finecut.cli.said import ZH, language, t

CLI = Path(finecut.__file__).parent / "cli"


def said() -> set[str]:
    """Every sentence that is given to t(), and those it is given by a table or a function."""
    found = {"strong", "fair", "weak"}  # match_word's
    for path in CLI.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "t":
                found |= {n.value for n in ast.walk(node.args[0]) if isinstance(n, ast.Constant)}
            if isinstance(node, ast.Dict) and path.name == "index.py":
                keys = [k.value for k in node.keys if isinstance(k, ast.Constant)]
                found |= {key for key in keys if str(key).startswith("{n} ")}
    return found


def test_every_sentence_has_a_chinese_form_and_none_is_left_over() -> None:
    assert said() == ZH.keys()


@pytest.mark.parametrize("english", ZH)
def test_the_same_names_are_put_in(english: str) -> None:
    names = {field for _, field, _, _ in string.Formatter().parse(english) if field}
    assert {field for _, field, _, _ in string.Formatter().parse(ZH[english]) if field} == names
    assert re.search(r"[\u4e00-\u9fff]", ZH[english])


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "FINECUT_LANGUAGE": "en"}, "en"),
        ({"LANG": "en_GB.UTF-8", "FINECUT_LANGUAGE": "zh"}, "zh"),
    ],
)
def test_the_language_is_that_of_messages(
    environment: dict[str, str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FINECUT_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language() == wanted
    assert t("{n} new", n=3) == ("新增 3" if wanted == "zh" else "3 new")
