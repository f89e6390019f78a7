"""What fine-tuning the built-in starter is worth: exercises it has never seen, before and after.

    FINECUT_SHARED=... python experiments/finetune_starter.py

748 exercises of free-exercise-db (public domain): two photos each, found by their name and by four
of their instructions. Each seed divides them anew into 548 to learn from (a tenth of them for
validation) and 200 that are searched, and trains recipes/finetune-starter.toml as it is. Writes
results/repro-finetune-starter.json.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from finecut.learn.checkpoint import load_checkpoint
from finecut.learn.data.cache import make_cache
from finecut.learn.data.open_split import open_split
from finecut.learn.evaluation.evaluate import evaluate_model
from finecut.learn.methods.laff_starter import LaffStarter, LaffStarterConfig
from finecut.learn.recipe import load_recipe
from finecut.learn.training.loop import train
from record import ROOT, Record

SEEDS = (0, 1, 2)
SEARCHED = 200
SENTENCES = 4  # instructions of an exercise, of those long enough to say something
LONG_ENOUGH = 25  # letters


def write_folder(source: Path, folder: Path, seed: int) -> None:
    """captions.jsonl and test.jsonl, and the photos."""
    rows = [json.loads(line) for line in (source / "exercises.jsonl").open(encoding="utf-8")]
    random.Random(seed).shuffle(rows)
    if not (folder / "frames").exists():
        (folder / "frames").mkdir(parents=True)
        for photo in sorted((source / "frames").iterdir()):
            (folder / "frames" / photo.name).symlink_to(photo)
    for name, part in (("test", rows[:SEARCHED]), ("captions", rows[SEARCHED:])):
        lines = []
        for row in part:
            told = [text for text in row["instructions"] if len(text) > LONG_ENOUGH]
            captions = [row["name"], *told[:SENTENCES]]
            lines.append({"id": row["id"], "frames": row["frames"], "captions": captions})
        body = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
        (folder / f"{name}.jsonl").write_text(body, encoding="utf-8")


def figures(model: Any, data: Any) -> dict[str, Any]:
    told = evaluate_model(model, data, recall_k=None, rerank=False).to_json()
    return {
        f"{side}_{name}": told[side][name]
        for side in ("t2v", "v2t")
        for name in ("r_at_1", "r_at_5", "r_at_10", "MdR")
    }


def main() -> None:
    shared = os.environ.get("FINECUT_SHARED")
    if not shared:
        sys.exit("set FINECUT_SHARED to the folder of the shared data")
    torch.set_num_threads(1)
    source = Path(shared) / "data" / "free_exercise_db"
    recipe = load_recipe(ROOT / "recipes" / "finetune-starter.toml")
    record = Record(
        "finetune-starter", str(__doc__).splitlines()[0], searched=SEARCHED, recipe=recipe.name
    )
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place) / "exercises", Path(place) / "cache"
        write_folder(source, folder, SEEDS[0])
        make_cache(recipe, cache, root=folder, features=True)
        for seed in SEEDS:
            write_folder(source, folder, seed)
            held = replace(recipe.data, kind="cache", cache=str(cache))
            own = replace(recipe, seed=seed, data=held)
            data = open_split(own, "test", root=folder)
            untrained = LaffStarter(LaffStarterConfig(mix=1e-12)).eval()  # nothing but the starter
            record.run(f"exercises/starter/{seed}", lambda m=untrained, d=data: figures(m, d))

            def tuned(own: Any = own, data: Any = data, seed: int = seed) -> dict[str, Any]:
                output = Path(place) / f"run-{seed}"
                report = train(own, output, root=folder)
                found = figures(load_checkpoint(output), data)
                return {**found, "epochs": report.epochs, "seconds": report.seconds}

            record.run(f"exercises/fine-tuned/{seed}", tuned)


if __name__ == "__main__":
    main()
