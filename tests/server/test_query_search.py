"""The query language over HTTP: what was understood, where it went wrong, an image with words."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from color_bundle import COLORS
from finecut.server.models import SearchAnswer


def png(color: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), tuple(int(240 * part) for part in COLORS[color])).save(file, "PNG")
    return file.getvalue()


def search(client, **params):
    answer = client.get("/api/v1/search", params=params)
    assert answer.status_code == 200, answer.text
    SearchAnswer.model_validate(answer.json())
    return answer.json()


def test_order_comes_with_its_steps(client):
    answer = search(client, q="red  THEN  green", k=1)
    assert (answer["query"], answer["understood"]) == ("red  THEN  green", "red THEN green")
    (result,) = answer["results"]
    assert result["name"] == "lights.mp4"
    first, second = result["steps"]
    assert (first["query"], second["query"]) == ("red", "green")
    assert result["start_s"] == first["start_s"] < first["end_s"] <= second["start_s"]
    assert second["end_s"] == result["end_s"] and result["evidence"] is None


def test_filters_in_the_query(client):
    names = {r["name"] for r in search(client, q="blue in:trip")["results"]}
    assert names and "lights.mp4" not in names
    assert {r["name"] for r in search(client, q="blue -in:trip -name:tall")["results"]} <= {
        "lights.mp4",
        "night.mp4",
        "old.avi",
    }


def test_reasons_are_shown(client):
    result = search(client, q="red AND green")["results"][0]
    assert result["reasons"][0]["channel"] == "picture" and result["steps"] == []
    noted = search(client, q='"red"')
    assert noted["notes"] == [
        'Nothing said or shown is indexed here, so the pictures were searched for "red".'
    ]


@pytest.mark.parametrize(
    ("q", "at", "words"),
    [
        ("a dog AND", 9, "missing at the end"),
        ('red "', 4, "never closed"),
        ("red said:x", 4, "holds no texts of the channel said"),
        ("red longer:9m shorter:2s", 14, "exclude all"),
    ],
)
def test_an_error_points_at_the_character(client, q: str, at: int, words: str):
    answer = client.get("/api/v1/search", params={"q": q})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["type"], problem["at"]) == ("urn:finecut:problem:query-error", at)
    assert words in problem["detail"]


def test_an_image_with_words(client):
    posted = {
        "files": {"image": ("a.png", png("blue"), "image/png")},
        "headers": {"X-Finecut": "1"},
    }
    answer = client.post("/api/v1/search", data={"q": "white"}, **posted).json()
    SearchAnswer.model_validate(answer)
    assert (answer["kind"], answer["query"]) == ("image", "image and white")
    assert answer["results"][0]["name"] == "sea.mp4"
    wrong = client.post("/api/v1/search", data={"q": "a THEN b"}, **posted)
    assert wrong.status_code == 400 and "one sentence" in wrong.json()["detail"]


def test_every_copy_on_demand(client):
    answer = client.get("/api/v1/search", params={"q": "red", "duplicates": "true"})
    assert answer.status_code == 200
    assert answer.json()["results"] == search(client, q="red")["results"]  # there are no copies
