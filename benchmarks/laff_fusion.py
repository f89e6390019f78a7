"""LAFF's fusion blocks on real features: quality of each, and which features attention uses.

Trains every variant alike on the Flickr8k embeddings of the shared material (6,000 images, 30,000
human captions; EfficientNet-Lite0 and MiniLM numbers) and measures text-to-image retrieval on its
dev split (5,000 captions, 1,000 images). Three features of one small network stand in for the
article's several extractors, so the figures compare blocks; they are not the article's.

    python benchmarks/laff_fusion.py --figure docs/methods/laff-weights.svg
    python benchmarks/laff_fusion.py --only "attention, 1 head"

Writes results/bench-laff-fusion.json; ``--only`` replaces one row of it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import record
from finecut import metrics
from finecut.learn.methods.laff import LAFF, LaffConfig
from finecut.learn.methods.laff_selection import feature_report
from finecut.learn.methods.protocol import Batch, recall_sims
from record import Entry

VARIANTS = {  # label -> (fusion, heads)
    "attention, 8 heads": ("attention", 8),
    "attention, 1 head": ("attention", 1),
    "mean, 8 heads": ("mean", 8),
    "mean, 1 head": ("mean", 1),
    "concat": ("concat", 8),
    "self-attention": ("mhsa", 8),
    "self-attention without projections, 8 heads": ("mhsa_projection_free", 8),
}
BEST_FEATURE = "attention, 8 heads, best feature only"
BATCH = 128  # captions
SEED = 0
LEARNING_RATE = 1e-4  # RMSProp, the released recipe; x 0.99 an epoch, gradient norm at most 2
COMMON_DIM = 512
EPOCHS = 6


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
    parser = record.arguments(__doc__)
    parser.add_argument("--only", choices=[*VARIANTS, BEST_FEATURE])
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    started = time.time()
    epochs = 1 if options.quick else EPOCHS
    training, dev = load("train"), load("dev")
    base = LaffConfig(
        video_features={name: f.shape[1] for name, f in training[0].items()},
        text_features={"minilm": training[1].shape[1]},
        common_dim=COMMON_DIM,
    )
    body = {
        "queries": len(dev[1]),
        "gallery": len(dev[0]["pooled"]),
        "epochs": epochs,
        "common_dim": COMMON_DIM,
        "seed": SEED,
        "mean_attention_on_dev": {},
        "runs": {},
        "torch_threads": torch.get_num_threads(),
    }
    kept = record.folder() / "bench-laff-fusion.json"
    if options.only and kept.exists():
        known = json.loads(kept.read_text("utf-8"))["figures"]
        body |= {key: known[key] for key in ("mean_attention_on_dev", "runs")}

    def save() -> None:
        record.save("laff-fusion", entries(body), body, started)

    def run(label: str, config: LaffConfig) -> LAFF:
        model, seconds = train(config, training, epochs, SEED)
        row = {"features": list(config.video_features)}
        row |= {"parameters": sum(p.numel() for p in model.parameters())}
        row |= {"train_s": round(seconds, 1), **evaluate(model, dev), "commit": record.commit()}
        body["runs"][label] = row
        print(label, json.dumps(row), file=sys.stderr, flush=True)
        save()
        return model

    for label, (fusion, heads) in VARIANTS.items():
        if options.only in (None, label):
            model = run(label, replace(base, fusion=fusion, heads=heads))
            if label == "attention, 8 heads":
                report = feature_report(model, [{"features": dev[0]}])
                body["mean_attention_on_dev"] = report.weights
                save()
                if options.figure:
                    report.to_svg(options.figure)
    if options.only in (None, BEST_FEATURE):
        best = next(iter(body["mean_attention_on_dev"]))
        alone = {best: base.video_features[best]}
        run(BEST_FEATURE, replace(base, video_features=alone))


def entries(figures: dict) -> list[Entry]:
    runs = figures["runs"]
    plain = runs.get("concat")
    return [
        Entry(
            f"R@1 on Flickr8k dev, {label}", row["r_at_1"], "%", "higher", None,
            "features laid end to end" if plain else "", plain["r_at_1"] if plain else None,
        )
        for label, row in runs.items()
    ]  # fmt: skip


if __name__ == "__main__":
    main()
