"""Everything the page says has a Chinese form, and the list of them holds nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import finecut

PAGE = Path(finecut.__file__).parent / "server" / "page"
STRING = r'"((?:[^"\\]|\\.)*)"'


def catalogue() -> dict[str, str]:
    text = (PAGE / "text.js").read_text(encoding="utf-8")
    body = text[text.index("const ZH = {") : text.index("\n};")]
    return dict(re.findall(rf"{STRING}: {STRING}", body))


def said_by_scripts() -> set[str]:
    said: set[str] = set()
    for path in PAGE.glob("*.js"):
        if path.name == "text.js":
            continue
        text = path.read_text(encoding="utf-8")
        said |= set(re.findall(rf"\bt\({STRING}", text))
        said |= set(re.findall(r'"(\{n\} [a-z]+)"', text))
        for one, _, many in re.findall(r'count\([^"]*"([a-z]+)"(, "([a-z]+)")?', text):
            said |= {f"{{n}} {one}", f"{{n}} {many or one + 's'}"}
    return said


class Words(HTMLParser):
    """What index.html shows: text, titles, labels and placeholders."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.quiet = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.quiet += tag in ("title", "script", "svg", "kbd")
        for name, value in attrs:
            if name in ("title", "placeholder", "aria-label") and value:
                self.found.add(value)

    def handle_endtag(self, tag: str) -> None:
        self.quiet -= tag in ("title", "script", "svg", "kbd")

    def handle_data(self, data: str) -> None:
        if data.strip() and not self.quiet:
            self.found.add(" ".join(data.split()))


def said_by_html() -> set[str]:
    words = Words()
    words.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    return words.found - {"fine", "cut"}  # the name


def test_every_sentence_has_a_chinese_form() -> None:
    missing = (said_by_scripts() | said_by_html()) - catalogue().keys()
    assert not missing


def test_nothing_in_the_list_is_left_over() -> None:
    left = set(catalogue()) - said_by_scripts() - said_by_html()
    assert not left


def test_the_same_names_are_put_in() -> None:
    for english, chinese in catalogue().items():
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", chinese)), english
        assert re.search(r"[\u4e00-\u9fff]", chinese) or "{" in chinese, english


def test_scripts_say_nothing_outside_the_list() -> None:
    """Text given to an element, a toast or a label goes through t()."""
    loose = []
    for path in sorted(PAGE.glob("*.js")):
        if path.name == "text.js":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for text in re.findall(
                rf'(?:toast\(|textContent = |title: |placeholder: |"aria-label": ){STRING}', line
            ):
                if re.search(r"[A-Za-z]{2}", text):
                    loose.append(f"{path.name}:{number} {text}")
    assert not loose
