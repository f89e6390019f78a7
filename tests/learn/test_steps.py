"""Step localisation against every possible placement; frame labelling."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.errors import ShapeError
from finecut.learn import steps


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 4), st.integers(0, 5), st.integers(0, 9999))
def test_the_best_placement_of_all_is_found(count: int, spare: int, seed: int) -> None:
    """Also with as many seconds as steps, where the official programme errs."""
    scores = np.random.default_rng(seed).normal(size=(count + spare, count))
    best = max(
        itertools.combinations(range(count + spare), count),
        key=lambda seconds: sum(scores[t, k] for k, t in enumerate(seconds)),
    )
    assert steps.locate_steps(scores).tolist() == list(best)


def test_equal_sums_give_the_earlier_second() -> None:
    assert steps.locate_steps(np.zeros((5, 2))).tolist() == [0, 1]


def test_a_step_counts_once_and_its_seconds_are_half_open() -> None:
    rows = steps.read_annotations(["1,0.5,1.2", "1,4,5", "3,2,2.5"])
    assert steps.step_hits([4, 0, 3], rows) == (1, 2)  # step 1 found; step 3 ends before second 3
    assert steps.step_hits([1, 0, 2], rows) == (2, 2)
    assert steps.step_hits([2], rows) == (0, 2)  # steps that were never located are missed


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: steps.locate_steps(np.zeros((2, 3))), "3 steps cannot take one second each in 2"),
        (lambda: steps.locate_steps([[np.nan]]), "finite"),
        (lambda: steps.read_annotations(["1,2"]), "line 1: expected `step,start,end`"),
        (lambda: steps.read_annotations(["1,3,2"]), "0 <= start <= end"),
        (lambda: steps.step_recall([("a", steps.StepHits(0, 0))]), "no annotated step"),
        (lambda: steps.frame_accuracy([]), "no frame"),
        (lambda: steps.frame_accuracy([([1], [1, 2])]), "predicted"),
        (
            lambda: steps.train_frame_classifier(torch.zeros(2, 3), torch.tensor([0, 5]), 5),
            "expected 0 to 4",
        ),
    ],
)
def test_what_is_refused(call, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        call()


def test_a_linear_classifier_learns_frames() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 8, generator=generator) * 3
    labels = torch.randint(4, (200,), generator=generator)
    tokens = centres[labels] + torch.randn(200, 8, generator=generator) * 0.3
    for named in (labels, (labels + 1) % 4):  # whatever the names, it learns them
        head = steps.train_frame_classifier(tokens, named, 4, steps=200, learning_rate=0.05)
        found = head(tokens).argmax(1).numpy()
        assert steps.frame_accuracy([(found, named.numpy())]) > 0.98


def test_step_scores_are_inner_products() -> None:
    text, frames = torch.eye(2), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert steps.step_scores(text, frames).tolist() == frames.tolist()
