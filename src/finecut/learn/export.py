"""Export a trained model to a bundle that the search engine serves without torch.

Nothing is written unless ONNX and torch agree on random ragged input, graph by graph; with int8
the quantised encoders must also stay close to the exact ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

import finecut
from finecut.bundle.write import write_bundle
from finecut.errors import BundleError, UsageError
from finecut.learn.export_plans import RERANK_SHAPES, Plan, plan_for
from finecut.learn.export_source import load_source
from finecut.learn.onnx_graph import largest_difference, quantize_int8, session, to_onnx

EMBED_TOLERANCE = 1e-4  # absolute, of unit vectors in float32
SCORE_TOLERANCE = 1e-3  # absolute, of re-rank scores, which carry CLIP's scale of up to 100
INT8_COSINE = 0.98  # at least, of int8 embeddings to the exact ones
MANY_LANGUAGES = 100_000  # pieces of a vocabulary
FRAMES_PER_SECOND = 1.0  # of CLIP4Clip and EERCF
SEED = 0  # of the random input of the gates


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written and how well it agrees with torch."""

    out: Path
    name: str
    method: str
    fingerprint: str
    largest_difference: dict[str, float]  # ONNX against torch, by output
    int8_cosine: dict[str, float]  # lowest, by output; empty without int8
    size_bytes: int


def export(
    source: nn.Module | Path | str,
    out: Path | str,
    quantize: Literal["int8"] | None = None,
    *,
    name: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    tokenizer: bytes | None = None,
    calibration: Mapping[str, float] | None = None,
    query_bank: Sequence[str] = (),
    languages: Sequence[str] = (),
    replace: bool = False,
) -> ExportReport:
    """Write the bundle of a model.

    Args:
        source: a method, a checkpoint of ours, a published checkpoint file, or the weights of a
            dual encoder, which becomes a zero-shot method (see ``export_source.load_source``).
        out: the bundle's folder, made here.
        quantize: int8 weights for the two encoders: a quarter of the size, about three times
            the speed on a CPU; opt in, as it costs some quality on real weights.
        name: of the bundle; default the folder's.
        provenance: data, licence and recipe for the manifest.
        tokenizer: tokenizer.json for a model whose vocabulary is not CLIP's (TACo's BERT);
            default: the one in the checkpoint's folder, or in a training run's text_state.
        calibration: the numbers ``finecut.search.calibrate`` fitted for this model; without
            them results carry scores and no confidence of their own.
        query_bank: the sentences they were fitted with.
        languages: codes of what its queries may be in, "*" for any. Default: "*" for a vocabulary
            of a size that only text of a hundred languages needs, else English.
        replace: swap an existing bundle at ``out``.

    Raises:
        BundleError: ONNX and torch disagree, or int8 strays too far; nothing is written.
        UsageError: no plan for this model, or an unknown ``quantize``.
    """
    if (calibration is None) != (not query_bank):
        raise UsageError("calibration and query_bank belong together; give both or neither.")
    if quantize not in (None, "int8"):
        raise UsageError(f"quantize must be int8 or left out, got {quantize!r}.")
    out = Path(out)
    told: dict[str, Any] = {}
    if not isinstance(source, nn.Module):
        for folder in (Path(source), Path(source) / "text_state"):
            if tokenizer is None and (folder / "tokenizer.json").is_file():
                tokenizer = (folder / "tokenizer.json").read_bytes()
        source, told = load_source(source)
    plan = plan_for(source)
    plan.tokenizer = tokenizer or plan.tokenizer
    if not plan.tokenizer:
        raise UsageError(
            f"{plan.method} has a vocabulary of its own: pass tokenizer=, or put tokenizer.json "
            "beside the checkpoint."
        )
    rng = np.random.default_rng(SEED)
    files: dict[str, bytes] = {"tokenizer.json": plan.tokenizer}
    differences: dict[str, float] = {}
    cosines: dict[str, float] = {}
    for graph in _graphs(plan):
        example, *samples = graph.samples(rng)
        if hasattr(graph.module, "onnx_bytes"):  # parts of it are ONNX already
            data = graph.module.onnx_bytes()
        else:
            data = to_onnx(graph.module, example, graph.outputs, graph.axes)
        worst = largest_difference(graph.module, data, graph.outputs, [example, *samples])
        _gate(worst, graph)
        differences |= worst
        if quantize and graph.file != "rerank.onnx":
            small = quantize_int8(data)
            cosines |= _int8_gate(data, small, graph, samples)
            data = small
        files[graph.file] = data
    known = {**plan.provenance, **told, **(provenance or {})}
    fields = _fields(plan, name or out.name, known, quantize)
    fields["text"]["languages"] = tuple(languages) or likely_languages(plan.vocab_size)
    if calibration is not None:
        fields["calibration"] = dict(calibration)
        files["query_bank.json"] = json.dumps(list(query_bank), ensure_ascii=False).encode()
    manifest = write_bundle(out, fields, files, replace=replace)
    return ExportReport(
        out=out,
        name=manifest.name,
        method=manifest.method,
        fingerprint=manifest.fingerprint,
        largest_difference=differences,
        int8_cosine=cosines,
        size_bytes=sum(entry.size_bytes for entry in manifest.files),
    )


def likely_languages(vocab_size: int) -> tuple[str, ...]:
    """What a text tower was trained on, as its vocabulary tells.

    English ones have 30,000 to 50,000 pieces (BERT, CLIP, SigLIP), those of many languages 250,000
    (XLM-R, mT5, Gemma in SigLIP 2).

    >>> likely_languages(49_408), likely_languages(256_000)
    (('en',), ('*',))
    """
    return ("*",) if vocab_size >= MANY_LANGUAGES else ("en",)


# ---------------------------------------------------------------------- graphs and their samples


@dataclass
class _Graph:
    file: str
    module: nn.Module
    outputs: list[str]
    axes: dict[str, dict[int, str]]
    plan: Plan
    tolerance: float

    def samples(self, rng: np.random.Generator) -> Iterator[dict[str, Tensor]]:
        """Ragged random input of several sizes; the first has every free axis above 1."""
        if self.file == "video.onnx":
            for clips, frames in ((2, 3), (1, 1), (3, self.plan.max_frames), (1, 2)):
                yield _video_sample(rng, self.plan, clips, min(frames, self.plan.max_frames))
        elif self.file == "text.onnx":
            for texts, words in ((2, 5), (1, 2), (3, self.plan.max_words), (1, 7)):
                yield _text_sample(rng, self.plan, texts, min(words, self.plan.max_words))
        else:
            for clips, frames in ((3, 4), (1, 1), (5, self.plan.max_frames), (2, 3)):
                yield _rerank_sample(rng, self.plan, clips, min(frames, self.plan.max_frames))


def _graphs(plan: Plan) -> Iterator[_Graph]:
    video = {"frames": {0: "N", 1: "F"}, "frame_mask": {0: "N", 1: "F"}}
    yield _Graph("video.onnx", plan.video, plan.video_outputs, video, plan, EMBED_TOLERANCE)
    text = {"input_ids": {0: "Q", 1: "W"}, "word_mask": {0: "Q", 1: "W"}}
    yield _Graph("text.onnx", plan.text, plan.text_outputs, text, plan, EMBED_TOLERANCE)
    if plan.rerank is not None:
        axes = {
            name: {
                axis: letter
                for axis, letter in enumerate(RERANK_SHAPES[name].split())
                if letter in "KFW"
            }
            for name in plan.rerank_inputs
        }
        outputs = ["score", "frame_relevance"]
        yield _Graph("rerank.onnx", plan.rerank, outputs, axes, plan, SCORE_TOLERANCE)


def _lengths(rng: np.random.Generator, rows: int, longest: int) -> Tensor:
    """Mask [rows, longest] of ragged lengths; the first row is full."""
    lengths = rng.integers(1, longest + 1, size=rows)
    lengths[0] = longest
    return torch.from_numpy(np.arange(longest)[None] < lengths[:, None])


def _video_sample(
    rng: np.random.Generator, plan: Plan, clips: int, frames: int
) -> dict[str, Tensor]:
    mask = _lengths(rng, clips, frames)
    size = plan.image_size
    coarse = rng.integers(0, 256, (clips, frames, 4, 4, 3), dtype=np.uint8)
    # Blocks of colour with some noise: nearer to pictures than noise alone.
    blocks = coarse.repeat(-(-size // 4), axis=2).repeat(-(-size // 4), axis=3)[:, :, :size, :size]
    noise = rng.integers(-20, 21, blocks.shape)
    pixels = np.clip(blocks + noise, 0, 255).astype(np.uint8)
    pixels[~mask.numpy()] = 0
    return {"frames": torch.from_numpy(pixels), "frame_mask": mask}


def _text_sample(rng: np.random.Generator, plan: Plan, texts: int, words: int) -> dict[str, Tensor]:
    mask = _lengths(rng, texts, words)
    mask[:, : min(2, words)] = True
    first, last = plan.sos_eos
    ids = rng.integers(1, min(plan.vocab_size - 2, 30_000), (texts, words))
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        ids[row, 0], ids[row, length - 1], ids[row, length:] = first, last, 0
    return {"input_ids": torch.from_numpy(ids), "word_mask": mask}


def _rerank_sample(
    rng: np.random.Generator, plan: Plan, clips: int, frames: int
) -> dict[str, Tensor]:
    """Arrays as the engine makes them: inner products of unit vectors, 0 where padded."""
    mask = _lengths(rng, clips, frames)
    dim, words = plan.embed_dim, 4

    def tokens(*shape: int) -> Tensor:
        drawn = torch.from_numpy(rng.standard_normal((*shape, dim), dtype=np.float32))
        return torch.nn.functional.normalize(drawn, dim=-1)

    real = mask.float()
    text, word = tokens(), tokens(words)
    frame, values = tokens(clips, frames), tokens(clips, frames)
    frame, values = frame * real[..., None], values * real[..., None]
    patch = tokens(clips, frames, plan.patch_grid**2) if plan.patch_grid else None
    made = {
        "recall_score": torch.from_numpy(rng.uniform(-1, 1, clips).astype(np.float32)),
        "frame_sims": frame @ text,
        "frame_mask": mask,
        "frame_value_sims": values @ text,
        "frame_gram": values @ values.transpose(1, 2),
        "patch_sims": None if patch is None else patch @ text * real[..., None],
        "word_frame_sims": torch.einsum("wd,kfd->kwf", word, frame),
        "word_mask": torch.ones(words, dtype=torch.bool),
        "text_embeds": text,
        "word_embeds": word,
        "frame_embeds": frame,
    }
    return {name: made[name] for name in plan.rerank_inputs}


# ---------------------------------------------------------------------- gates and manifest


def _gate(worst: Mapping[str, float], graph: _Graph) -> None:
    for name, difference in worst.items():
        if difference > graph.tolerance:
            raise BundleError(
                f"{graph.file}: {name} differs from torch by {difference:.2e}, expected at most "
                f"{graph.tolerance:.0e}. No bundle was written."
            )


def _int8_gate(
    exact: bytes, small: bytes, graph: _Graph, samples: list[dict[str, Tensor]]
) -> dict[str, float]:
    """Lowest cosine, by output, of int8 tokens to exact ones; one clip or sentence at a time."""
    run_exact, run_small = session(exact), session(small)
    lowest = dict.fromkeys(graph.outputs, 1.0)
    mask_name = "frame_mask" if graph.file == "video.onnx" else "word_mask"
    for sample in samples:
        for row, mask in enumerate(sample[mask_name]):
            length = int(mask.sum())
            feeds = {n: v[row : row + 1, :length].numpy() for n, v in sample.items()}
            want, got = run_exact(feeds), run_small(feeds)
            for output in graph.outputs:
                a, b = want[output], got[output]
                lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
                cosine = (a * b).sum(axis=-1) / np.maximum(lengths, 1e-9)
                lowest[output] = min(lowest[output], float(cosine.min()))
    for output, cosine in lowest.items():
        if not cosine >= INT8_COSINE:
            raise BundleError(
                f"{graph.file}: int8 {output} has cosine {cosine:.5f} to the exact one, expected "
                f"at least {INT8_COSINE}. Export without --quantize. No bundle was written."
            )
    return lowest


def _fields(
    plan: Plan, name: str, provenance: Mapping[str, Any], quantize: str | None
) -> dict[str, Any]:
    made_with = {"finecut": finecut.__version__, "torch": torch.__version__.split("+")[0]}
    if quantize:
        made_with["quantize"] = quantize
    fields: dict[str, Any] = {
        "name": name,
        "method": plan.method,
        "sampling": {"frames_per_second": FRAMES_PER_SECOND, "max_frames": plan.max_frames},
        "frames": {
            "height": plan.image_size,
            "width": plan.image_size,
            "resize": plan.resize,
            "interpolation": plan.interpolation,
        },
        "video": {
            "recall_dim": plan.recall_dim,
            "embed_dim": plan.embed_dim,
            "patch_rows": plan.patch_grid,
            "patch_columns": plan.patch_grid,
            "frame_values": "frame_values" in plan.video_outputs,
        },
        "text": {
            "max_words": plan.max_words,
            "words": "word_embeds" in plan.text_outputs,
            "lowercase": plan.lowercase,
        },
        "provenance": {
            "data": tuple(provenance.get("data", ("not stated",))),
            "licence": provenance.get("licence", "not stated"),
            "recipe": provenance.get("recipe", "not stated"),
            "made_with": made_with,
            "quality": dict(provenance.get("quality", {})),
        },
    }
    if plan.rerank is not None:
        inputs = plan.rerank_inputs if plan.rerank_kind == "late" else ()
        fields["rerank"] = {"kind": plan.rerank_kind, "inputs": tuple(inputs)}
    return fields
