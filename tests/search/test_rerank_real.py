"""On real clips: fast products order candidates as plain ones do, and so does stopping early."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from finecut.bundle.load import Bundle
from finecut.index.build import build_index
from finecut.index.quantise import dequantise
from finecut.search.candidates import find_candidates
from finecut.search.depth import fit_depth
from finecut.search.engine import Searcher
from finecut.search.rerank import rerank_inputs

SHARED = os.environ.get("FINECUT_SHARED")
CLIPS = 24

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED, reason="FINECUT_SHARED is not set: no real clips"),
]


@pytest.fixture(scope="module")
def searcher(tmp_path_factory) -> Searcher:
    place = tmp_path_factory.mktemp("real")
    source = Path(SHARED or "") / "data" / "panda70m_samples" / "clips"
    (place / "clips").mkdir()
    for path in sorted(source.glob("*.mp4"))[:CLIPS]:
        shutil.copy(path, place / "clips")
    bundle = Bundle.load()
    build_index([place / "clips"], place / "index", bundle, workers=1)
    return Searcher.open(place / "index", bundle=bundle)


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    lines = Path(SHARED or "") / "data" / "panda70m_samples" / "captions.jsonl"
    return [json.loads(line)["caption"] for line in lines.read_text("utf-8").splitlines()][:CLIPS]


def test_scores_and_order_are_those_of_plain_products(searcher, sentences):
    bundle, index = searcher.bundle, searcher.index
    for asked in searcher.encode_texts(sentences):
        query = asked.tokens
        found = find_candidates(bundle, index, query, 50)
        tokens = index.tokens(found.rows)
        mask = tokens.frame_mask
        patches = dequantise(tokens.patches.padded(mask), tokens.patch_scale)
        frames = dequantise(tokens.frames, tokens.frame_scale)
        plain = {
            "recall_score": found.recall_scores,
            "frame_mask": mask,
            "frame_sims": np.where(mask, frames @ query.text, 0).astype(np.float32),
            "patch_sims": np.where(mask[..., None], patches @ query.text, 0).astype(np.float32),
        }
        fast = rerank_inputs(bundle.manifest, query, found.recall_scores, tokens)
        for name, values in plain.items():
            np.testing.assert_allclose(fast[name], values, atol=1e-5)
        scores, _ = bundle.rerank(plain)
        np.testing.assert_allclose(found.rerank_scores, scores, atol=1e-5)
        assert np.argsort(-scores, kind="stable").tolist() == list(range(len(scores)))


def test_stopping_early_leaves_the_first_ten(searcher, sentences):
    bundle, index = searcher.bundle, searcher.index
    depth = fit_depth(bundle, index)
    assert depth is not None
    for asked in searcher.encode_texts(sentences):
        every = find_candidates(bundle, index, asked.tokens, 50)
        some = find_candidates(bundle, index, asked.tokens, 50, k=10, depth=depth)
        assert some.rows[:10].tolist() == every.rows[:10].tolist()
        np.testing.assert_allclose(some.rerank_scores[:10], every.rerank_scores[:10], atol=1e-5)
