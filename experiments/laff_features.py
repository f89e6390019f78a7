"""LAFF on real pairs known by features only: blocks, heads, losses, and what comes after.

    FINECUT_SHARED=DIR python experiments/laff_features.py   # results/repro-laff-*.json

Flickr8k as ready-made features (README of the shared folder): 6,000 images with five human
captions each to train on, 1,000 images with 5,000 captions to test on, as clips of one frame. Four
features a side, all made of one EfficientNet-Lite0 vector and one MiniLM vector: they are not the
article's independent networks, and say the same thing in different ways.

Every variant is trained alike; the settings were chosen on held-out training images for the
attention block. A run that is in the file already is not made again.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from finecut import metrics
from finecut.learn.data.feature_steps import Chain, parse_steps
from finecut.learn.methods.laff import LAFF, LaffConfig
from finecut.learn.methods.protocol import Batch
from finecut.learn.normalise import dual_softmax, dynamic_inverted_softmax
from record import Record

SEEDS = (0, 1, 2)
EPOCHS, BATCH, RATE, DECAY = 8, 128, 2e-3, 0.2
COMMON_DIM, HEADS = 512, 4  # 128 channels a head, as 1,024 and 8
SCALE = 20.0  # of DSL and QB-Norm at test, the value both have on cosines
BANK = 5000  # training sentences
VIDEO = {
    "pooled": ("standardise", "principal:200"),
    "logits": ("imagenet-logits", "standardise", "principal:128"),
    "classes": ("imagenet-logits", "root-probabilities", "principal:128"),
    "names": ("imagenet-logits", "class-names:2.5", "principal:128"),
}
TEXT = {
    "even": ("even",),
    "raw": ("unit",),
    "directions": ("principal:128",),
    "few directions": ("principal:32",),
}
FUSIONS = ("attention", "mean", "concat", "mhsa_projection_free")


class Pairs:
    """Images [G, d] and captions [G, 5, d] by feature, of both splits."""

    def __init__(self) -> None:
        shared = os.environ.get("FINECUT_SHARED")
        if not shared:
            sys.exit("set FINECUT_SHARED to the folder of the shared material")
        folder = Path(shared) / "data" / "flickr8k_embeddings"
        self.images: dict[str, dict[str, Tensor]] = {"train": {}, "dev": {}}
        self.captions: dict[str, dict[str, Tensor]] = {"train": {}, "dev": {}}
        for table, names, out in (
            ("image_efflite0", VIDEO, self.images),
            ("text_minilm", TEXT, self.captions),
        ):
            raw = {
                split: torch.from_numpy(np.load(folder / f"{split}_{table}.npy").astype(np.float32))
                for split in out
            }
            for name, steps in names.items():
                chain = Chain.learn(parse_steps(steps, name), raw["train"])
                for split, rows in raw.items():
                    out[split][name] = chain(rows)
        for split, found in self.captions.items():
            count = len(next(iter(self.images[split].values())))
            self.captions[split] = {n: x.unflatten(0, (count, -1)) for n, x in found.items()}

    def sizes(self, video: int, text: int) -> dict[str, dict[str, int]]:
        """The first so many features a side, as `LaffConfig` wants them."""
        return {
            "video_features": {n: self.images["train"][n].shape[1] for n in list(VIDEO)[:video]},
            "text_features": {n: self.captions["train"][n].shape[2] for n in list(TEXT)[:text]},
        }


def trained(data: Pairs, config: LaffConfig, seed: int) -> LAFF:
    """A model; an epoch sees each image once, with one of its captions."""
    torch.manual_seed(seed)
    model = LAFF(config).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    images = {name: data.images["train"][name] for name in config.video_features}
    captions = {name: data.captions["train"][name] for name in config.text_features}
    count, several = next(iter(captions.values())).shape[:2]
    steps = count // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=EPOCHS * steps, cycle_momentum=False
    )
    for _ in range(EPOCHS):
        for rows in torch.randperm(count).split(BATCH)[:steps]:
            which = torch.randint(several, (len(rows),))
            batch = Batch(
                {"features": {n: x[rows] for n, x in images.items()}},
                {"features": {n: x[rows, which] for n, x in captions.items()}},
                rows,
            )
            optimiser.zero_grad()
            model.loss(batch)["loss"].backward()
            optimiser.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def similarities(data: Pairs, model: LAFF, split: str, rows: slice = slice(None)) -> np.ndarray:
    """[Q, G] captions of a split's images (``rows`` of them) against the test images."""
    config = model.config
    images = {n: data.images["dev"][n] for n in config.video_features}
    captions = {n: data.captions[split][n][rows].flatten(0, 1) for n in config.text_features}
    return (model.encode_text(captions).recall @ model.encode_video(images).recall.T).numpy()


def figures(sims: np.ndarray) -> dict[str, float]:
    """Of five captions an image, in the images' order."""
    right = np.arange(sims.shape[1]).repeat(len(sims) // sims.shape[1])
    found, back = metrics.t2v(sims, right), metrics.v2t(sims, right)
    wanted = ("r_at_1", "r_at_5", "r_at_10", "MIR")
    return {**{n: found[n] for n in wanted}, "v2t_r_at_1": back["r_at_1"]}


def at_test(data: Pairs, model: LAFF, sims: np.ndarray) -> dict[str, float]:
    """Text to video with what looks at other queries too."""
    bank = similarities(data, model, "train", slice(BANK // 5))
    right = np.arange(sims.shape[1]).repeat(5)
    columns = {
        "dsl": dual_softmax(sims, 1 / SCALE),
        "qbnorm": dynamic_inverted_softmax(sims, bank, SCALE).scores,
    }
    return {
        f"{column}_{name}": metrics.t2v(scores, right)[name]
        for column, scores in columns.items()
        for name in ("r_at_1", "r_at_5", "r_at_10")
    }


def measured(data: Pairs, config: LaffConfig, seed: int, with_others: bool) -> dict[str, Any]:
    """One run; ``with_others``: also what looks at other queries at test."""
    begun = time.perf_counter()
    model = trained(data, config, seed)
    seconds = time.perf_counter() - begun
    sims = similarities(data, model, "dev")
    found = {**figures(sims), **(at_test(data, model, sims) if with_others else {})}
    parameters = sum(p.numel() for p in model.parameters())
    return {**found, "parameters": parameters, "s": seconds}


def variants(data: Pairs) -> dict[str, dict[str, LaffConfig]]:
    """Part -> key of its record -> what is trained; the base is attention with all features."""
    base = LaffConfig(
        **data.sizes(4, 4),
        common_dim=COMMON_DIM,
        heads=HEADS,
        video_input_dropout=0.3,
        loss="info_nce",
        loss_spaces=1,
    )
    published = replace(base, loss="triplet", loss_spaces=0, video_input_dropout=0.0)

    def fused(fusion: str, count: int) -> LaffConfig:
        return replace(base, fusion=fusion, **data.sizes(count, count))

    losses = {
        "loss/triplet, single": replace(base, loss="triplet"),
        "loss/triplet, combined": replace(base, loss="triplet", loss_spaces=0),
        "loss/info_nce, single": base,
        "loss/info_nce, combined": replace(base, loss_spaces=0),
        "loss/dual_softmax, single": replace(base, loss="dual_softmax"),
        "loss/dual_softmax, prior at 1": replace(base, loss="dual_softmax", prior_temperature=1.0),
    }
    bare = replace(base, video_input_dropout=0.0)
    losses |= {
        "loss/triplet, combined, inputs whole": published,
        "loss/triplet, single, inputs whole": replace(bare, loss="triplet"),
        "loss/info_nce, single, inputs whole": bare,
    }
    losses |= {f"published/{fusion}": replace(published, fusion=fusion) for fusion in FUSIONS}
    return {
        "losses": losses,
        # with one feature, attention and mean are the same
        "features": {
            f"features/{fusion}, {count}": fused(fusion, count)
            for count in (4, 2, 1, 3)
            for fusion in FUSIONS
            if (fusion, count) != ("mean", 1)
        },
        "heads": {f"heads/{h}": replace(base, heads=h) for h in (1, 8, 4, 16, 2)},
    }


def main(parts: Sequence[str]) -> None:
    """All parts, or those named: losses, features, heads."""
    torch.set_num_threads(1)
    data = Pairs()
    every = variants(data)
    records = {
        part: Record(
            f"laff-{part}",
            "LAFF on Flickr8k features: text-to-image retrieval, 5,000 captions, 1,000 images",
            epochs=EPOCHS,
            batch=BATCH,
            learning_rate=RATE,
            weight_decay=DECAY,
            common_dim=COMMON_DIM,
            heads=HEADS,
            scale_at_test=SCALE,
            bank=BANK,
        )
        for part in every
    }
    known = {  # the base is part of all three
        (repr(config), seed): found
        for part, configs in every.items()
        for key, config in configs.items()
        for seed in SEEDS
        if (found := records[part].runs.get(f"{key}/{seed}"))
    }
    for part in parts or every:
        records[part].body["command"] = f"python experiments/laff_features.py {part}"
        for key, config in every[part].items():
            for seed in SEEDS:
                same = (repr(config), seed)
                if same not in known:
                    known[same] = measured(data, config, seed, key.startswith("loss/"))
                found = {name: value for name, value in known[same].items() if name != "commit"}
                records[part].run(f"{key}/{seed}", lambda found=found: found)


if __name__ == "__main__":
    main(sys.argv[1:])
