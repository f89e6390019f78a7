"""The page in Chinese: for a browser that prefers it, and by the button."""

from __future__ import annotations

import pytest

from e2e.test_page import base, browser, library, visit

__all__ = ["base", "browser", "library", "visit"]  # the fixtures of the page's own tests

pytestmark = pytest.mark.browser


def test_a_browser_that_prefers_chinese_gets_it(visit):
    site = visit(locale="zh-CN")
    page = site.go()
    page.wait_for_selector(".shelf .moment")
    assert page.get_attribute("html", "lang") == "zh-Hans"
    assert page.get_attribute("#query", "placeholder") == "描述一个瞬间"
    site.search("a green screen")
    assert "个瞬间" in page.inner_text("#status")
    site.play_first()
    page.wait_for_selector("#player dt:has-text('时长')")
    page.keyboard.press("Escape")
    page.click("#library-open")
    page.wait_for_selector("#library h2:has-text('视频库')")


def test_the_button_changes_the_language_and_the_page_remembers(visit):
    site = visit(locale="de-DE")
    page = site.go("/?q=red")
    page.wait_for_selector(".group .moment")
    assert "moment" in page.inner_text("#status")
    page.click("#language")
    page.wait_for_selector("#status:has-text('个瞬间')")
    page.reload()
    page.wait_for_selector("#status:has-text('个瞬间')")
    page.click("#language")
    page.wait_for_selector("#status:has-text('moment')")
    assert page.get_attribute("html", "lang") == "en"
