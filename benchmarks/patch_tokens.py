"""What fewer bytes of patches cost in answers: R@1 against KiB per clip.

Two galleries. Real: the Panda clips and their captions, by the starter with a token for each of the
49 cells of its last map in place of nine regions (its own tokens are kept whole by default). Made
up: clips of `learn.data.synthetic` in which a small thing beside a big one tells one clip from the
next ("small"), by a small network trained here end to end on recall and patches; without patches it
finds half as many. Ways: coarser grids, merging what is alike (ours, and k-means), int4, product
quantisation. Scores are those of the starter's re-ranker, and recall plus weighted patches.

    FINECUT_SHARED=... python benchmarks/patch_tokens.py [--quick]

Writes results/bench-patch-tokens.json and results/plots/bench-patch-tokens.svg.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

import record
from finecut import Bundle, Searcher
from finecut.bundle.write import write_bundle
from finecut.index.build import build_index
from finecut.index.merge import merge_patches
from finecut.index.meta import PATCHES_KEPT
from finecut.index.quantise import dequantise, quantise
from finecut.learn.data.synthetic import make_clips
from record import Entry

GRID = 7  # cells along a side of the starter's last map
FRAMES, DIM = 12, 512  # of the clip that bytes are given for
TEMPERATURE = 0.05  # of the starter's gates
PATCH_WEIGHT, FRAME_WEIGHT = 0.1, 0.1  # its weights beside the recall score
GALLERIES, CLIPS, TRAIN, STEPS, BATCH, RATE = 4, 160, 3000, 700, 64, 3e-3
SEEN = 3  # of a clip's eight frames in one step of training
CODES, CODE_ROUNDS, CODE_SAMPLE = 256, 6, 20_000
RIVAL_KIB = (12, 48)  # of a video: VEDJE's own figures, bf16, 16 frames
TASK = "small"

Floats = NDArray[np.float32]
Stored = tuple[Floats, NDArray[np.intp] | None]  # tokens [M, N, D], and the one of each patch


@dataclass
class Gallery:
    """Clips and queries of which each has one right clip."""

    patches: Floats  # [M, P, D] of the real frames of all clips
    clip: NDArray[np.intp]  # [M]
    base: NDArray[np.floating]  # [Q, G] scores without patches
    text: Floats  # [Q, D]
    right: NDArray[np.intp]  # [Q] among the videos
    video: NDArray[np.intp]  # [G] clips to videos
    weight: float  # of patches

    def hits(self, stored: Stored | None) -> tuple[float, float]:
        """R@1 and R@5 in percent; None for without patches."""
        scores = self.base if stored is None else self.base + self.weight * self.by_patch(stored)
        best = np.full((len(scores), self.video.max() + 1), -np.inf)
        for clip, video in enumerate(self.video):
            best[:, video] = np.maximum(best[:, video], scores[:, clip])
        own = best[np.arange(len(best)), self.right]
        rank = (best > own[:, None]).sum(axis=1)
        return 100.0 * float((rank < 1).mean()), 100.0 * float((rank < 5).mean())

    def by_patch(self, stored: Stored) -> Floats:
        """[Q, G]: patches weighed by a softmax over all of a clip."""
        tokens, home = stored
        starts = np.searchsorted(self.clip, np.arange(len(self.video)))
        found = np.empty(self.base.shape, np.float32)
        for query, text in enumerate(self.text):
            sims = tokens @ text  # [M, N]
            if home is not None:
                sims = np.take_along_axis(sims, home, axis=1)  # [M, P]
            gate = np.exp((sims - sims.max()) / TEMPERATURE)
            top, bottom = ((gate * sims).sum(1), gate.sum(1))
            found[query] = np.add.reduceat(top, starts) / np.add.reduceat(bottom, starts)
        return found


# -- ways to keep patches ------------------------------------------------------------------------


def ways() -> Iterator[tuple[str, str, Callable[[int, int], float], Callable[[Floats], Stored]]]:
    """Family, name, bytes of a frame of P patches and D channels, and what is left of them."""
    yield "whole", "int8", lambda p, d: p * (d + 4), lambda x: (rounded(x), None)
    yield "int4", "int4", lambda p, d: p * (d / 2 + 4), lambda x: (four_bits(x), None)
    for side in (1, 2, 3, 4):
        yield "grid", f"grid {side}x{side}", of_tokens(side**2, False), gridded(side)
    for kept in (2, 4, 8, 12, 16, 24):
        yield "merged", f"merged {kept}", of_tokens(kept), merging(kept)
    for kept in (4, 8, 16):
        yield "k-means", f"k-means {kept}", of_tokens(kept), clustered(kept)
    for part in (16, 8, 4):
        yield "PQ", f"PQ {DIM // part} bytes", lambda p, d, n=part: p * d / n, product(part)


def of_tokens(kept: int, homes: bool = True) -> Callable[[int, int], float]:
    return lambda p, d: kept * (d + 4) + p * homes


def rounded(tokens: Floats) -> Floats:
    return dequantise(*quantise(tokens))


def four_bits(tokens: Floats) -> Floats:
    step = np.abs(tokens).max(axis=-1, keepdims=True) / 7
    return np.rint(tokens / step) * step


def merging(kept: int) -> Callable[[Floats], Stored]:
    def way(patches: Floats) -> Stored:
        parts = [merge_patches(patches[i : i + 64], kept) for i in range(0, len(patches), 64)]
        tokens = np.concatenate([part for part, _ in parts])
        return rounded(tokens), np.concatenate([home for _, home in parts]).astype(np.intp)

    return way


def gridded(side: int) -> Callable[[Floats], Stored]:
    def way(patches: Floats) -> Stored:
        across = round(patches.shape[1] ** 0.5)
        cell = np.arange(across) * side // across
        home = (cell[:, None] * side + cell).ravel()
        return pooled(patches, np.broadcast_to(home, patches.shape[:2]), side**2)

    return way


def clustered(kept: int) -> Callable[[Floats], Stored]:
    def way(patches: Floats) -> Stored:
        home = np.stack([nearest(frame, kept) for frame in patches])
        return pooled(patches, home, kept)

    return way


def nearest(patches: Floats, kept: int) -> NDArray[np.intp]:
    """Spherical k-means of one frame from the patches that are least alike."""
    chosen = [int((patches @ patches.mean(0)).argmin())]
    likeness = patches @ patches[chosen[0]]
    for _ in range(kept - 1):
        chosen.append(int(likeness.argmin()))
        likeness = np.maximum(likeness, patches @ patches[chosen[-1]])
    centres = patches[chosen]
    for _ in range(CODE_ROUNDS):
        home = (patches @ centres.T).argmax(axis=1)
        for place in np.unique(home):
            centres[place] = unit(patches[home == place].mean(axis=0))
    return (patches @ centres.T).argmax(axis=1)


def pooled(patches: Floats, home: NDArray[np.intp], kept: int) -> Stored:
    """Unit tokens in the direction of the mean of their patches: as merging keeps them."""
    sums = np.zeros((len(patches), kept, patches.shape[2]), np.float32)
    np.add.at(sums, (np.arange(len(patches))[:, None], home), patches)
    return rounded(unit(sums)), home.astype(np.intp)


def product(part: int) -> Callable[[Floats], Stored]:
    """Product quantisation: one of 256 codes for every ``part`` channels, learnt on the gallery."""

    def way(patches: Floats) -> Stored:
        rng = np.random.default_rng(0)
        flat = patches.reshape(-1, patches.shape[-1])
        made = np.empty_like(flat)
        sample = rng.choice(len(flat), min(CODE_SAMPLE, len(flat)), replace=False)
        for start in range(0, flat.shape[1], part):
            columns = slice(start, start + part)
            seen = flat[sample, columns]
            codes = seen[rng.choice(len(seen), CODES, replace=False)].copy()
            for _ in range(CODE_ROUNDS):
                own = closest(seen, codes)
                counts = np.bincount(own, minlength=CODES)
                sums = np.zeros_like(codes)
                np.add.at(sums, own, seen)
                codes = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], codes)
            made[:, columns] = codes[closest(flat[:, columns], codes)]
        return made.reshape(patches.shape), None

    return way


def closest(values: Floats, codes: Floats) -> NDArray[np.intp]:
    return ((codes**2).sum(axis=1) - 2 * values @ codes.T).argmin(axis=1)


def unit(array: Floats) -> Floats:
    length = np.linalg.norm(array, axis=-1, keepdims=True)
    return (array / np.maximum(length, 1e-12)).astype(np.float32)


# -- real clips ----------------------------------------------------------------------------------


def starter_with_cells(place: Path) -> Bundle:
    """The starter with a token for each cell of its last map: its pooling of nine regions is
    replaced by none."""
    source = Bundle.load()
    views, cells = 1 + source.manifest.video.n_patches, GRID**2
    fields = source.manifest.model_dump(exclude={"schema_version", "fingerprint", "files"})
    fields["name"] = "starter-cells"
    fields["video"]["patch_rows"] = fields["video"]["patch_columns"] = GRID
    files: dict[str, Any] = {name: source.files.read(name) for name in source.files.entries}
    for name in ("video.onnx", "rerank.onnx"):
        model = onnx.load_from_string(files[name])
        for node in model.graph.node:
            if node.op_type == "Constant":
                value = numpy_helper.to_array(node.attribute[0].t)
                if value.dtype == np.int64 and value.size <= 4 and (value == views).any():
                    value = np.where(value == views, 1 + cells, value)
                    node.attribute[0].t.CopyFrom(numpy_helper.from_array(value))
        for weight in model.graph.initializer:
            if weight.name == "regions":
                whole = np.eye(cells, dtype=numpy_helper.to_array(weight).dtype)
                weight.CopyFrom(numpy_helper.from_array(whole, weight.name))
        for tensor in (*model.graph.input, *model.graph.output):
            for size in tensor.type.tensor_type.shape.dim:
                if size.dim_value == views - 1:
                    size.dim_value = cells
        del model.graph.value_info[:]
        files[name] = model.SerializeToString()
    write_bundle(place, fields, files)
    return Bundle.load(place)


def real_gallery(shared: Path, place: Path) -> Gallery:
    bundle = starter_with_cells(place / "cells")
    folder = shared / "data" / "panda70m_samples"
    build_index([folder], place / "index", bundle, patches_kept=GRID**2)
    searcher = Searcher.open(place / "index", bundle=bundle)
    index = searcher.index
    tokens = index.tokens(np.arange(len(index.clips)))
    mask = tokens.frame_mask
    kept = dequantise(tokens.patches.padded(mask), tokens.patch_scale)[mask]
    lines = [json.loads(x) for x in (folder / "captions.jsonl").read_text("utf-8").splitlines()]
    asked = [item.tokens for item in searcher.encode_texts([line["caption"] for line in lines])]
    text = np.stack([item.text for item in asked])
    frames = dequantise(tokens.frames, tokens.frame_scale)
    sims = np.einsum("qd,gfd->qgf", text, frames)
    gate = np.where(mask, np.exp((sims - sims.max()) / TEMPERATURE), 0)
    recall = np.stack([item.recall for item in asked]) @ np.asarray(index.recall_matrix()).T
    named = {Path(row.stamps[0].path).name: i for i, row in enumerate(index.videos)}
    return Gallery(
        unit(kept),
        np.nonzero(mask)[0],
        recall + FRAME_WEIGHT * (gate * sims).sum(-1) / gate.sum(-1),
        text,
        np.array([named[Path(line["clip"]).name] for line in lines]),
        np.asarray(index.clips.video, np.intp),
        PATCH_WEIGHT,
    )


# -- made-up clips -------------------------------------------------------------------------------


class Small(nn.Module):
    """A network whose 64 patches of 4 pixels learn with the sentence: it can see small things."""

    def __init__(self, words: int, dim: int = 64) -> None:
        super().__init__()
        self.pixels = nn.Sequential(
            nn.Conv2d(3, 32, 4, 2, 1), nn.GELU(), nn.Conv2d(32, 64, 3, 2, 1), nn.GELU(),
            nn.GroupNorm(8, 64), nn.Conv2d(64, 64, 3, 1, 1), nn.GELU(), nn.Conv2d(64, dim, 1),
        )  # fmt: skip
        self.frame = nn.Linear(dim, dim)
        self.embed = nn.Embedding(words, 64, padding_idx=0)
        self.read = nn.GRU(64, 64, batch_first=True, bidirectional=True)
        self.text = nn.Linear(128, 2 * dim)
        self.log_scale = nn.Parameter(torch.tensor(2.5))

    def encode_video(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, F, side, side, 3] → recall [B, D], patches [B, F, P, D]."""
        maps = self.pixels(frames.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1)
        tokens = maps.flatten(2).transpose(1, 2).unflatten(0, frames.shape[:2])
        whole = nn.functional.normalize(self.frame(tokens.mean(2)), dim=-1).mean(1)
        return nn.functional.normalize(whole, dim=-1), nn.functional.normalize(tokens, dim=-1)

    def encode_text(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """[B, W] → recall query and text token, [B, D] each."""
        states, real = self.read(self.embed(ids))[0], (ids > 0)[..., None]
        recall, text = self.text((states * real).sum(1) / real.sum(1)).chunk(2, -1)
        return nn.functional.normalize(recall, dim=-1), nn.functional.normalize(text, dim=-1)

    def scores(self, recall: Tensor, patches: Tensor, query: Tensor, text: Tensor) -> Tensor:
        sims = torch.einsum("qd,gnd->qgn", text, patches.flatten(1, 2))
        return query @ recall.T + ((sims / TEMPERATURE).softmax(-1) * sims).sum(-1)


def made_up_galleries(steps: int) -> list[Gallery]:
    torch.manual_seed(0)
    made = make_clips(TASK, TRAIN, split="train", seed=0)
    tests = [make_clips(TASK, CLIPS, split="test", seed=seed) for seed in range(GALLERIES)]
    words = sorted({word for part in (made, *tests) for c in part.captions for word in c.split()})
    number = {word: i for i, word in enumerate(words, start=1)}

    def ids(captions: tuple[str, ...]) -> Tensor:
        rows = [torch.tensor([number[word] for word in text.split()]) for text in captions]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    model = Small(len(words) + 1)
    train(model, torch.from_numpy(made.frames), ids(made.captions), made.groups, steps)
    with torch.no_grad():
        found = []
        for test in tests:
            recall, patches = model.encode_video(torch.from_numpy(test.frames))
            query, text = model.encode_text(ids(test.captions))
            clips, frames = patches.shape[:2]
            own = np.arange(clips)
            found.append(
                Gallery(
                    patches.flatten(0, 1).numpy(),
                    np.repeat(own, frames),
                    (query @ recall.T).numpy(),
                    text.numpy(),
                    own,
                    own,
                    1.0,
                )
            )
    return found


def train(model: Small, frames: Tensor, ids: Tensor, groups: NDArray[Any], steps: int) -> None:
    """InfoNCE over batches of whole groups, so that a clip's rivals are among its negatives."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, max(2, steps), pct_start=0.1)
    generator = torch.Generator().manual_seed(0)
    members = [torch.from_numpy(np.flatnonzero(groups == group)) for group in np.unique(groups)]
    for _ in range(steps):
        order = torch.randperm(len(members), generator=generator).tolist()
        rows = torch.cat([members[i] for i in order[: BATCH // len(members[0])]])
        seen = torch.randperm(frames.shape[1], generator=generator)[:SEEN]
        recall, patches = model.encode_video(frames[rows][:, seen])
        logits = model.scores(recall, patches, *model.encode_text(ids[rows]))
        logits = logits * model.log_scale.exp()
        alike = (ids[rows][:, None] == ids[rows][None]).all(-1).float()  # one sentence, two clips
        target = alike / alike.sum(1, keepdim=True)
        loss = -(target * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


# -- the curve -----------------------------------------------------------------------------------


def main() -> None:
    told = record.arguments(__doc__).parse_args()
    shared = os.environ.get("FINECUT_SHARED")
    if not shared:
        sys.exit("this needs real clips: set FINECUT_SHARED")
    started = time.time()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    with tempfile.TemporaryDirectory() as folder:
        sets = {"real": [real_gallery(Path(shared), Path(folder))]}
    sets["made up"] = made_up_galleries(20 if told.quick else STEPS)
    figures: dict[str, Any] = {"clip": {"frames": FRAMES, "channels": DIM}, "sets": {}}
    for name, galleries in sets.items():
        patches = galleries[0].patches.shape[1]
        rows = [{"way": "no patches", "family": "none", "kib": 0.0, **means(galleries, None)}]
        for family, way, size, keep in ways():
            kib = FRAMES * size(patches, DIM) / 1024
            rows.append({"way": way, "family": family, "kib": kib, **means(galleries, keep)})
            print(
                name, {k: round(v, 2) if isinstance(v, float) else v for k, v in rows[-1].items()}
            )
        queries = sum(len(gallery.right) for gallery in galleries)
        figures["sets"][name] = {"queries": queries, "patches": patches, "ways": rows}
    record.save("patch-tokens", entries_of(figures), figures, started)
    record.plot("patch-tokens", lambda axes: draw(axes, figures))


def means(galleries: list[Gallery], keep: Callable[[Floats], Stored] | None) -> dict[str, float]:
    hits = [g.hits(None if keep is None else keep(g.patches)) for g in galleries]
    one, five = np.mean(hits, axis=0)
    return {"r_at_1": float(one), "r_at_5": float(five)}


def entries_of(figures: dict[str, Any]) -> list[Entry]:
    """The default beside keeping everything."""
    entries = []
    for name, found in figures["sets"].items():
        by_way = {row["way"]: row for row in found["ways"]}
        chosen, whole = by_way[f"merged {PATCHES_KEPT}"], by_way["int8"]
        entries.append(
            Entry(
                f"R@1 of {name} clips, patches merged into {PATCHES_KEPT}",
                chosen["r_at_1"],
                "%",
                "higher",
                limit_or_rival=f"all {found['patches']} patches in int8",
                limit_value=whole["r_at_1"],
                note=f"without patches {by_way['no patches']['r_at_1']:.1f} %",
            )
        )
        entries.append(
            Entry(
                f"KiB per clip of {name} clips' size, patches merged into {PATCHES_KEPT}",
                chosen["kib"],
                "KiB",
                "lower",
                limit_or_rival=f"all {found['patches']} patches in int8",
                limit_value=whole["kib"],
            )
        )
    return entries


def draw(axes: Any, figures: dict[str, Any]) -> None:
    colours = dict(zip(["merged", "grid", "k-means", "PQ", "int4", "whole"], range(6), strict=True))
    for (name, found), line in zip(figures["sets"].items(), ("-", "--"), strict=True):
        whole = next(row["r_at_1"] for row in found["ways"] if row["family"] == "whole")
        for family, place in colours.items():
            rows = sorted(
                (r for r in found["ways"] if r["family"] == family), key=lambda r: r["kib"]
            )
            axes.plot(
                [row["kib"] for row in rows],
                [row["r_at_1"] - whole for row in rows],
                f"o{line}",
                color=f"C{place}",
                label=f"{family}, {name}",
                markersize=4,
            )
    axes.axvspan(*RIVAL_KIB, alpha=0.12, color="grey", label="VEDJE per video (the paper's)")
    axes.set_xscale("log")
    axes.set_xlabel(f"KiB of patches for {FRAMES} frames of {DIM} channels")
    axes.set_ylabel("R@1 against all in int8, points")
    axes.legend(fontsize=6, ncols=2)


if __name__ == "__main__":
    main()
