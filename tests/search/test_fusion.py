"""Pictures and words in one ranking: by hand, against noise, and on videos with subtitles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from finecut.bundle.load import Bundle
from finecut.errors import QueryError, UsageError
from finecut.index.build import build_index
from finecut.search.candidates import find_candidates
from finecut.search.engine import Searcher
from finecut.search.fusion import CONSTANT, FILE, Weights, fused_scores, read_weights, save_weights
from finecut.search.heard import Told, told
from finecut.search.moments import ClipHit, Span, find_moments
from finecut.search.places import Place, with_texts
from finecut.search.tune import Case, best_weights, tune
from index.clips import write_video

SRT = """1
00:00:01,000 --> 00:00:02,000
Welcome back

2
00:00:02,500 --> 00:00:03,900
to the garden show

3
00:00:06,000 --> 00:00:07,500
Look at this big tomato
"""


def span(row: int, video: int, start: float, end: float, score: float) -> Span:
    hit = ClipHit(row, video, row, start, end, score, np.array([start]), np.ones(1, np.float32))
    return Span((hit,), start, end, start)


def text(
    video: int, channel: str, start: float, end: float, share: float, words: str = "x"
) -> Told:
    return Told(video, channel, start, end, words, "s", share, 1.0)


def test_scores_by_hand():
    places = [
        Place(span(0, 0, 0, 5, 0.9)),
        Place(span(1, 1, 0, 5, 0.5), [text(1, "said", 0, 1, 1.0)]),
        Place(span(2, 2, 0, 5, 0.1), [text(2, "said", 0, 1, 0.5), text(2, "named", 0, 5, 1.0)]),
    ]
    usual = Weights({"picture": 1.0, "said": 2.0, "named": 0.5})
    most = 3.5 / (CONSTANT + 1)
    expected = [
        1 / (CONSTANT + 1),
        1 / (CONSTANT + 2) + 2 / (CONSTANT + 1),
        1 / (CONSTANT + 3) + 2 * 0.5**3 / (CONSTANT + 2) + 0.5 / (CONSTANT + 1),
    ]
    assert np.allclose(fused_scores(places, usual), np.array(expected) / most)
    alone = fused_scores(places, Weights({"picture": 0.0, "said": 1.0, "named": 0.0}))
    assert np.argsort(alone).tolist() == [0, 2, 1] and alone[0] == 0
    assert fused_scores(places[:1], usual) == [1.0]
    assert fused_scores([], usual) == []


def test_a_few_of_the_words_move_nothing_far():
    """The best picture stays first when a text elsewhere holds half of the words."""
    seen = [Place(span(i, i, 0, 5, 1.0 - i / 10)) for i in range(5)]
    seen[1].texts.append(text(1, "said", 0, 1, 0.5))
    scores = fused_scores(seen, Weights())
    assert int(np.argmax(scores)) in (0, 1)
    seen[4].texts.append(text(4, "said", 0, 1, 0.5))
    assert fused_scores(seen, Weights())[4] < max(scores)


def test_one_moment_per_place():
    spans = [span(0, 0, 2, 6, 0.9), span(1, 0, 8, 9, 0.5), span(2, 1, 0, 4, 0.4)]
    hits = [hit for one in spans for hit in one.hits] + [
        ClipHit(3, 2, 0, 0.0, 8.0, 0.2, np.array([0.0, 4.0]), np.array([0.1, 0.9], np.float32))
    ]
    widened = text(0, "said", 5, 7, 1.0)
    apart = text(2, "shown", 3, 5, 1.0)
    whole = replace(text(1, "named", 0, 30, 1.0), whole=True)
    long = text(1, "told", 0, 400, 1.0)
    places = with_texts(spans, hits, [widened, apart, whole, long])
    assert [(p.video, p.span.start_s, p.span.end_s) for p in places] == [
        (0, 2, 7),
        (0, 8, 9),
        (1, 0, 4),
        (2, 3, 5),
    ]
    assert places[2].texts == [whole, long]
    assert places[3].span.best_s == 4.0
    both = with_texts(spans, hits, [text(0, "said", 5, 8.5, 1.0)])
    assert [(p.video, p.span.start_s, p.span.end_s) for p in both] == [(0, 2, 9), (1, 0, 4)]
    assert {hit.row for hit in both[0].span.hits} == {0, 1}
    assert with_texts([], [], [apart]) == []


def test_cues_that_follow_at_once_are_read_as_one_and_few_words_are_no_answer():
    cues = [
        text(0, "said", 1, 2, 0, "Welcome back"),
        text(0, "said", 2.5, 4, 0, "to the garden show"),
        text(0, "said", 60, 61, 0, "the garden"),
        text(1, "said", 0, 1, 0, "a show of hands"),
    ]
    (found,) = told("welcome to a garden show tomorrow", cues)
    assert (found.video, found.start_s, found.end_s, found.share) == (0, 1, 4, 0.75)
    assert found.text == "Welcome back to the garden show"
    assert [t.share for t in told("garden show", cues)] == [1.0, 0.5, 0.5]


def test_a_name_is_found_by_the_parts_it_is_written_of():
    names = [text(0, "named", 0, 9, 0, "GoldenGate2019")]
    assert [t.share for t in told("the Golden Gate", names)] == [1.0]
    assert [t.share for t in told("goldengate2019", names)] == [1.0]
    assert told("a golden retriever in snow", names) == []


def test_weights_are_kept_beside_the_index(tmp_path: Path):
    assert read_weights(tmp_path) == Weights()
    save_weights(tmp_path, Weights({"picture": 1.0, "said": 2.5}))
    assert read_weights(tmp_path).of("said") == 2.5 and read_weights(tmp_path).of("named") == 1.0
    for wrong in ("[]", "{", '{"weights": {"said": -1}}', '{"weights": {"said": "x"}}', "\x00"):
        (tmp_path / FILE).write_text(wrong)
        with pytest.raises(UsageError, match=r"fusion\.json .*delete it"):
            read_weights(tmp_path)


# -- on videos with subtitles ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def told_library(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("told")
    colors = {"first": ["red", "blue"], "tomato": ["green"], "third": ["blue", "white"]}
    for seed, (name, shown) in enumerate(colors.items()):
        write_video(root / "v" / f"{name}.mp4", shown, seconds=4, seed=seed, fps=2)
    (root / "v" / "first.srt").write_text(SRT)
    (root / "v" / "third.srt").write_text("1\n00:00:05,000 --> 00:00:06,000\nGoodbye red world\n")
    build_index([root / "v"], root / "index", bundle, workers=1)
    return root / "index"


@pytest.fixture(scope="module")
def heard(told_library: Path, bundle: Bundle) -> Searcher:
    return Searcher.open(told_library, bundle=bundle)


def names(results) -> list[str]:
    return [Path(moment.video).stem for moment in results]


def test_said_seen_and_named_in_one_ranking(heard: Searcher):
    assert set(heard.channels) == {"said", "named"}
    said = heard.search("welcome to the garden show")
    best = said[0]
    assert names(said)[0] == "first" and best.start_s <= 1.0 and best.end_s >= 3.9
    assert best.reasons[0].channel == "said"
    assert best.reasons[0].text == "Welcome back to the garden show"
    assert (best.reasons[0].start_s, best.reasons[0].source) == (1.0, "sidecar first.srt")
    assert said.good_match
    seen = heard.search("green")
    assert names(seen)[0] == "tomato" and [r.channel for r in seen[0].reasons] == ["picture"]
    named = heard.search("tomato")
    assert {(names([m])[0], m.reasons[0].channel) for m in named[:2]} == {
        ("tomato", "named"),
        ("first", "said"),
    }
    assert named[0].reasons[0].score == 1.0
    both = heard.search("red world")
    assert {names([m])[0] for m in both[:2]} == {"first", "third"}
    for results in (said, seen, named, both):
        sure = [moment.confidence for moment in results]
        assert sure == sorted(sure, reverse=True)
        scores = [moment.score for moment in results]
        assert scores == sorted(scores, reverse=True)
        places = {(m.video_id, m.start_s, m.end_s) for m in results}
        assert len(places) == len(results)


def test_what_no_text_answers_is_answered_by_pictures_alone(heard: Searcher):
    """To the bit: candidates and moments as they are without any text."""
    for query in ("blue", "a white screen", "blue and white", "zebra"):
        tokens = heard.encode_texts([query])[0].tokens
        found = find_candidates(heard.bundle, heard.index, tokens, 50)
        spans = find_moments(found.hits, 10)
        got = [(m.start_s, m.end_s, m.best_s, m.score) for m in heard.search(query)]
        assert got == [(s.start_s, s.end_s, s.best_s, s.score) for s in spans]


def test_quotes_and_channels(heard: Searcher):
    quoted = heard.search('"big tomato"')
    assert [(names([m])[0], m.start_s, m.end_s) for m in quoted] == [("first", 6.0, 7.5)]
    assert [r.channel for r in quoted[0].reasons] == ["said"] and quoted.good_match
    assert heard.search('"tomato big"') == []
    assert names(heard.search('blue "big tomato"')) == ["first"]
    assert heard.search('blue "big tomato"').good_match
    assert not heard.search('green "big tomato"').good_match
    assert names(heard.search('"red world" said:goodbye')) == ["third"]
    assert "third" not in names(heard.search("blue -said:goodbye", k=3))[:1]
    assert names(heard.search("tomato channel:named")) == ["tomato"]
    assert names(heard.search("tomato channel:said")) == ["first"]
    # Where no picture was looked at, none is a reason.
    for query in ("tomato channel:said", '"big tomato"', "tomato channel:named"):
        assert all(r.channel != "picture" for m in heard.search(query) for r in m.reasons)
    pictures = heard.search("tomato channel:picture")
    assert all(r.channel == "picture" for m in pictures for r in m.reasons)
    with pytest.raises(QueryError, match=r"no texts of the channel shown \(there: .*said"):
        heard.search("shown:exit")


def test_words_in_order(heard: Searcher):
    best = heard.search('"welcome back" THEN "big tomato"')[0]
    assert names([best]) == ["first"] and best.steps[0].best_s < 4 < best.steps[1].best_s
    assert not heard.search('"big tomato" THEN "welcome back"').good_match
    assert {reason.channel for reason in best.reasons} == {"said"}
    mixed = heard.search("red THEN said:tomato")[0]
    assert names([mixed]) == ["first"] and mixed.steps[1].end_s > 6.0
    assert [reason.channel for reason in mixed.reasons] == ["picture", "said"]


def test_words_heard_are_not_told_as_a_picture(heard: Searcher):
    """The clip of blue is where the tomato is spoken of; none is to be seen."""
    best = heard.search("tomato AND blue in:v name:first")[0]
    said, seen = best.reasons
    assert said.channel == "said" and seen.channel == "picture"
    assert best.confidence > 0.5 > seen.score


def test_a_channel_without_weight_is_not_counted(told_library: Path, bundle: Bundle):
    try:
        save_weights(told_library, Weights({"picture": 1.0, "said": 0.0, "named": 0.0}))
        results = Searcher.open(told_library, bundle=bundle).search("red world")
        assert names(results)[0] == "first" and results[0].start_s == 0.0
    finally:
        (told_library / FILE).unlink()


# -- tuning ---------------------------------------------------------------------------------------


def case(picture: int, said: int, target: int, size: int = 6) -> Case:
    """The picture is for one video, the words for another."""
    places = [Place(span(i, i, 0, 5, 1.0 if i == picture else 0.5 - i / 100)) for i in range(size)]
    places[said].texts.append(text(said, "said", 0, 1, 1.0))
    recall = np.linspace(1, 0, size).astype(np.float32)
    return Case(places, recall, {i: i for i in range(size)}, target)


def test_words_that_are_right_gain_weight_and_wrong_ones_lose_it():
    right = [case(i % 5, 5, 5) for i in range(12)]
    wrong = [case(i % 5, 5, i % 5) for i in range(12)]
    usual = Weights()
    assert best_weights(right, ["said"], usual).of("said") >= 1.0
    assert best_weights(wrong, ["said"], usual).of("said") < 1.0
    assert best_weights(wrong, ["said"], usual).of("picture") == 1.0
    assert all(c.rank(best_weights(right, ["said"], usual)) == 1 for c in right)


def test_a_video_that_was_not_found_is_ranked_by_recall():
    one = case(0, 1, 4, size=6)
    fewer = Case(one.places[:2], one.recall, one.columns, 4)
    assert fewer.rank(Weights()) == 2 + 3


def test_tuning_on_a_library(heard: Searcher, told_library: Path):
    labelled = [{"query": "welcome garden", "video": "first.mp4"}] * 6
    labelled += [{"query": "tomato", "video": "tomato.mp4"}] * 6
    answer = tune(heard, labelled)
    assert answer["n_queries"] == answer["n_heard"] == 12
    assert answer["tuned"]["mir"] >= answer["now"]["mir"]
    assert set(answer["weights"]) == {"picture", "said", "shown", "told", "named"}
    assert json.dumps(answer) and not (told_library / FILE).exists()
    assert tune(heard, labelled) == answer
    with pytest.raises(UsageError, match="at least 10 labelled queries, got 2"):
        tune(heard, labelled[:2])


def test_tuning_without_texts(searcher: Searcher):
    with pytest.raises(UsageError, match="holds no texts"):
        tune(searcher, [{"query": "red", "video": "a.mp4"}] * 12)
