"""LAFF's fusion blocks on real features: quality of each, and which features attention uses.

Trains every variant alike on the Flickr8k embeddings of the shared material (6,000 images, 30,000
human captions; EfficientNet-Lite0 and MiniLM numbers) and measures text-to-image retrieval on its
dev split (5,000 captions, 1,000 images). Three features of one small network stand in for the
article's several extractors, so the figures compare blocks; they are not the article's.

    python benchmarks/laff_fusion.py --epochs 8 --figure docs/methods/laff-weights.svg

Writes results/bench-laff-fusion.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from finecut import metrics
from finecut.learn.methods.laff import LAFF, LaffConfig
from finecut.learn.methods.laff_selection import feature_report, shorter_config
from finecut.learn.methods.protocol import Batch, recall_sims

ROOT = Path(__file__).resolve().parent.parent
FUSIONS = ("attention", "mean", "concat", "mhsa", "mhsa_projection_free")
BATCH = 128  # captions
LEARNING_RATE = 1e-4  # RMSProp, the released recipe; x 0.99 an epoch, gradient norm at most 2
COMMON_DIM, HEADS = 1024, 8


def load(split: str) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Image features by name, sentence vectors, and the image of each caption."""
    from finecut.learn.starter.backbone import Lite0

    shared = os.environ.get("FINECUT_SHARED")
    if not shared:
        sys.exit("set FINECUT_SHARED to the folder of the shared material")
    folder = Path(shared) / "data" / "flickr8k_embeddings"
    pooled = torch.from_numpy(np.load(folder / f"{split}_image_efflite0.npy").astype(np.float32))
    text = torch.from_numpy(np.load(folder / f"{split}_text_minilm.npy").astype(np.float32))
    owner = torch.from_numpy(np.load(folder / f"{split}_text_to_image.npy").astype(np.int64))
    network = Lite0()
    logits = pooled @ network.weight.T + network.bias
    features = {
        "pooled": pooled,
        "logits": (logits - logits.mean(1, keepdim=True)) / logits.std(1, keepdim=True),
        "class_probabilities": logits.softmax(dim=1).sqrt(),
    }
    return features, text, owner


def train(config: LaffConfig, data: tuple, epochs: int, seed: int) -> tuple[LAFF, float]:
    """A trained model in eval mode, and the seconds it took."""
    features, text, owner = data
    torch.manual_seed(seed)
    model = LAFF(config).train()
    optimiser = torch.optim.RMSprop(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.99)
    generator = torch.Generator().manual_seed(seed)
    started = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(text), generator=generator).split(BATCH):
            images = owner[rows]
            batch = Batch(
                video={"features": {n: features[n][images] for n in config.video_features}},
                text={"features": {"minilm": text[rows]}},
                video_ids=images,
            )
            optimiser.zero_grad()
            model.loss(batch)["loss"].backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimiser.step()
        schedule.step()
    return model.eval(), time.perf_counter() - started


@torch.no_grad()
def evaluate(model: LAFF, data: tuple) -> dict[str, float]:
    features, text, owner = data
    video = model.encode_video({n: features[n] for n in model.config.video_features})
    sims = recall_sims(model.encode_text({"minilm": text}), video)
    table = metrics.t2v(sims.numpy(), owner.numpy())
    return {name: round(value, 3) for name, value in table.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    training, dev = load("train"), load("dev")
    base = LaffConfig(
        video_features={name: f.shape[1] for name, f in training[0].items()},
        text_features={"minilm": training[1].shape[1]},
        common_dim=COMMON_DIM,
        heads=HEADS,
    )
    runs = []

    def run(label: str, config: LaffConfig, seed: int) -> LAFF:
        model, seconds = train(config, training, options.epochs, seed)
        row = {"variant": label, "features": list(config.video_features), "seed": seed}
        row |= {"parameters": sum(p.numel() for p in model.parameters())}
        row |= {"train_s": round(seconds, 1), **evaluate(model, dev)}
        runs.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
        return model

    weights: dict[str, float] = {}
    for seed in range(options.seeds):
        for fusion in FUSIONS:
            model = run(fusion, replace(base, fusion=fusion), seed)
            if fusion == "attention" and seed == 0:
                report = feature_report(model, [{"features": dev[0]}])
                weights = {name: round(value, 4) for name, value in report.weights.items()}
                if options.figure:
                    report.to_svg(options.figure)
                shorter = shorter_config(base, report, 1)
        run("attention, best feature only", shorter, seed)
    out = ROOT / "results" / "bench-laff-fusion.json"
    out.parent.mkdir(exist_ok=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    body = {
        "what": "text-to-image retrieval on Flickr8k dev by LAFF's fusion variants",
        "command": "python benchmarks/laff_fusion.py " + " ".join(sys.argv[1:]),
        "queries": len(dev[1]),
        "gallery": len(dev[0]["pooled"]),
        "epochs": options.epochs,
        "common_dim": COMMON_DIM,
        "heads": HEADS,
        "mean_attention_on_dev": weights,
        "runs": runs,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads",
        "commit": commit,
    }
    out.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
