"""A split of video files: which videos and sentences are in it, and what a batch of them is."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from finecut.errors import UsageError
from finecut.learn.checkpoint import method_spec
from finecut.learn.data.benchmark import AnnotationError, Benchmark, CaptionedVideo
from finecut.learn.data.open_split import hold_out, open_split
from finecut.learn.data.pairs import LearnsText, PairData, make_batch
from finecut.learn.data.sampling import Sampling
from finecut.learn.data.video_pairs import Captions
from finecut.learn.training.start import StartingPoint
from learn.data.small_set import BERT, MODELS, SENTENCES, recipe_for, write_set


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "set"))


def test_roles_and_names(root: Path):
    recipe = recipe_for(root=root)
    train, validation = open_split(recipe, "train", training=True), open_split(recipe, "validation")
    assert isinstance(train, PairData) and isinstance(train, LearnsText)
    assert len(train.video_ids) == 4 and len(validation.video_ids) == 1
    assert not set(train.video_ids) & set(validation.video_ids)
    assert (train.name, train.split, train.protocol) == ("train", "all", "multi")
    assert len(train.sentences) == 8 and train.moments is None and list(train.missing) == []
    assert validation.split == "all, held out"
    assert [train.sentences[i] for i in (0, 1)] == list(
        SENTENCES[train.video_ids[0].removesuffix(".mp4")]
    )
    assert np.array_equal(train.video_of_text, np.arange(4).repeat(2))


def test_the_seed_decides_what_is_held_out(root: Path):
    found = {
        seed: tuple(open_split(replace(recipe_for(root=root), seed=seed), "validation").video_ids)
        for seed in range(8)
    }
    assert len(set(found.values())) > 1
    again = open_split(replace(recipe_for(root=root), seed=3), "validation")
    assert tuple(again.video_ids) == found[3]


def test_holding_out_splits_whole_videos():
    items = tuple(CaptionedVideo(str(i), f"{i}.mp4", ("x", "y")) for i in range(10))
    whole = Benchmark("set", "train", "multi", items, (), published=(10, 20))
    for share, count in ((0.05, 1), (0.3, 3), (0.99, 9)):
        rest, held = hold_out(whole, share, 1)
        assert len(held.items) == count and len(rest.items) == 10 - count
        assert {i.video_id for i in rest.items} | {i.video_id for i in held.items} == {
            str(i) for i in range(10)
        }
        assert rest.published == held.published == (None, None)  # neither is the published split
    with pytest.raises(UsageError, match="1 videos cannot be held out from"):
        hold_out(replace(whole, items=items[:1]), 0.5, 1)


def test_a_batch_repeats_a_video_and_reads_it_once(root: Path, monkeypatch: pytest.MonkeyPatch):
    data = open_split(recipe_for(root=root), "train", training=True)
    asked: list[list[int]] = []
    whole = type(data).video_inputs

    def seen(self, rows):
        asked.append(list(rows))
        return whole(self, rows)

    monkeypatch.setattr(type(data), "video_inputs", seen)
    batch = make_batch(data, [5, 1, 0, 4])
    assert asked == [[0, 2]]
    assert batch.video_ids is not None and batch.video_ids.tolist() == [2, 0, 0, 2]
    pixels, mask = batch.video["pixels"], batch.video["frame_mask"]
    assert pixels.shape == (4, 3, 3, 32, 32) and mask.shape == (4, 3)
    assert torch.equal(pixels[1], pixels[2]) and torch.equal(pixels[0], pixels[3])
    assert not torch.equal(pixels[0], pixels[1])
    assert (pixels[~mask] == 0).all()
    ids = data.text_inputs([5, 1, 0, 4])["input_ids"]
    assert torch.equal(batch.text["input_ids"], ids)
    for rows in ([], [8], [-1]):
        with pytest.raises(UsageError, match="rows must be 0 to 7"):
            make_batch(data, rows)


def test_a_row_does_not_depend_on_its_neighbours(root: Path):
    data = open_split(recipe_for(root=root), "train", training=True)
    together = data.video_inputs([0, 1, 2, 3])
    for row in range(4):
        alone = data.video_inputs([row])
        assert torch.equal(alone["pixels"][0], together["pixels"][row])


@pytest.mark.parametrize("method", sorted(MODELS))
def test_every_method_takes_its_inputs(method: str, root: Path, tmp_path: Path):
    recipe = recipe_for(method, root)
    data = open_split(recipe, "train", training=True)
    data.save_text_state(tmp_path / "state")  # type: ignore[attr-defined]
    start = StartingPoint(recipe)
    model = method_spec(method).model(start.config())
    data.prepare_model(model)  # type: ignore[attr-defined]
    loss = model.loss(make_batch(data, [0, 2, 5, 6]))["loss"]
    assert torch.isfinite(loss)
    # What was learnt is enough to open another split, without the training data.
    held = open_split(recipe, "validation", text_state=tmp_path / "state")
    again = open_split(recipe, "train", text_state=tmp_path / "state")
    for name, value in data.text_inputs([0, 3]).items():
        assert torch.equal(value, again.text_inputs([0, 3])[name])
    text, video = held.text_inputs([0, 1]), held.video_inputs([0])
    model.eval()
    with torch.inference_mode():
        assert len(model.encode_text(**text)) == 2 and len(model.encode_video(**video)) == 1


def test_missing_and_broken_videos_are_named(copy: Path):
    (copy / "red.mp4").unlink()
    (copy / "blue.mp4").write_bytes(b"not a video")
    data = open_split(recipe_for(root=copy, validation="val"), "train", training=True)
    assert sorted(data.missing) == ["blue.mp4", "red.mp4"]
    assert [v.removesuffix(".mp4") for v in data.video_ids] == ["green", "yellow", "white"]
    assert len(data.sentences) == 6 and data.video_of_text.max() == 2
    for video in copy.glob("*.mp4"):
        video.unlink()
    with pytest.raises(UsageError, match="not one of the 5 videos of the split 'all' is there"):
        open_split(recipe_for(root=copy, validation="val"), "train")


def test_a_folder_that_holds_the_asked_split_alone(tmp_path: Path):
    root = write_set(tmp_path / "held-back", ["red", "blue"], name="test")
    data = open_split(recipe_for(root="nowhere", test="test"), "test", root=root)
    assert data.video_ids == ["red.mp4", "blue.mp4"]
    # The recipe's name of the split is another one; the folder has it under the plain name.
    data = open_split(recipe_for(root="nowhere", test="test-2k"), "test", root=root)
    assert len(data.video_ids) == 2
    with pytest.raises(AnnotationError, match="has no split 'train'"):
        open_split(recipe_for(root="nowhere"), "train", root=root)


def test_stills_and_pairs_of_stills(tmp_path: Path):
    for name in ("a", "b", "c"):
        Image.new("RGB", (40, 40), {"a": "red", "b": "green", "c": "blue"}[name]).save(
            tmp_path / f"{name}.jpg"
        )
    lines = [
        {"id": "pair", "frames": ["a.jpg", "b.jpg"], "captions": ["first red then green"]},
        {"id": "one", "video": "c.jpg", "caption": "blue"},
        {"id": "gone", "frames": ["a.jpg", "z.jpg"], "caption": "no such still"},
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    data = open_split(
        recipe_for(root=tmp_path, validation="val", sampling=Sampling(max_frames=2)), "train"
    )
    assert data.video_ids == ["pair", "one"] and data.missing == ["a.jpg"]
    made = data.video_inputs([0, 1])
    assert made["frame_mask"].tolist() == [[True, True], [True, False]]
    assert made["pixels"][0, 0, 0].mean() > made["pixels"][0, 1, 0].mean()  # red channel


def test_paragraphs_are_one_sentence(tmp_path: Path, root: Path):
    shutil.copytree(root, tmp_path / "videos")
    times = {"v_red": ("red", [[0, 1]]), "v_blue": ("blue", [[0, 2], [1, 3]])}
    for split in ("train", "val_1"):
        body = {
            name: {
                "duration": 3.0,
                "timestamps": stamps,
                "sentences": list(SENTENCES[colour][: len(stamps)]),
            }
            for name, (colour, stamps) in times.items()
        }
        (tmp_path / f"{split}.json").write_text(json.dumps(body), encoding="utf-8")
    for colour in ("red", "blue"):
        (tmp_path / "videos" / f"{colour}.mp4").rename(tmp_path / "videos" / f"v_{colour}.mp4")
    (tmp_path / "videos" / "train.jsonl").unlink()
    data = open_split(recipe_for(root=tmp_path, validation="val1"), "train")
    assert data.protocol == "paragraph" and data.moments is None
    assert data.sentences == ["a red screen glows", " ".join(SENTENCES["blue"])]


def test_moments_are_given_when_every_sentence_has_one():
    class NoText:
        """Stands for text preparation, of which nothing is asked."""

    timed = CaptionedVideo("a", "a.mp4", ("x", "y"), moments=((0.0, 1.0), (2.0, 3.5)))
    plain = CaptionedVideo("b", "b.mp4", ("z",))
    for items, expected in (
        ((timed,), [(0.0, 1.0), (2.0, 3.5)]),
        ((timed, plain), None),
        ((plain,), None),
    ):
        whole = Benchmark("set", "val", "multi", items, ())
        assert Captions(whole, items, NoText()).moments == expected  # type: ignore[arg-type]
    assert (
        Captions(Benchmark("set", "val", "paragraph", (timed,), ()), (timed,), NoText()).moments
        is None
    )  # type: ignore[arg-type]


def test_a_vocabulary_tells_the_model_its_size(root: Path):
    recipe = recipe_for("taco-clip", root)
    recipe = replace(
        recipe,
        model={
            "taco": {
                **MODELS["taco-clip"]["taco"],
                "text": {name: size for name, size in BERT.items() if name != "vocab_size"},
            }
        },
    )
    data = open_split(recipe, "train", training=True)
    facts = data.model_facts()  # type: ignore[attr-defined]
    model, _ = StartingPoint(recipe).build(facts)
    assert model.config.taco.text.vocab_size == facts["taco"]["text"]["vocab_size"] < 200
    assert torch.isfinite(model.loss(make_batch(data, [0, 2, 5]))["loss"])


def test_a_vocabulary_file_is_read_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "screen"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    monkeypatch.setenv("BERT_FOLDER", str(tmp_path))
    recipe = recipe_for("taco-clip", root, vocabulary="$BERT_FOLDER/vocab.txt")
    data = open_split(recipe, "train", training=True)
    data.save_text_state(tmp_path / "state")  # type: ignore[attr-defined]
    monkeypatch.delenv("BERT_FOLDER")
    held = open_split(recipe, "validation", text_state=tmp_path / "state")
    assert held.text.tokenizer.encode("a red sea").ids == [2, 5, 6, 1, 3]  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="BERT_FOLDER, which is not set"):
        open_split(recipe, "train", training=True)


def test_data_can_be_sent_to_a_worker(root: Path):
    for method in ("camoe", "taco-clip", "clip4clip"):
        data = open_split(recipe_for(method, root), "train", training=True)
        twin = pickle.loads(pickle.dumps(data))
        assert torch.equal(twin.video_inputs([1])["pixels"], data.video_inputs([1])["pixels"])
        for name, value in data.text_inputs([0, 1]).items():
            assert torch.equal(twin.text_inputs([0, 1])[name], value)


def test_a_method_of_features_says_what_to_use():
    with pytest.raises(UsageError, match="taco takes ready-made features, not pixels"):
        from finecut.learn.inputs.video import frame_needs
        from finecut.learn.methods.taco import TacoConfig

        frame_needs("taco", TacoConfig())
