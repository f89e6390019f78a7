"""A bundle that runs: shapes, order, padding and batches change nothing; broken graphs are told."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import color_bundle
from color_bundle import COLORS, DIM, SIDE, make_color_bundle, model
from finecut.bundle.load import Bundle
from finecut.errors import BundleError, ShapeError, UsageError


@pytest.fixture(scope="module")
def bundle(colors: Path) -> Bundle:
    return Bundle.load(colors)


def noise(n_frames: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n_frames, SIDE, SIDE, 3), np.uint8)


def plain(color: str, n_frames: int = 1) -> np.ndarray:
    shown = np.round(255 * np.array(COLORS[color])).astype(np.uint8)
    return np.broadcast_to(shown, (n_frames, SIDE, SIDE, 3)).copy()


def test_a_color_is_found_by_its_name(bundle: Bundle):
    clips = bundle.encode_clips([plain(color) for color in COLORS])
    texts = bundle.encode_text([f"a {color} screen" for color in COLORS])
    sims = np.array([[text.recall @ clip.recall for clip in clips] for text in texts])
    assert (sims.argmax(axis=1) == np.arange(len(COLORS))).all()
    assert sims[0, 0] > 0.99


def test_shapes_and_units(bundle: Bundle):
    tokens = bundle.encode_clips([noise(3, 0)])[0]
    assert tokens.recall.shape == (DIM,)
    assert tokens.frames.shape == (3, DIM)
    assert tokens.patches is not None and tokens.patches.shape == (3, 4, DIM)
    assert tokens.frame_values is None
    assert np.allclose(np.linalg.norm(tokens.frames, axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("lengths", [[1], [3, 1, 8], [8, 8, 8, 8, 8], [1] * 20, [5, 7, 1, 2, 2]])
def test_batches_and_padding_change_nothing(bundle: Bundle, lengths: list[int]):
    clips = [noise(n, seed) for seed, n in enumerate(lengths)]
    for clip, together in zip(clips, bundle.encode_clips(clips), strict=True):
        alone = bundle.encode_clips([clip])[0]
        assert np.allclose(alone.recall, together.recall, atol=1e-6)
        assert np.allclose(alone.frames, together.frames, atol=1e-6)
        assert np.allclose(alone.patches, together.patches, atol=1e-6)


def test_no_clip_no_tokens(bundle: Bundle):
    assert bundle.encode_clips([]) == []
    assert bundle.encode_text([]) == []


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros((1, SIDE, SIDE, 3), np.float32), "must be uint8, got float32"),
        (np.zeros((9, SIDE, SIDE, 3), np.uint8), "clip 0 has 9 frames, expected 1 to 8"),
        (np.zeros((0, SIDE, SIDE, 3), np.uint8), "clip 0 has 0 frames"),
        (np.zeros((1, SIDE, SIDE + 1, 3), np.uint8), "expected 32"),
        (np.zeros((SIDE, SIDE, 3), np.uint8), "must have the axes"),
    ],
)
def test_frames_that_do_not_fit(bundle: Bundle, clip: np.ndarray, message: str):
    with pytest.raises(ShapeError, match=message):
        bundle.encode_clips([clip])


def test_an_image_is_a_query(bundle: Bundle):
    tokens, query = bundle.encode_image(plain("red"))
    assert (query.recall == tokens.recall).all()
    assert (query.text == tokens.frames[0]).all()
    assert query.words is None
    with pytest.raises(ShapeError, match="An image is uint8"):
        bundle.encode_image(plain("red", 2))


def test_many_sentences_side_by_side_are_as_each_alone(colors: Path):
    bundle = Bundle.load(colors)
    sentences = [f"a {'red ' * (n % 7)}{color} screen" for n, color in enumerate([*COLORS] * 8)]
    for sentence, together in zip(sentences, bundle.encode_text(sentences), strict=True):
        alone = bundle.encode_text([sentence])[0]
        assert np.allclose(alone.recall, together.recall, atol=1e-6)
        assert alone.words is not None and together.words is not None
        assert alone.words.shape == together.words.shape


def test_sentences_in_any_company(bundle: Bundle):
    sentences = ["red", "a blue screen", "white and black", "a dog", "red", "the video of a red"]
    for sentence, together in zip(sentences, bundle.encode_text(sentences), strict=True):
        alone = bundle.encode_text([sentence])[0]
        assert np.allclose(alone.recall, together.recall, atol=1e-6)
        assert alone.words is not None and together.words is not None
        assert alone.words.shape == together.words.shape


def test_words_are_at_their_true_length(bundle: Bundle):
    assert bundle.encode_text(["a red screen"])[0].words.shape == (3, DIM)


@pytest.mark.parametrize("query", ["", "   ", "\n\t", "\x00\x01", "\u200b"])
def test_an_empty_query(bundle: Bundle, query: str):
    with pytest.raises(UsageError, match="The query is empty"):
        bundle.encode_text([query])


def test_a_query_of_the_wrong_kind_or_size(bundle: Bundle):
    with pytest.raises(UsageError, match=r"a sentence \(str\), got int"):
        bundle.encode_text([3])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="has 2001 characters, expected at most 2000"):
        bundle.encode_text(["x" * 2001])


def test_control_characters_are_spaces(bundle: Bundle):
    one, other = bundle.encode_text(["a\x00red\r\nscreen", "a red screen"])
    assert (one.recall == other.recall).all()


def test_a_long_query_is_cut_not_refused(bundle: Bundle):
    tokens = bundle.encode_text(["red " * 40])[0]
    assert tokens.words is not None and len(tokens.words) == 16


def test_rerank_checks_its_inputs(bundle: Bundle):
    mask = np.ones((2, 3), bool)
    inputs = {
        "recall_score": np.zeros(2, np.float32),
        "frame_sims": np.eye(2, 3, dtype=np.float32),
        "frame_mask": mask,
        "patch_sims": np.zeros((2, 3, 4), np.float32),
    }
    score, relevance = bundle.rerank(inputs)
    assert np.allclose(score, [0.5, 0.5])
    assert relevance.shape == (2, 3)
    with pytest.raises(ShapeError, match="The re-ranker takes"):
        bundle.rerank({"frame_sims": mask})
    with pytest.raises(ShapeError, match="`patch_sims` has 4 = 5"):
        bundle.rerank({**inputs, "patch_sims": np.zeros((2, 3, 5), np.float32)})


def test_no_reranker_no_score(tmp_path: Path):
    bundle = Bundle.load(make_color_bundle(tmp_path / "b", rerank=None, calibration=False))
    assert bundle.rerank({}) is None
    assert bundle.query_bank() is None


def test_fingerprint_follows_what_changes_an_embedding(tmp_path: Path):
    base = Bundle.load(make_color_bundle(tmp_path / "a"))
    same = Bundle.load(make_color_bundle(tmp_path / "b", rerank="cross", calibration=False))
    other = Bundle.load(make_color_bundle(tmp_path / "c", sharpness=7.0))
    longer = Bundle.load(make_color_bundle(tmp_path / "d", max_frames=7))
    assert base.fingerprint == same.fingerprint  # re-ranker and calibration change no embedding
    assert len({base.fingerprint, other.fingerprint, longer.fingerprint}) == 3


def test_only_what_is_needed_is_loaded(broken):
    bundle = Bundle.load(broken({"video.onnx": b"no graph"}))
    bundle.warm_up()
    assert bundle.encode_text(["red"])
    with pytest.raises(BundleError, match=r"video\.onnx is not an ONNX model"):
        bundle.encode_clips([plain("red")])


def test_many_threads_load_each_graph_once(colors: Path, monkeypatch: pytest.MonkeyPatch):
    import finecut.bundle.load as loading

    made = []
    real = loading.Graph

    def counted(*args, **kwargs):
        made.append(args[1])
        return real(*args, **kwargs)

    monkeypatch.setattr(loading, "Graph", counted)
    bundle = Bundle.load(colors, threads=1)
    answers: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: answers.append(bundle.encode_text(["red"])[0].recall))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(answers) == 8 and all((answer == answers[0]).all() for answer in answers)


def test_settings_that_cannot_be(colors: Path):
    with pytest.raises(UsageError, match="threads must be at least 1, got 0"):
        Bundle.load(colors, threads=0)
    with pytest.raises(UsageError, match="The provider 'abacus' is not in the installed"):
        Bundle.load(colors, providers=["abacus"]).encode_text(["red"])
    assert Bundle.load(colors, providers=["cpu"]).encode_text(["red"])


# -- graphs that are not what they must be -------------------------------------------------------

TEXT_IN = {
    "input_ids": (color_bundle.TensorProto.INT64, ["Q", "W"]),
    "word_mask": (color_bundle.TensorProto.BOOL, ["Q", "W"]),
}


def text_graph(
    inputs: dict | None = None, outputs: dict | None = None, fill: float = 1.0, words: int = 0
) -> bytes:
    """A text graph that answers with a constant; ``words`` extra columns in recall_query."""
    outputs = outputs or {
        "recall_query": ["Q", DIM],
        "text_embeds": ["Q", DIM],
        "word_embeds": ["Q", "W", DIM],
    }
    constants = {
        "axis": np.array([1], np.int64),
        "row": np.full((1, DIM + words), fill, np.float32),
        "cube": np.full((1, 1, DIM), fill, np.float32),
    }
    nodes = [
        ("Cast", ["input_ids"], "ids", {"to": color_bundle.TensorProto.FLOAT}),
        ("Mul", ["ids", "zero"], "zeros", {}),  # [Q, W]
        ("ReduceSum", ["zeros", "axis"], "column", {"keepdims": 1}),  # [Q, 1]
        ("Add", ["column", "row"], "recall_query", {}),
        ("Identity", ["recall_query"], "text_embeds", {}),
        ("Unsqueeze", ["zeros", "last"], "cells", {}),
        ("Add", ["cells", "cube"], "word_embeds", {}),
    ]
    constants["zero"] = np.float32(0)
    kept = [node for node in nodes if node[2] in {*outputs, "ids", "zeros", "column", "cells"}]
    if "recall_query" not in outputs:
        kept.insert(3, nodes[3])
    return model("text", kept, inputs or TEXT_IN, outputs, constants)


def test_a_graph_that_fits(broken):
    assert Bundle.load(broken({"text.onnx": text_graph()})).encode_text(["red"])


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (lambda: b"", "has the inputs|cannot be loaded|no graph"),
        (lambda: b"\x3a\x05abc", "is not an ONNX model"),
        (
            lambda: text_graph({"input_ids": TEXT_IN["input_ids"]}),
            r"has the inputs \['input_ids'\], expected \['input_ids', 'word_mask'\]",
        ),
        (
            lambda: text_graph({**TEXT_IN, "more": (color_bundle.TensorProto.FLOAT, ["Q"])}),
            r"has the inputs \['input_ids', 'more', 'word_mask'\]",
        ),
        (
            lambda: text_graph({**TEXT_IN, "word_mask": (color_bundle.TensorProto.FLOAT, ["Q"])}),
            r"input word_mask is tensor\(float\), expected bool",
        ),
        (
            lambda: text_graph({**TEXT_IN, "word_mask": (color_bundle.TensorProto.BOOL, ["Q"])}),
            r"input word_mask has the shape \['Q'\], expected \[Q, W\]",
        ),
        (
            lambda: text_graph({**TEXT_IN, "word_mask": (color_bundle.TensorProto.BOOL, [1, 7])}),
            r"input word_mask has the shape \[1, 7\], expected \[Q, W\]",
        ),
        (
            lambda: text_graph(outputs={"recall_query": ["Q", DIM], "text_embeds": ["Q", DIM]}),
            r"has the outputs \['recall_query', 'text_embeds'\], expected .*word_embeds",
        ),
        (
            lambda: text_graph(
                outputs={
                    "recall_query": ["Q", DIM + 2],
                    "text_embeds": ["Q", DIM + 2],
                    "word_embeds": ["Q", "W", DIM],
                },
                words=2,
            ),
            r"output recall_query has the shape \['Q', 14\], expected \[Q, 12\]",
        ),
        (lambda: text_graph(fill=np.nan), "answers with NaN or infinity in recall_query"),
        (lambda: text_graph(fill=np.inf), "answers with NaN or infinity in recall_query"),
    ],
)
def test_a_graph_that_does_not_fit(broken, graph, message: str):
    bundle = Bundle.load(broken({"text.onnx": graph()}))
    with pytest.raises(BundleError, match=message):
        bundle.encode_text(["red"])


def test_an_answer_of_another_shape(bundle: Bundle):
    with pytest.raises(BundleError, match="answers with a wrong shape: `text_embeds` has 12 = 13"):
        bundle._text.check({"text_embeds": np.zeros((1, 13), np.float32)}, {"Q": 1})


def test_a_graph_with_operators_of_its_own(broken):
    import onnx

    made = onnx.load_from_string(text_graph())
    made.graph.node[0].domain = "evil.ops"
    made.opset_import.append(onnx.helper.make_opsetid("evil.ops", 1))
    bundle = Bundle.load(broken({"text.onnx": made.SerializeToString()}))
    with pytest.raises(BundleError, match=r"text\.onnx cannot be loaded: .*evil"):
        bundle.encode_text(["red"])


def test_a_graph_that_fails_to_load_in_the_background_is_told_when_it_is_used(broken):
    bundle = Bundle.load(broken({"text.onnx": b"nothing"}))
    bundle.begin_warm_up()
    with pytest.raises(BundleError, match=r"text\.onnx"):
        bundle.encode_text(["red"])


def test_a_bundle_warms_up_beside_its_use(colors: Path):
    bundle = Bundle.load(colors)
    expected = Bundle.load(colors).encode_text(["a red screen"])[0]
    for _ in range(3):
        bundle.begin_warm_up()
    assert np.array_equal(bundle.encode_text(["a red screen"])[0].recall, expected.recall)
    assert bundle._text is bundle._text


def test_tensors_in_other_files_are_refused(broken, tmp_path: Path):
    import onnx
    from onnx.external_data_helper import set_external_data

    (tmp_path / "secret").write_bytes(bytes(DIM * 4))
    made = onnx.load_from_string(text_graph())
    set_external_data(made.graph.initializer[0], location="../secret")
    bundle = Bundle.load(broken({"text.onnx": made.SerializeToString()}))
    with pytest.raises(BundleError, match="keeps tensors in other files"):
        bundle.encode_text(["red"])


@pytest.mark.parametrize("data", [b"", b"{}", b"[1, 2]", b"\xff", b'{"version": "9"}'])
def test_a_tokenizer_that_is_none(broken, data: bytes):
    bundle = Bundle.load(broken({"tokenizer.json": data}))
    with pytest.raises(BundleError, match=r"tokenizer\.json is no tokenizer"):
        bundle.encode_text(["red"])


def test_a_tokenizer_with_ids_beyond_the_table(broken):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    large = Tokenizer(WordLevel({"red": 1_000_000}, unk_token="red"))
    bundle = Bundle.load(broken({"tokenizer.json": large.to_str().encode()}))
    with pytest.raises(BundleError, match=r"text\.onnx fails when run"):
        bundle.encode_text(["red"])


# -- the query bank -----------------------------------------------------------------------------


def test_the_bank_is_encoded_once(bundle: Bundle):
    bank = bundle.query_bank()
    assert bank is bundle.query_bank()
    assert list(bank.sentences) == color_bundle.BANK
    assert bank.recall.shape == bank.text.shape == (len(color_bundle.BANK), DIM)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{}", "must be a JSON list of 2 to 20000 sentences, got dict"),
        (b'["one"]', "got list of 1"),
        (b'["one", 2]', "must be a JSON list"),
        (b'["one", " "]', "must be a JSON list"),
        (b"[" * 90_000, "is not JSON"),
        (b'["one", "\\u0000"]', "holds a sentence that cannot be encoded"),
    ],
)
def test_a_bank_that_is_none(broken, data: bytes, message: str):
    with pytest.raises(BundleError, match=message):
        Bundle.load(broken({"query_bank.json": data})).query_bank()


def test_a_bank_or_tokenizer_as_large_as_an_attack(broken):
    place = broken({"query_bank.json": bytes(17 << 20), "tokenizer.json": bytes(129 << 20)})
    bundle = Bundle.load(place)
    with pytest.raises(BundleError, match=r"query_bank\.json has 17825792 bytes, expected at most"):
        bundle.query_bank()
    with pytest.raises(BundleError, match=r"tokenizer\.json has 135266304 bytes, expected at most"):
        bundle.encode_text(["red"])


def npy(array: np.ndarray, **options) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def with_embeds(manifest: dict) -> None:
    manifest["calibration"]["bank_embeds"] = "bank.npy"


def test_kept_embeddings_are_used(broken):
    rows = len(color_bundle.BANK)
    kept = np.arange(rows * 2 * DIM, dtype=np.float16).reshape(rows, 2 * DIM)
    bank = Bundle.load(broken({"bank.npy": npy(kept)}, change=with_embeds)).query_bank()
    assert (bank.recall == kept[:, :DIM]).all()
    assert (bank.text == kept[:, DIM:]).all()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no",
        npy(np.zeros((3, 3), np.float32)),
        npy(np.zeros((18, 2 * DIM), np.int32)),
        npy(np.full((18, 2 * DIM), np.nan, np.float32)),
        npy(np.array([[{}]]), allow_pickle=True),
        npy(np.zeros((18, 2 * DIM), np.float32))[:-9],
    ],
)
def test_kept_embeddings_that_are_none(broken, data: bytes):
    bundle = Bundle.load(broken({"bank.npy": data}, change=with_embeds))
    with pytest.raises(BundleError, match=r"bank\.npy (is no npy array|must hold finite)"):
        bundle.query_bank()
