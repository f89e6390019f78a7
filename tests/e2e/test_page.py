"""The page in a real browser: a search, a click, and the video plays at the moment."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import pytest

from server.serving import ColorLibrary, color_video, make_color_library, serving
from video_corpus import write_case

pytestmark = pytest.mark.browser

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_S = 20
PLAYS_INSIDE = """([start, end]) => {
    const video = document.querySelector("#player video");
    return video.readyState >= 2 && video.currentTime >= start - 0.1 && video.currentTime < end;
}"""


@dataclass
class Visit:
    """A page with what it asked for and complained about."""

    page: Any
    base: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def go(self, address: str = "/") -> Any:
        self.page.goto(self.base + address)
        return self.page

    def search(self, words: str) -> None:
        self.page.fill("#query", words)
        self.page.press("#query", "Enter")
        self.page.wait_for_selector(".group .moment")

    def first(self) -> Any:
        """The best moment's button."""
        return self.page.locator(".groups .moment").first

    def play_first(self) -> tuple[float, float]:
        """Open the best moment; its times."""
        label = self.first().get_attribute("aria-label")
        self.first().click()
        self.page.wait_for_selector("#player[open]")
        start, end = (seconds(text) for text in re.findall(r"\d+:\d\d", label)[:2])
        return start, end


def until(page: Any, script: str, arg: Any = None) -> None:
    """Wait until a script is true. Playwright's own way needs eval, which the page forbids."""
    end = time.monotonic() + PATIENCE_S
    while not page.evaluate(script, arg):
        assert time.monotonic() < end, f"never came true: {script}"
        page.wait_for_timeout(50)


def seconds(clock: str) -> float:
    minutes, rest = clock.split(":")
    return 60 * int(minutes) + float(rest)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ColorLibrary:
    return make_color_library(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = os.environ.get("FINECUT_CHROMIUM") or shutil.which("chromium")
    if not path:
        message = "Chromium is missing: install it, or set FINECUT_CHROMIUM to its path"
        if os.environ.get("FINECUT_REQUIRE_CHROMIUM"):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def base(library: ColorLibrary) -> Iterator[str]:
    with serving(library.index) as address:
        yield address


@pytest.fixture
def visit(browser: Any, base: str) -> Iterator[Callable[..., Visit]]:
    """Opens pages; at the end none may have called another host or complained."""
    visits: list[Visit] = []
    contexts = []

    def open_page(address: str = base, expect: str = "", **options: Any) -> Visit:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        context.set_default_timeout(60_000)  # ms; a busy machine is slow, not broken
        contexts.append(context)
        made = Visit(context.new_page(), address)
        made.page.on("request", lambda request: made.asked.append(request.url))
        made.page.on("pageerror", lambda error: made.complaints.append(f"error: {error}"))

        def complain(message: Any) -> None:
            if message.type in ("error", "warning") and not (expect and expect in message.text):
                made.complaints.append(message.text)

        made.page.on("console", complain)
        visits.append(made)
        return made

    yield open_page
    for made in visits:
        assert made.complaints == []
        others = [url for url in made.asked if not url.startswith(made.base + "/")]
        assert made.asked and others == []
    for context in contexts:
        context.close()


def test_a_search_a_click_and_the_video_plays_at_the_moment(visit):
    site = visit()
    page = site.go()
    page.wait_for_selector(".shelf .moment")
    assert page.evaluate("document.activeElement.id") == "query"
    site.search("a green screen")
    assert page.title() == "a green screen · finecut"
    assert "moment" in page.inner_text("#status")
    card = page.locator(".group", has_text="lights.mp4").first
    moment = card.locator(".moment").first
    label = moment.get_attribute("aria-label")
    start, end = (seconds(text) for text in re.findall(r"\d+:\d\d", label)[:2])
    assert 3 <= start < end <= 9  # green is on from 4 to 8
    moment.click()
    page.wait_for_selector("#player[open]")
    until(page, PLAYS_INSIDE, arg=[start, end])
    before = page.evaluate("document.querySelector('#player video').currentTime")
    until(
        page,
        "before => document.querySelector('#player video').currentTime > before + 0.2",
        arg=before,
    )
    assert page.evaluate("!document.querySelector('#player video').paused")
    assert page.evaluate("document.querySelector('#player video').videoWidth") == 320
    assert page.inner_text("#player-title") == "lights.mp4"


def test_a_query_in_order_shows_its_steps_and_an_error_its_place(visit):
    site = visit(expect="400")
    page = site.go()
    page.wait_for_selector("#hint")
    assert "a car THEN a fire" in page.inner_text("#hint")
    site.search("red  THEN  green -white")
    card = page.locator(".group", has_text="lights.mp4").first
    steps = card.locator(".steps button")
    assert [text.split(" ", 1)[1] for text in steps.all_inner_texts()] == ["red", "green -white"]
    assert page.inner_text("#understood code") == "red THEN green -white"
    steps.nth(1).click()
    page.wait_for_selector("#player[open]")
    page.keyboard.press("Escape")
    page.fill("#query", "a dog AND (a cat")
    page.keyboard.press("Enter")
    page.wait_for_selector(".pointer")
    assert page.inner_text(".pointer mark") == "("
    assert "never closed" in page.inner_text("#results")


def test_keys_alone(visit):
    site = visit()
    page = site.go()
    page.wait_for_selector(".shelf .moment")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("white")
    page.keyboard.press("Enter")
    page.wait_for_selector(".group .moment")
    focused = "document.activeElement.dataset.key"
    page.keyboard.press("ArrowDown")
    first = page.evaluate(focused)
    page.keyboard.press("ArrowRight")
    second = page.evaluate(focused)
    page.keyboard.press("ArrowLeft")
    assert first and second and first != second and page.evaluate(focused) == first
    page.keyboard.press("Enter")
    page.wait_for_selector("#player[open]")
    title = page.inner_text("#player-title")
    page.keyboard.press("n")
    until(page, "old => document.querySelector('#player-title').textContent != old", arg=title)
    page.keyboard.press("p")
    until(page, "old => document.querySelector('#player-title').textContent == old", arg=title)
    page.keyboard.press("Escape")
    page.wait_for_selector("#player", state="hidden")
    assert page.evaluate(focused) == first  # the dialog gives the focus back
    page.keyboard.press("?")
    page.wait_for_selector("#help[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#help", state="hidden")


@pytest.mark.slow
def test_the_time_line_is_a_slider(visit):
    site = visit()
    page = site.go("/?q=blue")
    page.locator(".group", has_text="lights.mp4").locator(".moment").first.click()
    slider = page.locator("#player [role=slider]")
    slider.focus()
    now = "document.querySelector('#player video').currentTime"
    page.keyboard.press("Home")
    until(page, f"{now} < 1.5")
    page.keyboard.press("PageDown")  # to the next moment
    until(page, f"{now} > 5")
    assert float(slider.get_attribute("aria-valuemax")) == pytest.approx(12, abs=0.2)
    assert "of 0:1" in slider.get_attribute("aria-valuetext")
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    until(page, f"Math.abs({now} - 3) < 1.5")


def test_why_it_matched_is_drawn_over_the_best_frame(visit):
    site = visit()
    page = site.go("/?q=red")
    site.first().click()
    why = page.locator("#player button", has_text="Why it matched")
    why.click()
    canvas = page.locator("#player .still canvas")
    canvas.wait_for(state="visible")
    until(page, "document.querySelector('#player .still img').naturalWidth > 0")
    until(page, "document.querySelector('#player .still canvas').width == 320")
    assert why.get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.querySelector('#player video').paused")
    page.keyboard.press("h")
    page.wait_for_selector("#player .still", state="hidden")


def test_a_link_opens_the_moment_and_back_closes_it(visit):
    site = visit()
    page = site.go("/?q=green")
    start, end = site.play_first()
    until(page, "location.search.includes('play=')")
    link = page.evaluate("location.pathname + location.search")
    page.go_back()
    page.wait_for_selector("#player", state="hidden")
    assert "play=" not in page.url and "q=green" in page.url
    other = visit()
    opened = other.go(link)
    opened.wait_for_selector("#player[open]")
    until(opened, PLAYS_INSIDE, arg=[start, end])
    opened.keyboard.press("Escape")
    until(opened, "!location.search.includes('play=')")


@pytest.mark.slow
def test_back_goes_from_search_to_search(visit):
    site = visit()
    page = site.go()
    page.wait_for_selector(".shelf .moment")
    site.search("yellow")
    site.search("magenta")
    until(page, "document.title.startsWith('magenta')")
    page.go_back()
    until(page, "document.querySelector('#query').value == 'yellow'")
    until(page, "document.querySelector('.group .name').textContent.includes('größe')")
    page.go_back()
    page.wait_for_selector("#examples")
    assert page.input_value("#query") == ""


def test_no_good_match_is_said_with_guesses_below(visit):
    site = visit()
    page = site.go("/?q=a+dog+runs+on+the+beach")
    page.wait_for_selector("#no-good-match")
    assert "No good match" in page.inner_text("#no-good-match")
    assert "a dog runs on the beach" in page.inner_text("#no-good-match")
    assert page.locator(".group .moment").count() > 0
    assert "Weak" in page.locator(".group .match").first.inner_text()


def test_the_pointer_scrubs_through_the_moment(visit):
    page = visit().go("/?q=red")
    card = page.locator(".group", has_text="lights.mp4").locator(".moment").first
    card.wait_for()
    stamp = card.locator(".stamp")
    strip = "document.querySelector('.group .moment img.strip').style.transform"
    rest, at_rest = stamp.inner_text(), page.evaluate(strip)
    box = card.bounding_box()
    seen = set()
    for share in (0.05, 0.5, 0.95):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
        seen.add((stamp.inner_text(), page.evaluate(strip)))
    assert len(seen) == 3
    page.mouse.move(5, 5)
    assert (stamp.inner_text(), page.evaluate(strip)) == (rest, at_rest)


def test_a_link_is_copied(visit):
    site = visit(permissions=["clipboard-read", "clipboard-write"])
    page = site.go("/?q=green&min_height=100")
    site.play_first()
    page.keyboard.press("c")
    page.wait_for_selector(".toast:has-text('Link copied')")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(site.base + "/?q=green&min_height=100&play=")


@pytest.mark.slow
def test_a_long_video_shows_more_of_itself(visit, library, tmp_path):
    own = ColorLibrary(tmp_path / "videos", tmp_path / "index", library.bundle)
    color_video(own.videos / "long.mp4", *["red", "blue", "white"] * 10, seconds=2)
    own.indexed()
    with serving(own.index) as address:
        page = visit(address).go("/?q=red")
        page.wait_for_selector(".group .moment")
        assert page.locator(".group").count() == 1
        assert page.locator(".others .moment").count() == 4
        page.click("text=/more from this video/i")
        until(page, "document.querySelectorAll('.others .moment').length > 8")
        page.locator(".others .moment").nth(5).click()
        page.wait_for_selector("#player[open] .pick[aria-current=true]")
        assert page.locator("#player .pick").count() > 8


def test_a_file_that_has_gone_is_said(visit, library, tmp_path):
    own = ColorLibrary(tmp_path / "videos", tmp_path / "index", library.bundle)
    color_video(own.videos / "gone.mp4", "red", "blue")
    own.indexed()
    with serving(own.index) as address:
        page = visit(address, expect="404").go("/?q=red")
        page.wait_for_selector(".group .moment")
        (own.videos / "gone.mp4").unlink()
        page.locator(".group .moment").first.click()
        page.wait_for_selector("#player .stage-note")
        assert "Bring it back" in page.inner_text("#player .stage-note")


def test_names_are_text_never_markup(visit):
    page = visit().go("/?q=yellow")
    page.wait_for_selector(".group .name")
    assert page.locator(".group .name").first.inner_text() == "größe 日本 & <b>.mp4"
    assert page.locator(".group b").count() == 0


@pytest.mark.slow
def test_filters_live_in_the_address(visit):
    site = visit()
    page = site.go("/?q=white")
    page.wait_for_selector(".group .moment")
    page.click("#filters-toggle")
    page.fill("#filters [name=path]", "old")
    page.click("#filters button[type=submit]")
    until(page, "document.querySelectorAll('.group').length == 1")
    assert page.locator(".group .name").inner_text() == "old.avi"
    assert "path=old" in page.url
    page.locator(".chip", has_text="path old").click()
    until(page, "document.querySelectorAll('.group').length > 1")
    page.goto(site.base + "/?q=white&min_height=2160")
    page.wait_for_selector(".notice")
    assert "No video passes the filters" in page.inner_text(".notice")
    page.click("text=Clear the filters")
    page.wait_for_selector(".group .moment")


def test_an_image_is_searched_for(visit, tmp_path: Path):
    from PIL import Image

    Image.new("RGB", (80, 60), (250, 250, 10)).save(tmp_path / "yellow.png")
    page = visit().go()
    page.wait_for_selector(".shelf .moment")
    page.set_input_files("#file", str(tmp_path / "yellow.png"))
    page.wait_for_selector(".group .name")
    assert "größe" in page.locator(".group .name").first.inner_text()
    assert "like this image" in page.inner_text("#asked")
    page.click("#asked button")
    page.wait_for_selector("#examples")


@pytest.mark.slow
def test_an_image_can_be_dropped(visit):
    page = visit().go("/?q=red")
    page.wait_for_selector(".group .moment")
    page.evaluate("""async () => {
        const canvas = new OffscreenCanvas(40, 30);
        const pen = canvas.getContext("2d");
        pen.fillStyle = "rgb(250, 250, 10)";
        pen.fillRect(0, 0, 40, 30);
        const transfer = new DataTransfer();
        const blob = await canvas.convertToBlob({ type: "image/png" });
        transfer.items.add(new File([blob], "x.png", { type: "image/png" }));
        const fire = (kind) => document.body.dispatchEvent(
            new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: transfer }));
        fire("dragenter");
        if (document.querySelector("#drop").hidden) throw new Error("no drop zone");
        fire("drop");
    }""")
    until(page, "document.querySelector('.group .name')?.textContent.includes('größe')")
    assert page.locator("#drop").is_hidden()


def test_more_like_this_and_more_from_this_video(visit, library):
    site = visit()
    page = site.go("/?q=red")
    page.locator(".group", has_text="lights.mp4").get_by_text("More like this").click()
    until(page, "location.search.includes('like=')")
    page.wait_for_selector(".group .moment")
    assert "like lights.mp4" in page.inner_text("#asked")
    assert library.id_of("lights.mp4") in page.url


def test_a_video_the_browser_cannot_play_shows_its_frames(visit):
    page = visit().go("/?q=magenta&path=*.avi")
    page.locator(".group .moment").first.click()
    note = page.locator("#player .stage-note")
    note.wait_for(state="visible")
    assert "cannot play MPEG-4" in note.inner_text()
    until(page, "document.querySelector('#player .still img').naturalWidth == 320")
    first = page.get_attribute("#player .still img", "src")
    page.keyboard.press("ArrowRight")
    until(
        page,
        "old => document.querySelector('#player .still img').getAttribute('src') != old",
        arg=first,
    )


@pytest.mark.slow
def test_a_clip_is_saved(visit, tmp_path: Path):
    site = visit()
    page = site.go("/?q=green")
    site.play_first()
    with page.expect_download() as download:
        page.click("text=Save clip")
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    assert saved.suffix == ".mp4"
    with av.open(str(saved)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 5


@pytest.mark.slow
def test_light_and_dark_and_kept(visit):
    site = visit(color_scheme="light")
    page = site.go()
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.click("#theme")
    dark = page.evaluate(colour)
    assert light != dark
    page.reload()
    assert page.evaluate(colour) == dark
    other = visit(color_scheme="dark").go()
    assert other.evaluate(colour) == dark


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390, 768])
def test_narrow_screens_do_not_scroll_sideways(visit, width):
    page = visit().go("/?q=white")
    page.set_viewport_size({"width": width, "height": 700})
    page.wait_for_selector(".group .moment")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    page.locator(".group .moment").first.click()
    page.wait_for_selector("#player[open]")
    inside = """() => {
        const { scrollWidth, clientWidth } = document.querySelector("#player");
        return scrollWidth - clientWidth;
    }"""
    assert page.evaluate(inside) == 0
    box = page.locator("#player .stage").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width


@pytest.mark.slow
def test_everything_that_can_be_used_has_a_name(visit):
    page = visit().go("/?q=white")
    page.wait_for_selector(".group .moment")
    page.locator(".group .moment").first.click()
    page.wait_for_selector("#player[open] .pick")
    nameless = page.evaluate("""() => [...document.querySelectorAll(
        "button, a[href], input:not([type=file]), select, [role=slider]")]
        .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim()
            || node.labels?.length)).map((node) => node.outerHTML)""")
    assert nameless == []


@pytest.mark.slow
def test_text_has_contrast(visit):
    """WCAG AA (4.5:1) for the colours text is set in, in both themes."""
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme).go("/?q=white")
        page.wait_for_selector(".group .moment")
        ratios = page.evaluate("""() => {
            const probe = document.createElement("i");
            document.body.append(probe);
            const rgb = (name) => {
                probe.style.color = `var(--${name})`;
                return getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
            };
            const light = (name) => {
                const [r, g, b] = rgb(name).map((v) => {
                    const c = v / 255;
                    return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
                });
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const ratio = (a, b) => {
                const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
                return (x + 0.05) / (y + 0.05);
            };
            const pairs = {};
            for (const text of ["ink", "muted", "accent"])
                for (const back of ["paper", "surface", "sunk", "tint"])
                    pairs[`${text} on ${back}`] = ratio(text, back);
            pairs["on-accent on accent"] = ratio("on-accent", "accent");
            return pairs;
        }""")
        assert len(ratios) == 13
        assert {pair: r for pair, r in ratios.items() if r < 4.5} == {}


def test_an_index_that_is_not_there_says_what_to_do(visit, tmp_path):
    with serving(tmp_path / "none") as address:
        page = visit(address, expect="503").go()
        page.wait_for_selector(".notice")
        assert "Nothing is indexed yet" in page.inner_text(".notice")
        assert "finecut index ~/Videos" in page.inner_text(".command")


def test_an_error_is_shown_with_its_words(visit):
    page = visit(expect="422").go("/?q=red&min_duration_s=banana")
    page.wait_for_selector(".notice.bad")
    assert "'banana' is no duration" in page.inner_text(".notice")


@pytest.mark.slow
def test_a_server_that_has_gone_is_said(visit, library):
    with serving(library.index) as address:
        site = visit(address, expect="net::ERR")
        page = site.go()
        page.wait_for_selector(".shelf .moment")
    page.fill("#query", "red")
    page.press("#query", "Enter")
    page.wait_for_selector(".notice.bad")
    assert "finecut serve" in page.inner_text(".notice")


@pytest.mark.slow
def test_the_token_is_asked_for_and_opens_videos(visit, library):
    token = "a-long-and-secret-token"
    with serving(library.index, token=token) as address:
        site = visit(address, expect="401")
        page = site.go("/?q=green")
        page.wait_for_selector("#login[open]")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        until(page, "document.querySelector('#login .bad').textContent.includes('not the')")
        page.keyboard.type(token)
        page.keyboard.press("Enter")
        page.wait_for_selector(".group .moment")
        start, end = site.play_first()
        until(page, PLAYS_INSIDE, arg=[start, end])
        page.keyboard.press("Escape")
        page.context.clear_cookies()  # as after a restart of the server
        start, end = site.play_first()
        until(page, PLAYS_INSIDE, [start, end])
        page.reload()  # the tab keeps the token
        page.wait_for_selector(".group")
        assert page.evaluate("document.cookie") == ""
        printed = visit(address, expect="401")
        printed.go(f"/?q=red#token={token}").wait_for_selector(".group .moment")
        assert token not in printed.page.url


@pytest.mark.slow
def test_every_kind_of_video_plays_or_shows_its_frames(visit, library, tmp_path):
    plays = ["av1.mp4", "vp9.webm", "rotated-90.mp4", "vfr.mp4", "with-audio.mp4", "two-hours.mp4"]
    frames = ["hevc.mp4", "joined.ts", "moving.gif", "hole.mp4"]
    own = ColorLibrary(tmp_path / "videos", tmp_path / "index", library.bundle)
    own.videos.mkdir()
    for name in plays + frames:
        write_case(name, own.videos)
    own.indexed()
    with serving(own.index) as address:
        site = visit(address)
        for name in plays + frames:
            with av.open(str(own.videos / name)) as container:
                middle = float(container.duration or 8_000_000) / 2e6
            page = site.go(f"/?play={own.id_of(name)}@{middle:.2f}")
            page.wait_for_selector("#player[open]")
            if name in plays:
                until(page, PLAYS_INSIDE, [middle, middle + 20])
                size = "(v => [v.videoWidth, v.videoHeight])(document.querySelector('video'))"
                assert page.evaluate(size) == page.evaluate(
                    "id => fetch(`/api/v1/videos/${id}`).then(r => r.json())"
                    ".then(v => [v.width, v.height])",
                    own.id_of(name),
                )
            else:
                until(page, "document.querySelector('#player .still img').naturalWidth > 0")
                assert "cannot play" in page.inner_text("#player .stage-note")


@pytest.mark.slow
def test_the_library_shows_failures_and_indexes(visit, library, tmp_path):
    own = ColorLibrary(tmp_path / "videos", tmp_path / "index", library.bundle)
    shutil.copytree(library.videos, own.videos)
    own.indexed()
    with serving(own.index) as address:
        page = visit(address).go()
        page.wait_for_selector(".shelf .moment")
        page.click("#library-open")
        page.wait_for_selector("#library .video-row")
        assert page.locator("#library .video-row").count() == 7
        page.check("text=unreadable only")
        until(page, "document.querySelectorAll('#library .video-row').length == 1")
        assert "broken.mp4" in page.inner_text("#library .video-row")
        page.uncheck("text=unreadable only")
        color_video(own.videos / "new.mp4", "cyan", seconds=3)
        page.click("text=Look for new videos")
        page.wait_for_selector("#library .job >> text=1 new")
        page.wait_for_selector("#library .video-row >> text=new.mp4")
        page.locator("#library .video-row", has_text="new.mp4").click()
        page.wait_for_selector("#player[open]")
        until(page, "document.querySelector('#player video').readyState >= 2")
