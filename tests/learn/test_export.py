"""Exported bundles compute what torch computes, and the engine serves them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from finecut.bundle.load import Bundle
from finecut.errors import BundleError, UsageError
from finecut.learn import export as export_module
from finecut.learn.checkpoint import save_checkpoint
from finecut.learn.encoders.tiny import TINY, tiny_clip, tiny_tokenizer
from finecut.learn.export import ExportReport, export
from finecut.learn.export_graphs import LateEercf
from finecut.learn.export_plans import plan_for
from finecut.learn.methods.clip4clip import CLIP4Clip, Clip4ClipConfig
from finecut.learn.methods.eercf import EERCF, EercfConfig
from finecut.learn.methods.protocol import TextTokens, VideoTokens
from finecut.learn.methods.zero_shot import ZeroShot
from finecut.learn.preprocess import normalise
from finecut.search.engine import Searcher

from .tiny_models import COLOURS, TINY_MODELS, colour_clip, recall_at_1, trained


@pytest.fixture(scope="module")
def zero_shot(tmp_path_factory: pytest.TempPathFactory) -> tuple[ZeroShot, ExportReport]:
    model = ZeroShot(colour_clip()).eval()
    out = tmp_path_factory.mktemp("bundles") / "zero"
    report = export(
        model,
        out,
        provenance={"licence": "MIT", "data": ["none"]},
        calibration={"slope": 1.5, "intercept": -2.0, "threshold": 0.4},
        query_bank=["a dog runs", "two people talk", "a car"],
    )
    return model, report


@torch.no_grad()
def test_a_zero_shot_tower_becomes_a_bundle(zero_shot: tuple[ZeroShot, ExportReport]) -> None:
    model, report = zero_shot
    assert max(report.largest_difference.values()) < 1e-5
    bundle = Bundle.load(report.out)
    assert bundle.manifest.method == "zero-shot"
    assert bundle.manifest.provenance.licence == "MIT"
    assert bundle.manifest.video.n_patches == TINY.patch_count
    assert bundle.manifest.calibration.slope == 1.5
    assert bundle.query_bank().sentences == ("a dog runs", "two people talk", "a car")
    rng = np.random.default_rng(0)
    videos = [rng.integers(0, 256, (f, 32, 32, 3), dtype=np.uint8) for f in (3, 1, 5)]
    sentences = ["a dog runs on the beach", "Guitar", "it's  a   cat's life"]
    for video, got in zip(videos, bundle.encode_clips(videos), strict=True):
        pixels = normalise(torch.from_numpy(video))[None]
        want = model.encode_video(pixels, torch.ones(1, len(video), dtype=torch.bool))
        np.testing.assert_allclose(got.recall, want.recall[0], atol=1e-5)
        np.testing.assert_allclose(got.frames, want.frame_embeds[0], atol=1e-5)
        np.testing.assert_allclose(got.patches, want.patch_embeds[0], atol=1e-5)
    for sentence, got in zip(sentences, bundle.encode_text(sentences), strict=True):
        # Trained with 77 padded words, served at the true length: the same vector.
        ids, _ = tiny_tokenizer()([sentence], TINY.context_length)
        np.testing.assert_allclose(got.recall, model.encode_text(ids).recall[0], atol=1e-5)


@torch.no_grad()
def test_the_late_graph_is_the_methods_rerank() -> None:
    torch.manual_seed(0)
    model = EERCF(EercfConfig(TINY, 1, 5, mask_padding=True), tiny_clip(1)).eval()
    model.frame_logit_weight += 0.3 * torch.randn(5, 5)
    draw = torch.nn.functional.normalize
    t, f = draw(torch.randn(64), dim=-1), draw(torch.randn(3, 5, 64), dim=-1)
    u, p = draw(torch.randn(3, 5, 64), dim=-1), draw(torch.randn(3, 5, 4, 64), dim=-1)
    mask = torch.arange(5)[None] < torch.tensor([[5], [2], [1]])
    video = VideoTokens(draw(u.mean(1), dim=-1), f, mask, p, u)
    text = TextTokens((t @ model.global_mat_weight)[None], t[None])
    u_real = u * mask[..., None]
    score, relevance = LateEercf(model)(
        video.recall @ text.recall[0], f @ t, mask, u_real @ t, u_real @ u_real.mT, p @ t
    )
    torch.testing.assert_close(score, model.rerank(text, video).scores[0], rtol=1e-4, atol=1e-4)
    assert relevance.min() >= 0 and relevance.max() <= 1 and not relevance[~mask].any()


def test_a_graph_that_differs_from_torch_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = export_module.to_onnx
    other = ZeroShot(tiny_clip(5)).eval()

    def of_another_model(module, *args):  # the ONNX of other weights
        return honest(plan_for(other).video, *args)

    monkeypatch.setattr(export_module, "to_onnx", of_another_model)
    with pytest.raises(BundleError, match=r"video.onnx: \w+ differs from torch by .* No bundle"):
        export(ZeroShot(tiny_clip(4)), tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


@pytest.mark.slow
def test_int8_is_smaller_and_near_and_gated(
    zero_shot: tuple[ZeroShot, ExportReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, exact = zero_shot
    small = export(model, tmp_path / "small", "int8")
    assert not exact.int8_cosine
    assert small.size_bytes < exact.size_bytes and small.fingerprint != exact.fingerprint
    assert set(small.int8_cosine) == {
        "recall_embeds", "frame_embeds", "patch_embeds", "recall_query", "text_embeds",
    }  # fmt: skip
    assert 0.98 <= min(small.int8_cosine.values()) < 1.0
    monkeypatch.setattr(export_module, "INT8_COSINE", 1.5)
    with pytest.raises(BundleError, match=r"int8 \w+ has cosine [01].\d+ .* without --quantize"):
        export(model, tmp_path / "refused", "int8")
    assert not (tmp_path / "refused").exists()


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Linear cannot be exported"):
        export(torch.nn.Linear(2, 2), tmp_path / "a")
    with pytest.raises(UsageError, match="quantize must be int8"):
        export(ZeroShot(tiny_clip()), tmp_path / "a", "int4")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="text-gated patch level cannot be served"):
        export(EERCF(EercfConfig(TINY, 1, variant="article")), tmp_path / "a")
    with pytest.raises(UsageError, match="vocabulary of its own"):
        export(TINY_MODELS["taco-clip"].build(tiny_clip()), tmp_path / "a")
    with pytest.raises(UsageError, match="belong together"):
        export(ZeroShot(tiny_clip()), tmp_path / "a", query_bank=["a dog"])
    with pytest.raises(UsageError, match="No checkpoint at"):
        export(tmp_path / "absent", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_published_files_are_recognised(tmp_path: Path) -> None:
    from finecut.learn.export_source import load_source

    clip4clip = CLIP4Clip(Clip4ClipConfig("seqLSTM", TINY), tiny_clip())
    eercf = EERCF(EercfConfig(TINY, 1, 5), tiny_clip())
    for number, (model, kind) in enumerate(
        ((clip4clip, CLIP4Clip), (eercf, EERCF), (tiny_clip(), ZeroShot))
    ):
        path = tmp_path / f"pytorch_model.bin.{number}"
        torch.save(dict(model.state_dict()), path)
        got, told = load_source(path)
        assert isinstance(got, kind) and path.name in told["recipe"]
    save_checkpoint(eercf, tmp_path / "ours", provenance={"licence": "MIT"})
    for path in (tmp_path / "ours", tmp_path / "ours" / "model.safetensors"):
        got, told = load_source(path)
        assert isinstance(got, EERCF) and told == {"licence": "MIT"}


# ------------------------------------------------------------ by the command line, end to end


def finecut(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "finecut.cli.main", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One video of four seconds for each colour."""
    import av

    folder = tmp_path_factory.mktemp("videos")
    for name, colour in COLOURS.items():
        with av.open(str(folder / f"{name}.mp4"), "w") as out:
            stream = out.add_stream("libx264", rate=5)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            picture = np.full((48, 64, 3), colour, np.uint8)
            for _ in range(20):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            out.mux(stream.encode())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY_MODELS)
def test_trained_exported_indexed_and_searched(name: str, videos: Path, tmp_path: Path) -> None:
    model = trained(name)
    tiny = TINY_MODELS[name]
    assert recall_at_1(model, tiny.text()) == (100.0, 100.0)
    folder = save_checkpoint(model, tmp_path / "checkpoint", provenance={"recipe": "colours"})
    if tiny.tokenizer:
        (folder / "tokenizer.json").write_bytes(tiny.tokenizer())
    bundle, index = tmp_path / "bundle", tmp_path / "index"
    report = json.loads(finecut("export", folder, bundle, "--json"))
    assert report["method"].split("-")[0] == name.split("-")[0]
    finecut("index", videos, "--index", index, "--bundle", bundle)
    reranks = Bundle.load(bundle).manifest.rerank is not None
    answer = json.loads(finecut("search", "a red screen", "--index", index, "--json"))
    assert Path(answer["results"][0]["video"]).stem == "red"
    searcher = Searcher.open(index)
    for colour in COLOURS:
        best = searcher.search(f"a {colour} screen")[0]
        assert Path(best.video).stem == colour
        assert (best.rerank_score is not None) == reranks
