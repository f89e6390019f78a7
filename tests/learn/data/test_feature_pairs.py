"""Ready-made features: both layouts, steps, what a run keeps, and files that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from finecut.errors import FinecutError, NotFound, ShapeError, UsageError
from finecut.learn.data.bigfile import write_bigfile
from finecut.learn.data.feature_files import splits_in
from finecut.learn.data.feature_pairs import held_out_rows, open_features
from finecut.learn.data.feature_steps import starter_classifier
from finecut.learn.data.open_split import open_split
from finecut.learn.data.pairs import KnowsSizes, LearnsText, PairData, make_batch
from finecut.learn.evaluation.run import evaluate_run
from finecut.learn.methods.laff import LAFF
from finecut.learn.recipe import DataConfig, Recipe, Sampling, TrainConfig
from finecut.learn.training.loop import train

TABLES: dict[str, Any] = {
    "video": {
        "plain": {"file": "image_net"},
        "turned": {"file": "image_net", "steps": ["standardise", "principal:3"]},
    },
    "text": {"sentence": {"file": "text_lm", "steps": ["even"]}},
}
MODEL = {"common_dim": 8, "heads": 2}


def write_tables(folder: Path, split: str, videos: int, captions: int = 2, seed: int = 0) -> None:
    draw = np.random.default_rng(seed)
    np.save(folder / f"{split}_image_net.npy", draw.normal(2, 3, (videos, 5)).astype(np.float16))
    np.save(folder / f"{split}_text_lm.npy", draw.normal(size=(videos * captions, 4)).astype("f4"))
    owners = np.arange(videos).repeat(captions).astype(np.int16)
    np.save(folder / f"{split}_text_to_image.npy", owners)
    names = "".join(f"{split}-{row}.jpg\n" for row in range(videos))
    (folder / f"{split}_image_ids.txt").write_text(names, "utf-8")


def recipe(root: Path, features: dict[str, Any] | None = None, **data: Any) -> Recipe:
    settings = {"validation": "hold-out:0.25", "test": "dev", **data}
    return Recipe(
        name="tiny",
        method="laff",
        seed=1,
        model=MODEL,
        data=DataConfig(str(root), "features", features=features or TABLES, **settings),
    )


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    write_tables(tmp_path, "train", 12)
    write_tables(tmp_path, "dev", 5, seed=1)
    return tmp_path


def test_a_split_of_tables(tables: Path) -> None:
    data = open_split(recipe(tables), "train", training=True)
    assert isinstance(data, PairData) and isinstance(data, LearnsText)
    assert isinstance(data, KnowsSizes)
    assert len(data.video_ids) == 9 and len(data.sentences) == 18 and data.protocol == "multi"
    assert data.video_of_text.tolist() == np.arange(9).repeat(2).tolist()
    raw = np.load(tables / "train_image_net.npy").astype(np.float32)
    rows = held_out_rows(12, 0.25, 1, held=False)
    assert data.video_ids == [f"train-{row}.jpg" for row in rows]
    np.testing.assert_array_equal(data.video_inputs([0, 8])["features"]["plain"], raw[rows[[0, 8]]])
    sentence = data.text_inputs([3])["features"]["sentence"]
    assert sentence.norm().item() == pytest.approx(1.0, abs=1e-5)


def test_the_same_videos_are_held_out_and_no_other(tables: Path, tmp_path: Path) -> None:
    data = open_split(recipe(tables), "train", training=True)
    data.save_text_state(tmp_path / "state")
    held = open_split(recipe(tables), "validation", text_state=tmp_path / "state")
    assert len(held.video_ids) == 3 and not set(held.video_ids) & set(data.video_ids)
    assert len(set(held.video_ids) | set(data.video_ids)) == 12


def test_what_was_learnt_is_kept_and_applied_to_other_splits(tables: Path, tmp_path: Path) -> None:
    data = open_split(recipe(tables), "train", training=True)
    everything = data.video_inputs(range(9))["features"]["turned"]
    assert everything.std().item() == pytest.approx(1.0, abs=0.05)
    torch.testing.assert_close(everything.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    data.save_text_state(tmp_path / "state")
    again = open_split(recipe(tables), "train", text_state=tmp_path / "state")
    torch.testing.assert_close(again.video_inputs(range(9))["features"]["turned"], everything)
    # one split alone, elsewhere: nothing of the training data is needed
    alone = tmp_path / "alone"
    alone.mkdir()
    write_tables(alone, "test", 4, seed=2)
    other = open_features(recipe(tables), "test", root=alone, text_state=tmp_path / "state")
    raw = torch.from_numpy(np.load(alone / "test_image_net.npy").astype(np.float32))
    own = torch.from_numpy(np.load(tables / "train_image_net.npy").astype(np.float32))
    own = own[held_out_rows(12, 0.25, 1, held=False)]
    turn = data.preparation.chains["video.turned"].learnt[1]
    expected = ((raw - own.mean(0)) / own.std(0) - turn["mean"]) @ turn["turn"]
    torch.testing.assert_close(other.video_inputs(range(4))["features"]["turned"], expected)


def test_a_split_that_is_there_goes_before_a_role(tables: Path, tmp_path: Path) -> None:
    data = open_split(recipe(tables), "train", training=True)
    data.save_text_state(tmp_path / "state")
    role = open_split(recipe(tables), "test", text_state=tmp_path / "state")
    assert role.video_ids[0] == "dev-0.jpg"  # the recipe's test is dev
    write_tables(tables, "test", 3)
    there = open_split(recipe(tables), "test", text_state=tmp_path / "state")
    assert there.video_ids[0] == "test-0.jpg"


def test_the_model_gets_its_sizes_from_the_data_and_takes_a_batch(tables: Path) -> None:
    one = recipe(tables)
    data = open_split(one, "train", training=True)
    facts = data.model_facts()
    assert facts == {"video_features": {"plain": 5, "turned": 3}, "text_features": {"sentence": 4}}
    model = LAFF(one.model_config(facts))
    loss = model.loss(make_batch(data, [0, 3, 5, 6]))["loss"]
    assert torch.isfinite(loss)


# ---------------------------------------------------------------------- collections

COLLECTION: dict[str, Any] = {
    "video": {"clip": {"file": "clip"}, "frames": {"file": "clip_frames", "level": "frames"}},
    "text": {
        "bow": {"words": "bow", "min_count": 1},
        "gru": {"words": "gru", "min_count": 1},
        "clip": {"file": "clip_text"},
    },
}


@pytest.fixture
def collections(tmp_path: Path) -> Path:
    for name, videos in (("settrain", 4), ("settest", 3)):
        folder = tmp_path / name
        (folder / "TextData").mkdir(parents=True)
        keys = [f"v{row}#enc#{n}" for row in range(videos) for n in range(2)]
        lines = [f"{key} a dog {'runs' if n % 2 else 'is here'}\n" for n, key in enumerate(keys)]
        (folder / "TextData" / f"{name}.caption.txt").write_text("".join(lines), "utf-8")
        (folder / "VideoSets").mkdir()
        names = [f"v{row}" for row in range(videos)]
        (folder / "VideoSets" / f"{name}.txt").write_text("\n".join([*names, "gone"]), "utf-8")
        draw = np.random.default_rng(videos)
        (folder / "FeatureData" / "frame").mkdir(parents=True)
        write_bigfile(folder / "FeatureData" / "clip", names[::-1], draw.normal(size=(videos, 4)))
        frames = [f"{video}_{n}" for video in names for n in (10, 2, 0)]
        table = np.array([[float(f.split("_")[1])] * 3 for f in frames])
        write_bigfile(folder / "FeatureData" / "frame" / "clip_frames", frames, table)
        (folder / "TextFeatureData").mkdir()
        write_bigfile(
            folder / "TextFeatureData" / "clip_text", keys, draw.normal(size=(len(keys), 4))
        )
    return tmp_path


def of_collections(root: Path, features: dict[str, Any] | None = None) -> Recipe:
    base = recipe(
        root, features or COLLECTION, train="settrain", validation="settest", test="settest2"
    )
    return replace(
        base,
        model={**MODEL, "text_features": {"gru": 6}},
        data=replace(base.data, sampling=Sampling(max_frames=2, frame_position="head")),
    )


def test_a_collection_of_bigfiles(collections: Path, tmp_path: Path) -> None:
    one = of_collections(collections)
    data = open_split(one, "train", training=True)
    assert data.video_ids == ["v0", "v1", "v2", "v3"] and data.missing == ["gone"]
    assert data.sentences[:2] == ["a dog is here", "a dog runs"]
    video = data.video_inputs([3, 1])
    big = np.fromfile(collections / "settrain/FeatureData/clip/feature.bin", "<f4").reshape(4, 4)
    np.testing.assert_array_equal(video["features"]["clip"], big[[0, 2]])  # stored in reverse
    assert video["frames"]["frames"][:, :, 0].tolist() == [[0.0, 2.0], [0.0, 2.0]]  # by number
    assert video["frame_mask"].tolist() == [[True, True], [True, True]]
    facts = data.model_facts()
    assert facts["text_features"] == {"bow": 2, "clip": 4}  # dog, runs: the rest are stop words
    assert facts["gru"] == "gru" and facts["gru_words"] == 4 + 5
    model = LAFF(one.model_config(facts))
    assert model.config.text_features == {"bow": 2, "clip": 4, "gru": 6}
    assert torch.isfinite(model.loss(make_batch(data, [0, 2, 5]))["loss"])
    data.save_text_state(tmp_path / "state")
    other = open_split(one, "settest", text_state=tmp_path / "state")
    assert other.text_inputs([1])["features"]["bow"].tolist() == [[1.0, 1.0]]


def test_the_layouts_are_told_apart(collections: Path) -> None:
    write_tables(collections, "dev", 3)
    expected = {"dev": "tables", "settest": "collection", "settrain": "collection"}
    assert splits_in(collections) == expected


def test_taco_reads_frames_side_by_side_and_words(collections: Path) -> None:
    features = {
        "video": {
            "a": {"file": "clip_frames", "level": "frames"},
            "b": {"file": "clip_frames", "level": "frames"},
        }
    }
    one = replace(of_collections(collections, features), method="taco", model={})
    vocabulary = collections / "vocab.txt"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "runs", "is", "here"]
    vocabulary.write_text("\n".join(pieces), "utf-8")
    one = replace(one, data=replace(one.data, vocabulary=str(vocabulary)))
    data = open_split(one, "train", training=True)
    video = data.video_inputs([0, 1])
    assert video["features"].shape == (2, 2, 6) and video["frame_mask"].all()
    assert data.model_facts() == {"feature_dim": 6}
    assert "input_ids" in data.text_inputs([0, 1])


# ---------------------------------------------------------------------- what does not fit


def broken(tables: Path, **change: Any) -> Recipe:
    features = {"video": {"plain": {"file": "image_net", **change}}, "text": TABLES["text"]}
    return recipe(tables, features)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "audio"}, "train_audio.npy"),
        ({"steps": ["standardize"]}, "Did you mean 'standardise'"),
        ({"steps": ["principal"]}, "needs how many directions"),
        ({"steps": ["principal:9"]}, "5 channels"),
        ({"steps": ["unit:3"]}, "takes no number"),
        ({"steps": ["imagenet-logits"]}, "expected 1280"),
        ({"words": "bow"}, "exactly one of file and words"),
        ({"level": "frames"}, r"\[rows, frames, d\]"),
        ({"stepps": []}, "Did you mean 'steps'"),
    ],
)
def test_a_feature_that_cannot_be_read(tables: Path, change: dict, message: str) -> None:
    with pytest.raises(FinecutError, match=message):
        open_split(broken(tables, **change), "train", training=True)


def test_files_that_do_not_fit_one_another(tables: Path) -> None:
    np.save(tables / "train_text_to_image.npy", np.array([0, 99]))
    with pytest.raises(ShapeError, match="0 to 11"):
        open_split(recipe(tables), "train", training=True)
    np.save(tables / "train_text_to_image.npy", np.array([0, 1]))
    with pytest.raises(ShapeError, match="each of the 2 sentences"):
        open_split(recipe(tables), "train", training=True)
    np.save(tables / "train_text_to_image.npy", np.array(["a"], object), allow_pickle=True)
    with pytest.raises(ShapeError, match="not a NumPy table"):
        open_split(recipe(tables), "train", training=True)


def test_numbers_that_are_not_finite_are_refused(tables: Path) -> None:
    table = np.load(tables / "train_text_lm.npy")
    table[3, 1] = np.nan
    np.save(tables / "train_text_lm.npy", table)
    with pytest.raises(ShapeError, match="not finite"):
        open_split(recipe(tables), "train", training=True)


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e300])
def test_numbers_that_are_not_finite_are_refused_without_steps_too(
    tables: Path, value: float
) -> None:
    """A bounded transform would turn infinity into an ordinary number, and that into a rank."""
    table = np.load(tables / "train_image_net.npy").astype(np.float64)
    table[:, 1] = value
    np.save(tables / "train_image_net.npy", table)
    plain = {"video": {"a": {"file": "image_net"}}, "text": {"b": {"file": "text_lm"}}}
    data = open_split(recipe(tables, plain), "train", training=True)
    with pytest.raises(ShapeError, match=r"train, image_net: .*not finite"):
        data.video_inputs([0])


def test_one_training_video_has_no_deviation(tables: Path) -> None:
    write_tables(tables, "train", 2, captions=1)
    data = open_split(recipe(tables, {
        "video": {"a": {"file": "image_net", "steps": ["standardise"]}},
        "text": {"b": {"file": "text_lm"}},
    }), "train", training=True)  # fmt: skip
    assert data.video_inputs([0])["features"]["a"].tolist() == [[0.0] * 5]


@pytest.mark.parametrize(("name", "content", "message"), [
    ("feature_words.json", b'{"a": 3}', "holds no vocabularies"),
    ("feature_words.json", b"[]", "holds no vocabularies"),
    ("features.safetensors", {"video.turned.0.other": torch.ones(2)}, "nothing is stored"),
    ("features.safetensors", {"video.turned.0.other": torch.ones(2),
                              "video.turned.1.other": torch.ones(2),
                              "text.sentence.0.mean": torch.ones(4)}, "lacks '(mean|turn)'"),
])  # fmt: skip
def test_a_state_of_something_else_is_refused(
    tables: Path, tmp_path: Path, name: str, content: Any, message: str
) -> None:
    state = tmp_path / "state"
    open_split(recipe(tables), "train", training=True).save_text_state(state)
    if isinstance(content, bytes):
        (state / name).write_bytes(content)
    else:
        save_file(content, state / name)
    with pytest.raises(FinecutError, match=message):
        open_split(recipe(tables), "dev", text_state=state)


def test_a_run_without_its_state_says_so(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="text_state"):
        open_split(recipe(tables), "dev")
    with pytest.raises(UsageError, match="incomplete"):
        open_split(recipe(tables), "dev", text_state=tmp_path)


def test_unknown_splits_and_methods(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it has dev, train"):
        open_split(recipe(tables), "elsewhere", training=True)
    with pytest.raises(UsageError, match="eercf reads frames"):
        open_split(replace(recipe(tables), method="eercf", model={}), "train", training=True)
    words = {"video": TABLES["video"], "text": {"bow": {"words": "bow"}}}
    with pytest.raises(UsageError, match="only numbers"):
        open_split(recipe(tables, words), "train", training=True)


def test_a_collection_without_a_feature_of_a_sentence(collections: Path) -> None:
    folder = collections / "settrain" / "TextFeatureData" / "other"
    write_bigfile(folder, ["v0#enc#0"], np.zeros((1, 4)))
    features = {"video": COLLECTION["video"], "text": {"clip": {"file": "other"}}}
    with pytest.raises(NotFound, match="no row of 7 sentences"):
        open_split(of_collections(collections, features), "train", training=True)


# ---------------------------------------------------------------------- predictions of sentences

PREDICTING: dict[str, Any] = {
    "video": {
        "plain": {"file": "image_net"},
        "said": {"file": "image_net", "steps": ["standardise"], "predicts": "sentence"},
    },
    "text": TABLES["text"],
}


def write_related(folder: Path, split: str, videos: int, seed: int) -> None:
    """Sentences that are a linear map of their image, and a little noise."""
    write_tables(folder, split, videos, seed=seed)
    images = np.load(folder / f"{split}_image_net.npy").astype(np.float32)
    means = images @ np.random.default_rng(9).normal(size=(5, 4)).astype("f4")
    noise = np.random.default_rng(seed).normal(size=(2 * videos, 4)) * 0.3
    np.save(folder / f"{split}_text_lm.npy", (means.repeat(2, axis=0) + noise).astype("f4"))


def matching(data: PairData) -> float:
    """Mean cosine of each sentence and its video's prediction."""
    said = data.video_inputs(data.video_of_text.tolist())["features"]["said"]
    sentences = data.text_inputs(range(len(data.sentences)))["features"]["sentence"]
    return float(torch.cosine_similarity(said, sentences).mean())


def test_a_regression_predicts_sentences_of_videos_it_did_not_see(tmp_path: Path) -> None:
    write_related(tmp_path, "train", 300, seed=3)
    write_related(tmp_path, "dev", 60, seed=4)
    data = open_split(recipe(tmp_path, PREDICTING), "train", training=True)
    data.save_text_state(tmp_path / "state")
    dev = open_split(recipe(tmp_path, PREDICTING), "dev", text_state=tmp_path / "state")
    seen = open_split(recipe(tmp_path, PREDICTING), "train", text_state=tmp_path / "state")
    said = dev.video_inputs(range(60))["features"]["said"]
    torch.testing.assert_close(said.norm(dim=1), torch.full((60,), 2.0))  # sqrt(4)
    assert matching(dev) > 0.8
    # in training each video gets what others predict: no better than an unseen one's
    assert abs(matching(data) - matching(dev)) < 0.1
    assert matching(seen) > matching(data)


def test_a_run_knows_its_regression_anywhere(tmp_path: Path) -> None:
    write_related(tmp_path, "train", 40, seed=3)
    one = recipe(tmp_path, PREDICTING)
    data = open_split(one, "train", training=True)
    again = open_split(one, "train", training=True)
    said = data.video_inputs(range(30))["features"]["said"]
    torch.testing.assert_close(again.video_inputs(range(30))["features"]["said"], said)
    with pytest.raises(UsageError, match="no sentence feature"):
        wrong = {"video": {"said": {"file": "image_net", "predicts": "words"}}, "text": {}}
        open_split(recipe(tmp_path, wrong), "train", training=True)


def test_train_and_evaluate_one_split_alone(tmp_path: Path) -> None:
    write_related(tmp_path, "train", 60, seed=3)
    alone = tmp_path / "alone"
    alone.mkdir()
    write_related(alone, "test", 20, seed=5)
    model = {**MODEL, "loss": "info_nce", "loss_spaces": 1, "shared_space": ["said", "sentence"]}
    settings = TrainConfig(
        epochs=3, batch_size=20, optimiser="adamw", lr=1e-2, sample="videos", captions_per_video=2
    )
    one = replace(recipe(tmp_path, PREDICTING), model=model, train=settings)
    report = train(one, tmp_path / "run")
    assert report.epochs == 3
    found = evaluate_run(tmp_path / "run", "test", root=alone).to_json()
    assert found["gallery"] == 20 and found["queries"] == 40
    assert found["t2v"]["r_at_5"] > 50.0  # chance: 25


def test_the_starters_classifier_is_what_its_graph_computes() -> None:
    from finecut.bundle.place import starter_dir
    from finecut.learn.starter.export import POOLED_VIEWS
    from finecut.learn.starter.shipped import run_part

    pooled = np.abs(np.random.default_rng(0).normal(size=(7, 1280))).astype("f4")
    graph = (starter_dir() / "video.onnx").read_bytes()
    logits = run_part(graph, {POOLED_VIEWS: pooled}, ["/features/Add_output_0"])[0]
    weight, bias, names = starter_classifier()
    np.testing.assert_allclose(torch.from_numpy(pooled) @ weight + bias, logits, atol=1e-3)
    assert names.shape == (1000, 384)
