"""Our checkpoints go round; published ones that do not fit are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from finecut.errors import BundleError, UsageError
from finecut.learn.checkpoint import (
    import_clip4clip,
    import_eercf,
    load_checkpoint,
    method_spec,
    read_header,
    save_checkpoint,
)
from finecut.learn.encoders.tiny import TINY, tiny_clip
from finecut.learn.methods.clip4clip import CLIP4Clip, Clip4ClipConfig
from finecut.learn.methods.eercf import EERCF, EercfConfig, LevelWeights

HEADS = ("meanP", "seqLSTM", "seqTransf", "tightTransf")


def same(a: torch.nn.Module, b: torch.nn.Module) -> None:
    assert type(a) is type(b) and a.config == b.config
    for name, value in a.state_dict().items():
        got = b.state_dict()[name]
        assert got.dtype == value.dtype and torch.equal(got, value), name


@pytest.mark.parametrize("head", HEADS)
def test_clip4clip_goes_round(tmp_path: Path, head: str) -> None:
    model = CLIP4Clip(Clip4ClipConfig(head, TINY, 1, max_frames=7), tiny_clip(2))
    save_checkpoint(model, tmp_path / "a", provenance={"recipe": "a test"})
    same(model, load_checkpoint(tmp_path / "a"))
    header = read_header(tmp_path / "a")
    assert header["method"] == "clip4clip" and header["provenance"] == {"recipe": "a test"}


def test_eercf_goes_round_in_the_official_half_precision(tmp_path: Path) -> None:
    config = EercfConfig(TINY, 1, 6, variant="article", rerank=LevelWeights(video=1.0))
    model = EERCF(config, tiny_clip(2).to_official_fp16())
    save_checkpoint(model, tmp_path / "a")
    got = load_checkpoint(tmp_path / "a")
    same(model, got)
    assert got.config.rerank == LevelWeights(video=1.0)
    assert got.clip.visual.proj.dtype == torch.float16


def test_a_folder_is_never_overwritten(tmp_path: Path) -> None:
    model = CLIP4Clip(Clip4ClipConfig("meanP", TINY), tiny_clip())
    save_checkpoint(model, tmp_path)
    with pytest.raises(UsageError, match="holds a checkpoint already"):
        save_checkpoint(model, tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"version": 99}, "version 99, this finecut reads 1"),
        ({"format": "other"}, "is not a finecut-checkpoint"),
        ({"config": {"head": "meanP", "colour": 1}}, "colour"),
        ({"config": [1]}, "expected an object"),
        ({"config": {"head": "seqLSTM"}}, "do not fit its config"),
    ],
)
def test_a_changed_header_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    save_checkpoint(CLIP4Clip(Clip4ClipConfig("meanP", TINY), tiny_clip()), tmp_path)
    file = tmp_path / "checkpoint.json"
    header = json.loads(file.read_text())
    if isinstance(change.get("config"), dict):
        change["config"]["clip"] = header["config"]["clip"]
    file.write_text(json.dumps(header | change))
    with pytest.raises(BundleError, match=message):
        load_checkpoint(tmp_path)


def test_unreadable_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no checkpoint"):
        load_checkpoint(tmp_path)
    (tmp_path / "checkpoint.json").write_text("{")
    with pytest.raises(BundleError, match="is not JSON"):
        load_checkpoint(tmp_path)


def test_unknown_methods_are_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"called 'xclip'; available: clip4clip, eercf"):
        method_spec("xclip")


# -------------------------------------------------------------- published state dicts


def official(model: torch.nn.Module, path: Path, **changes: torch.Tensor | None) -> Path:
    state = dict(model.state_dict()) | changes
    torch.save({name: value for name, value in state.items() if value is not None}, path)
    return path


def eercf() -> EERCF:
    model = EERCF(EercfConfig(TINY, 2, 6), tiny_clip(2))
    torch.nn.init.normal_(model.global_mat_weight)
    return model.eval()


def test_eercf_is_imported_and_absent_weights_are_identities(tmp_path: Path) -> None:
    model = eercf()
    got, report = import_eercf(official(model, tmp_path / "pytorch_model.bin.0"))
    same(model, got)
    assert not report.filled and not report.unexpected
    path = official(
        model, tmp_path / "b", global_mat_weight=None, frame_logit_weight=None,
        left_over=torch.zeros(3),
    )  # fmt: skip
    got, report = import_eercf(path, max_frames=9)
    assert torch.equal(got.global_mat_weight, torch.eye(64))
    assert torch.equal(got.frame_logit_weight, torch.eye(9))
    assert report.filled == ("global_mat_weight", "frame_logit_weight")
    assert report.unexpected == ("left_over",)
    assert "1 ignored ['left_over']" in str(report)


def test_eercf_mismatches_that_matter_are_refused(tmp_path: Path) -> None:
    path = official(eercf(), tmp_path / "a")
    with pytest.raises(BundleError, match=r"trained for 6 frames \(its Wf\), asked for 12"):
        import_eercf(path, max_frames=12)
    with pytest.raises(BundleError, match="is an EERCF checkpoint"):
        import_clip4clip(path)
    mean = CLIP4Clip(Clip4ClipConfig("meanP", TINY), tiny_clip())
    with pytest.raises(BundleError, match="no temporal transformer"):
        import_eercf(official(mean, tmp_path / "b"))
    name = "transformerClip.resblocks.1.ln_1.bias"
    with pytest.raises(BundleError, match=name):
        import_eercf(official(eercf(), tmp_path / "c", **{name: None}))
    with pytest.raises(BundleError, match=r"global_mat_weight \(2, 2\) instead of \(64, 64\)"):
        import_eercf(official(eercf(), tmp_path / "d", global_mat_weight=torch.eye(2)))


@pytest.mark.parametrize("head", HEADS)
def test_clip4clip_head_is_found_and_another_one_refused(tmp_path: Path, head: str) -> None:
    model = CLIP4Clip(Clip4ClipConfig(head, TINY, 2), tiny_clip(2)).eval()
    path = official(model, tmp_path / "a")
    got, report = import_clip4clip(path)
    assert report.head == head
    for name, value in model.state_dict().items():
        assert torch.equal(got.state_dict()[name], value), name
    other = "meanP" if head != "meanP" else "seqTransf"
    with pytest.raises(BundleError, match=f"trained with the head {head}, asked for {other}"):
        import_clip4clip(path, head=other)


def test_old_names_and_a_base_clip(tmp_path: Path) -> None:
    model = CLIP4Clip(Clip4ClipConfig("tightTransf", TINY, 1), tiny_clip(2)).eval()
    state = {
        name.replace("ln_pool.weight", "ln_pool.gamma").replace("ln_pool.bias", "ln_pool.beta"): t
        for name, t in model.state_dict().items()
        if not name.startswith("clip.visual.ln_post")
    }
    torch.save(state, tmp_path / "a")
    with pytest.raises(BundleError, match=r"visual\.ln_post"):
        import_clip4clip(tmp_path / "a")
    got, report = import_clip4clip(tmp_path / "a", base=tiny_clip(2))
    assert report.filled == ("clip.visual.ln_post.bias", "clip.visual.ln_post.weight")
    for name, value in model.state_dict().items():
        assert torch.equal(got.state_dict()[name], value), name
