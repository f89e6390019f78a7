"""AND, NOT, weights, filters in a query and images with words, on colours with right answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from color_bundle import make_color_bundle
from finecut.bundle.load import Bundle
from finecut.errors import QueryError, UsageError
from finecut.search import composed
from finecut.search.composed import StepSearch, in_units, log_sigmoid
from finecut.search.engine import Searcher
from finecut.search.filters import Filters
from finecut.search.heard import Heard
from finecut.search.understood import understand
from finecut.text.query_language import parse
from search.library import frame, make_library

VIDEOS = {
    "red.mp4": [["red"] * 4],
    "redblue.mp4": [["red|blue"] * 4],
    "blue.mp4": [["blue"] * 4],
    "old/green.mp4": [["green"] * 3, ["green|red"] * 3],
    "yellow.mp4": [["yellow"] * 5],
}


@pytest.fixture(scope="module")
def colors(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    place = make_library(tmp_path_factory.mktemp("composed"), VIDEOS, bundle)
    return Searcher.open(place, bundle=bundle)


def found(searcher: Searcher, query: str, **options) -> list[tuple[str, float]]:
    return [(Path(m.video).name, m.start_s) for m in searcher.search(query, **options)]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("red AND blue", ("redblue.mp4", 0.0)),
        ("blue AND red", ("redblue.mp4", 0.0)),
        ("red -blue", ("red.mp4", 0.0)),
        ("blue NOT red", ("blue.mp4", 0.0)),
        ("red AND green", ("green.mp4", 3.0)),
        ("green -red", ("green.mp4", 0.0)),
        ("(red AND blue) -green", ("redblue.mp4", 0.0)),
        ("(red)^3 AND blue -blue", ("red.mp4", 0.0)),
    ],
)
def test_what_is_in_a_moment_and_what_is_not(colors: Searcher, query: str, first):
    results = colors.search(query)
    assert found(colors, query)[0] == first
    assert results.understood == str(parse(query))
    scores = [moment.score for moment in results]
    assert scores == sorted(scores, reverse=True) and 0 <= scores[-1] <= scores[0] <= 1
    sure = [moment.confidence for moment in results]
    assert sure == sorted(sure, reverse=True)
    assert results[0].reasons[0].channel == "picture" and results[0].evidence is not None


def test_what_is_left_out_comes_last(colors: Searcher):
    plain = [name for name, _ in found(colors, "red")]
    without = [name for name, _ in found(colors, "red -blue")]
    assert plain.index("redblue.mp4") < without.index("redblue.mp4")


def test_nothing_that_shows_both_is_no_good_match(colors: Searcher):
    assert colors.search("red AND blue").good_match
    assert not colors.search("yellow AND blue").good_match
    assert not colors.search("yellow -yellow").good_match


def test_a_chance_is_the_product_over_terms(colors: Searcher):
    """The oracle: one clip and one term at a time."""
    query = parse("red AND blue -green -yellow")
    sought = understand(query, colors._encoder, None)
    snapshot = colors._snapshot
    search = StepSearch(
        colors.bundle,
        colors.index,
        snapshot.confidence,
        sought.steps[0],
        Heard(colors.index, (), None),
    )
    chances = search.chances(search.rows(50, None))
    matrix = colors.index.recall_matrix()
    calibration = colors.bundle.manifest.calibration
    background = snapshot.confidence._background("text")
    for row in range(len(colors.index.clips)):
        expected = 1.0
        for word, there in (("red", 1), ("blue", 1), ("green", 0), ("yellow", 0)):
            score = float(matrix[row] @ colors.bundle.encode_text([word])[0].recall)
            z = (score - background.mean[row]) / background.sd[row]
            p = 1 / (1 + np.exp(-(calibration.slope * z + calibration.intercept)))
            expected *= p if there else 1 - p
        assert np.isclose(np.exp(chances.total[row]), expected, rtol=1e-4)


@pytest.mark.parametrize("rerank", [True, False])
def test_with_and_without_rerank_and_in_a_huge_index(colors: Searcher, monkeypatch, rerank: bool):
    everywhere = found(colors, "red AND blue", k=1, rerank=rerank)
    monkeypatch.setattr(composed, "EXACT_ROWS", 1)
    assert found(colors, "red AND blue", k=1, recall_k=2, rerank=rerank) == everywhere


def test_a_bundle_without_calibration_compares_clips(tmp_path: Path):
    plain = Bundle.load(make_color_bundle(tmp_path / "b", calibration=False), threads=1)
    searcher = Searcher.open(make_library(tmp_path, VIDEOS, plain), bundle=plain)
    assert found(searcher, "red AND blue")[0][0] == "redblue.mp4"
    assert found(searcher, "red -blue")[0][0] == "red.mp4"


def test_filters_of_the_query_and_of_the_call_both_hold(colors: Searcher):
    assert {name for name, _ in found(colors, "red in:OLD")} == {"green.mp4"}
    assert {name for name, _ in found(colors, "red name:Red")} == {"red.mp4", "redblue.mp4"}
    assert {name for name, _ in found(colors, "red name:red*.mp4 -name:blue")} == {"red.mp4"}
    assert "green.mp4" not in {name for name, _ in found(colors, "green -in:old")}
    assert {name for name, _ in found(colors, "red longer:5")} == {"green.mp4", "yellow.mp4"}
    both = found(colors, "red longer:5s", filters=Filters(max_duration_s=5.5))
    assert {name for name, _ in both} == {"yellow.mp4"}
    assert colors.search("red in:nowhere") == []
    with pytest.raises(QueryError, match="exclude all") as caught:
        colors.search("red longer:9m shorter:2s")
    assert caught.value.at == 14


def test_a_weight_draws_towards_its_piece(colors: Searcher):
    def lead(query: str) -> float:
        scores = {n: m.recall_score for m in colors.search(query) for n in [Path(m.video).name]}
        return scores["red.mp4"] - scores["blue.mp4"]

    assert lead("red:3 blue") > lead("red blue") > lead("red blue:3")
    assert found(colors, "(red)^2") == found(colors, "red")


def test_words_say_more_about_an_image(colors: Searcher):
    shown = np.kron(frame("red"), np.ones((4, 4, 1), np.uint8))
    results = colors.search("blue", image=shown)
    assert Path(results[0].video).name == "redblue.mp4"
    assert results.query == "image and blue"
    with pytest.raises(QueryError, match="one sentence, not with AND or THEN"):
        colors.search("blue AND red", image=shown)
    with pytest.raises(UsageError, match="Give a sentence beside an image"):
        colors.search(shown, image=shown)


def test_without_texts_a_quote_is_looked_for_in_pictures_and_channels_are_refused(colors: Searcher):
    results = colors.search('red "blue"')
    assert Path(results[0].video).name == "redblue.mp4"
    assert results.notes == (
        'Nothing said or shown is indexed here, so the pictures were searched for "blue".',
    )
    assert Path(colors.search('red -"blue"')[0].video).name == "red.mp4"
    assert found(colors, "red channel:picture") == found(colors, "red")
    for query, at in (("red said:blue", 4), ("red -shown:blue", 5), ("red channel:told", 4)):
        with pytest.raises(QueryError, match="holds no texts of the channel") as caught:
            colors.search(query)
        assert caught.value.at == at


def test_a_batch_takes_queries(colors: Searcher):
    queries = ["red -blue", "red", "red AND blue"]
    together = colors.search_batch(queries)
    for query, results in zip(queries, together, strict=True):
        assert results == colors.search(query, evidence=False)


def test_logs_hold_far_out():
    assert log_sigmoid(np.array([-1e4, 1e4])).tolist() == [-1e4, 0.0]
    assert in_units(np.array([3.0, 3.0]), np.array([0.1, 0.2])).tolist() == [0.1, 0.2]
