"""The encoders: frames a second of one core, what faster arithmetic costs, and one sentence.

The starter's video graph runs in float32 by onnxruntime, in bf16 by OpenVINO (`--device openvino`)
and in int8 (static, per channel; first, last and depthwise convolutions left in float32), by turns,
one thread each, by processor time. Beside the speed stands what it does to answers: cosines of
tokens with float32's, and the recall of captions where FINECUT_SHARED has clips with captions
(made-up films otherwise, for cosines alone). The limit is what the processor multiplies: products
of 1024 x 1024 float32 matrices by onnxruntime, in the same run, divided by a frame's
multiplications. The weights of the ViT-B/32 are random: its speed is measured and nothing else.

    python benchmarks/encode.py [--quick]

Writes results/bench-encode.json and results/plots/bench-encode.svg.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import record
import videos
from encode_int8 import int8_starter
from finecut import Bundle, Searcher
from finecut.bundle import openvino_session
from finecut.bundle.tokens import tokenize
from finecut.index.build import build_index
from finecut.search.quality import quality
from finecut.types import VideoTokens
from finecut.video.decode import decode_clips
from finecut.video.spec import DecodeSpec
from index import vit_b32
from record import Entry, Rounds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE = 1024  # of the square matrices
FRAMES = 96  # encoded in a round
WAYS = {"fp32": "onnxruntime fp32", "bf16": "OpenVINO bf16", "int8": "onnxruntime int8"}
VIT_B32_MACS = 12 * (12 * 768**2 * 50 + 2 * 50**2 * 768) + 49 * 3072 * 768  # a frame of 224 x 224
SENTENCES = (  # of about 5, 10 and 20 words
    "a dog on a beach",
    "two people dance in a kitchen while music is playing",
    "an old man in a red coat walks slowly along a river at night and feeds birds by a bridge",
)
TEXT_TARGETS = {"starter": 4.0, "ViT-B/32 int8": 5.0}


# -- what is encoded -----------------------------------------------------------------------------


def real_clips() -> Path | None:
    shared = os.environ.get("FINECUT_SHARED")
    return Path(shared) / "data" / "panda70m_samples" if shared else None


def clips_of(bundle: Bundle, frames: int) -> tuple[list[np.ndarray], str]:
    """Clips of together about so many frames, and what they are."""
    spec = DecodeSpec.from_manifest(bundle.manifest)
    if folder := real_clips():
        paths, what = sorted((folder / "clips").iterdir()), "real clips"
    else:
        paths, what = list(videos.film("mixed", [videos.Kind()], 32.0)), "made-up films"
    found: list[np.ndarray] = []
    for path in paths:
        if sum(map(len, found)) >= frames:
            break
        found += [clip.frames for clip in decode_clips(path, spec)]
    return found, what


# -- limits --------------------------------------------------------------------------------------


def product() -> Callable[[], object]:
    """One float32 product of SIDE x SIDE matrices, on one thread of onnxruntime."""
    import onnxruntime
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [SIDE, SIDE]) for n in "xyz"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "y"], ["z"])], "g", ends[:2], ends[2:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    run = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    ).run
    draw = np.random.default_rng(0)
    feeds = {name: draw.random((SIDE, SIDE), np.float32) for name in "xy"}
    return lambda: [run(None, feeds) for _ in range(4)]


def macs_of(data: bytes, frames: np.ndarray) -> float:
    """Multiplications of a frame by the weights of convolutions, read off the shapes of a run."""
    import onnx
    import onnxruntime

    model = onnx.load_from_string(data)
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    stored = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    made = [node.input[1] for node in nodes if node.input[1] not in stored]  # float16, cast
    names = [node.output[0] for node in nodes] + made
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    values = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(names, {"frames": frames[None], "frame_mask": np.ones((1, len(frames)), bool)})
    sizes = stored | {name: list(value.shape) for name, value in zip(names, values, strict=True)}
    # A weight is [out, in / groups, height, width]: each output number takes in x height x width.
    each = [math.prod(sizes[n.output[0]]) * math.prod(sizes[n.input[1]][1:]) for n in nodes]
    return float(sum(each)) / len(frames)


# -- videos --------------------------------------------------------------------------------------


def cosines(ways: Sequence[VideoTokens], exact: Sequence[VideoTokens]) -> dict[str, Any]:
    """Least and mean cosine of each kind of token with float32's."""
    found = {}
    for kind in ("recall", "frames", "patches"):
        pairs = [(getattr(a, kind), getattr(b, kind)) for a, b in zip(ways, exact, strict=True)]
        all_of = np.concatenate([np.atleast_1d(_cosine(a, b)).ravel() for a, b in pairs])
        found[kind] = {"least": float(all_of.min()), "mean": float(all_of.mean())}
    return found


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


def recalls(bundles: Mapping[str, Bundle]) -> dict[str, Any]:
    """R@1, 5 and 10 in percent of captions over real clips, indexed each way, searched in fp32."""
    folder = real_clips()
    if folder is None:
        return {}
    lines = (folder / "captions.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    queries = [{"query": row["caption"], "video": Path(row["clip"]).name} for row in rows]
    found = {}
    for name, bundle in bundles.items():
        with tempfile.TemporaryDirectory() as place:
            build_index([folder / "clips"], place, bundle)
            # Found by fingerprint or folder: the same graphs for sentences, on the CPU.
            found[name] = quality(Searcher.open(place, bundle=bundle), queries)
    return found


def choices(bundles: Mapping[str, Bundle], clip: np.ndarray, rounds: int) -> dict[str, Any]:
    """Frames a second by the clock: batches of several sizes; one thread a run, or all cores."""
    cores = os.cpu_count() or 1
    found: dict[str, Any] = {}
    for name, bundle in bundles.items():
        ways: dict[str, Callable[[], object]] = {}
        frames: dict[str, int] = {}
        for threads in (1, cores):
            graph = bundle.with_threads(threads)._video
            for clips in (1, 4, 8):
                feeds = {
                    "frames": np.repeat(clip[None], clips, 0),
                    "frame_mask": np.ones((clips, len(clip)), bool),
                }
                beside = cores // threads
                what = f"{beside} x {threads} threads, {clips * len(clip)} frames"
                ways[what] = partial(_beside, partial(graph.run, feeds), beside)
                frames[what] = beside * clips * len(clip)
        taken = record.by_turns(ways, rounds)
        found[name] = {what: frames[what] / taken[what].clock_s for what in ways}
    return found


def _beside(run: Callable[[], object], times: int) -> None:
    with ThreadPoolExecutor(times) as pool:
        for future in [pool.submit(run) for _ in range(times)]:
            future.result()


def videos_part(place: Path, figures: dict[str, Any], *, quick: bool) -> list[Entry]:
    """The starter's video graph, each way, and the ViT-B/32's beside what a core multiplies."""
    starter = Bundle.load(providers=["cpu"], threads=1)
    clips, what = clips_of(starter, 24 if quick else FRAMES)
    n_frames = sum(map(len, clips))
    bundles = {"fp32": starter, "int8": int8_starter(place / "int8", clips[::2])}
    if openvino_session.installed():
        bundles["bf16"] = Bundle.load(providers=["openvino"], threads=1)
        figures["openvino"] = bundles["bf16"]._video.runs_by
    b32 = Bundle.load(vit_b32(), providers=["cpu"], threads=1)
    few = clips[: max(1, len(clips) // 4)]
    ways: dict[str, Callable[[], object]] = {
        name: partial(bundle.encode_clips, clips) for name, bundle in bundles.items()
    }
    ways |= {"ViT-B/32": partial(b32.encode_clips, few), "product": product()}
    taken = record.by_turns(ways, 1 if quick else 7)
    peak = 4 * SIDE**3 / taken["product"].cpu_s  # multiplications a second
    macs = macs_of(starter.files.read(starter.manifest.video.graph), clips[0])
    exact = starter.encode_clips(clips)
    figures["clips"] = {"what": what, "clips": len(clips), "frames": n_frames}
    figures["fp32_peak_gflops"] = 2e-9 * peak
    figures["mega_macs_a_frame"] = {"starter": macs * 1e-6, "ViT-B/32": VIT_B32_MACS * 1e-6}
    figures["cosines"] = {
        name: cosines(bundle.encode_clips(clips), exact)
        for name, bundle in bundles.items()
        if name != "fp32"
    }
    figures["batches"] = choices(
        {name: bundles[name] for name in bundles if name != "int8"}, clips[0][:4], 1 if quick else 5
    )
    limit = "onnxruntime's float32 products of matrices"
    entries = [
        speed("starter's encoder, fp32, one core", taken["fp32"], n_frames, limit, peak / macs)
    ]
    fp32 = n_frames / taken["fp32"].cpu_s
    for name in ("bf16", "int8"):
        if name in bundles:
            label = f"starter's encoder, {WAYS[name]}, one core"
            entries.append(speed(label, taken[name], n_frames, "in fp32", fp32))
    n_few = sum(map(len, few))
    label = "ViT-B/32's encoder, int8, one core"
    entries.append(speed(label, taken["ViT-B/32"], n_few, limit, peak / VIT_B32_MACS))
    if quick:
        return entries
    figures["quality"] = recalls(bundles)
    for name, found in figures["quality"].items():
        if name != "fp32":
            plain = figures["quality"]["fp32"]
            entries.append(
                Entry(
                    f"R@1 of {found['n_queries']} captions, encoded by {WAYS[name]}",
                    found["fused"]["r_at_1"], "%", "higher", None,
                    "in fp32", plain["fused"]["r_at_1"],
                )
            )  # fmt: skip
    return entries


def speed(name: str, rounds: Rounds, frames: int, limit: str, value: float) -> Entry:
    """Frames a second of a core's time."""
    spread = frames / max(rounds.cpu), frames / min(rounds.cpu)
    return Entry(name, frames / rounds.cpu_s, "frames/s", "higher", None, limit, value, spread)


# -- sentences -----------------------------------------------------------------------------------


def text_part(name: str, bundle: Bundle, rounds: int) -> list[Entry]:
    """Milliseconds of a sentence at its true length, beside itself padded to the longest."""
    text = bundle.manifest.text
    graph = bundle._text
    entries = []
    for sentence in SENTENCES:
        ids = tokenize(bundle._tokenizer, [sentence], text)[0].ids
        padded = np.full((1, text.max_words), text.pad_id, np.int64)
        padded[0, : len(ids)] = ids
        mask = np.arange(text.max_words)[None] < len(ids)
        taken = record.by_turns(
            {
                "true": partial(bundle.encode_text, [sentence]),
                "padded": partial(graph.run, {"input_ids": padded, "word_mask": mask}),
            },
            rounds,
        )
        entries.append(
            Entry(
                f"{name}: a sentence of {len(sentence.split())} words",
                1e3 * taken["true"].clock_s, "ms", "lower", TEXT_TARGETS[name],
                f"the same padded to {text.max_words} tokens", 1e3 * taken["padded"].clock_s,
                taken["true"].spread(1e3),
            )
        )  # fmt: skip
    return [noted(entry) for entry in entries]


def noted(entry: Entry) -> Entry:
    if entry.target_met is not False or entry.spread is None:
        return entry
    note = f"The best of the rounds took {entry.spread[0]:.1f} ms; nearly all of it is the graph."
    return replace(entry, note=note)


def main() -> None:
    quick = record.arguments(__doc__).parse_args().quick
    started = time.time()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        entries = videos_part(Path(folder), figures, quick=quick)
    for name, reference in (("starter", "starter"), ("ViT-B/32 int8", str(vit_b32()))):
        entries += text_part(name, Bundle.load(reference, providers=["cpu"]), 5 if quick else 100)
    record.save("encode", entries, figures, started)
    record.plot("encode", lambda axes: draw(axes, entries))


def draw(axes: Axes, entries: Sequence[Entry]) -> None:
    """Frames a second; grey, what each is compared with."""
    shown = [entry for entry in entries if entry.unit == "frames/s"]
    for row, entry in enumerate(shown):
        axes.barh(row, entry.limit_value or 0, 0.7, color="0.85")
        axes.barh(row, entry.value, 0.4, color="C0")
    axes.set_yticks(range(len(shown)), [entry.name for entry in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("frames a second of one core (grey: its limit, or fp32)")


if __name__ == "__main__":
    main()
