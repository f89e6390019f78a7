"""The figures of docs/methods/clip4clip.md and eercf.md, drawn from this library's own functions.

* clip4clip-schedule.svg: the published learning rate over a training, jump included.
* eercf-gate.svg: how a sentence weighs the frames of real footage (the text gate), with the
  bundled starter model's tokens; four short scenes of the shared material, three frames each.

    python benchmarks/method_figures.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import torch

from finecut import Bundle
from finecut.learn.methods.blocks import gate_weights
from finecut.learn.methods.eercf import FRAME_GATE_TEMPERATURE
from finecut.learn.optim import warmup_cosine
from finecut.video.decode import decode_clips
from finecut.video.spec import DecodeSpec

DOCS = Path(__file__).resolve().parent.parent / "docs" / "methods"
SCENES = {  # file -> the sentence that asks for it
    "fruit-and-vegetable-detection": "fruit and vegetables on a table",
    "car-detection": "cars on a road",
    "store-aisle-detection": "a shelf in a supermarket",
    "classroom": "students in a classroom",
}
FRAMES_PER_SCENE = 3
WIDTH = 640


def svg(height: int, title: str, parts: list[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="sans-serif" font-size="13" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def schedule() -> str:
    left, top, wide, tall = 60, 30, WIDTH - 90, 200
    steps = np.sort(np.append(np.linspace(0, 1, 401), 0.0999999))  # just before the jump
    points = " ".join(
        f"{left + wide * x:.1f},{top + tall * (1 - warmup_cosine(float(x))):.1f}" for x in steps
    )
    after = warmup_cosine(0.1)
    parts = [
        f'<path d="M{left} {top}V{top + tall}H{left + wide}" fill="none" stroke="#888"/>',
        f'<polyline points="{points}" fill="none" stroke="#1d3557" stroke-width="2"/>',
        f'<text x="{left - 8}" y="{top + 5}" text-anchor="end">1</text>',
        f'<text x="{left - 8}" y="{top + tall + 5}" text-anchor="end">0</text>',
        f'<text x="{left + wide}" y="{top + tall + 20}" text-anchor="end">step / all steps</text>',
        f'<text x="{left + wide * 0.24}" y="{top + 8}">end of warm-up: 1 falls to '
        f"{after:.3f}, because the cosine began at step 0</text>",
        f'<text x="{left + 6}" y="{top + tall - 8}">the first step has rate 0</text>',
    ]
    return svg(top + tall + 40, "Learning rate of CLIP4Clip and EERCF over a training", parts)


def gate(shared: Path) -> str:
    bundle = Bundle.load()
    spec = DecodeSpec.from_manifest(bundle.manifest)
    frames = []
    for scene in SCENES:
        path = shared / "data" / "intel_sample_videos" / "clips" / f"{scene}.mp4"
        seen = np.concatenate([clip.frames for clip in decode_clips(path, spec)])
        frames += list(seen[np.linspace(0, len(seen) - 1, FRAMES_PER_SCENE).astype(int)])
    tokens = np.concatenate(
        [
            bundle.encode_clips([np.stack(part)])[0].frames
            for part in np.array_split(np.stack(frames), len(SCENES))
        ]
    )
    texts = np.stack([text.text for text in bundle.encode_text(list(SCENES.values()))])
    weights = gate_weights(torch.from_numpy(texts @ tokens.T), FRAME_GATE_TEMPERATURE).numpy()

    left, top, cell, row = 240, 50, 31, 42
    parts = [
        f'<text x="{left + (i * FRAMES_PER_SCENE + 1.5) * cell}" y="{top - 22}" font-size="10" '
        f'text-anchor="middle" fill="#444">{escape(scene.removesuffix("-detection"))}</text>'
        for i, scene in enumerate(SCENES)
    ]
    for q, (sentence, line) in enumerate(zip(SCENES.values(), weights, strict=True)):
        y = top + q * row
        parts.append(f'<text x="{left - 10}" y="{y + 22}" text-anchor="end">{sentence}</text>')
        for f, weight in enumerate(line):
            own = f // FRAMES_PER_SCENE == q
            tall = 32 * float(weight) / float(weights.max())
            parts.append(
                f'<rect x="{left + f * cell + 3}" y="{y + 32 - tall:.1f}" width="{cell - 6}" '
                f'height="{tall:.1f}" fill="{"#1d3557" if own else "#a8c0dc"}"/>'
            )
        parts.append(f'<path d="M{left} {y + 32.5}h{cell * len(line)}" stroke="#888" fill="none"/>')
    foot = top + len(SCENES) * row + 20
    parts.append(
        f'<text x="20" y="{foot}" fill="#444">softmax over twelve frames, temperature '
        f"{FRAME_GATE_TEMPERATURE}; dark: frames of the scene that is asked for</text>"
    )
    return svg(foot + 16, "Frame weights of the text gate for four sentences", parts)


def main() -> None:
    shared = os.environ.get("FINECUT_SHARED")
    if not shared:
        sys.exit("set FINECUT_SHARED to the folder of the shared material")
    (DOCS / "clip4clip-schedule.svg").write_text(schedule(), encoding="utf-8")
    (DOCS / "eercf-gate.svg").write_text(gate(Path(shared)), encoding="utf-8")


if __name__ == "__main__":
    main()
