"""``kind = "features"`` of a recipe: pairs that are known by ready-made features only.

    [data.features.video.pooled]        # a feature the model knows as "pooled"
    file = "image_efflite0"             # {split}_image_efflite0.npy, or a BigFile of that name
    steps = ["standardise"]             # feature_steps.py
    [data.features.text.sentence]
    file = "text_minilm"

``level = "frames"`` reads a frame-level feature, of which ``[data.sampling]`` keeps some.
Sentence features that are made of words (collections hold the sentences): ``words = "bow"``,
``"w2v"`` (with ``vectors``, a BigFile of word vectors) or ``"gru"`` (trained with the model).

Whatever is learnt from the training split (means, directions, vocabularies) is kept in the run's
``text_state``: a split of the same layout can then be evaluated without the training data.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finecut.errors import ShapeError, UsageError
from finecut.learn.data.feature_files import open_feature_split, splits_in
from finecut.learn.data.feature_preparation import (
    Part,
    Preparation,
    Sources,
    as_tensor,
    need_sentences,
)
from finecut.learn.preprocess import FramePosition, keep_frames
from finecut.learn.recipe import Recipe, expand
from finecut.learn.strict_toml import from_table

METHODS = ("laff", "taco")


def open_features(
    recipe: Recipe,
    split: str,
    *,
    root: Path | str | None = None,
    training: bool = False,
    text_state: Path | str | None = None,
    config: Any = None,
) -> FeaturePairs:
    """A role of the recipe or a split of the folder; arguments as ``open_split``.

    Raises:
        UsageError: no such split or feature, or nothing is known of what training learnt.
        ShapeError: files that do not fit one another.
    """
    sources = from_table(Sources, recipe.data.features, "data.features")
    if recipe.method not in METHODS:
        raise UsageError(
            f"kind = 'features' gives ready-made features, which {' and '.join(METHODS)} take; "
            f"{recipe.method} reads frames: use kind 'videos' or 'cache'."
        )
    folder = recipe.data_root(root)
    name = _split_name(recipe, split, folder)
    files = {
        level: [s.file for s in sources.video.values() if s.level == level and s.file]
        for level in ("video", "frames")
    }
    whole = open_feature_split(folder, name, files["video"], files["frames"])
    kept = np.arange(len(whole.video_ids))
    if recipe.data.held_out is not None and split in ("train", "validation"):
        kept = held_out_rows(len(kept), recipe.data.held_out, recipe.seed, split == "validation")
    part = Part(whole, kept, split if len(kept) < len(whole.video_ids) else name)
    if training:
        preparation, prepared = Preparation.learn(sources, part, recipe.seed)
    elif text_state is not None:
        preparation = Preparation.load(sources, Path(text_state))
        prepared = preparation.prepare(part)
    else:
        raise UsageError(
            "features are prepared by what training learnt: give the run's text_state folder, or "
            "open the training split first."
        )
    sentences = _sentence_inputs(recipe, part, training, text_state, config)
    sampling = recipe.data.sampling
    return FeaturePairs(
        part, preparation, prepared, sentences, sampling.max_frames, sampling.frame_position
    )


def _split_name(recipe: Recipe, split: str, folder: Path) -> str:
    """A split that is there goes before a role: a folder may hold a "test" of its own."""
    data = recipe.data
    if split == "train" or (split == "validation" and data.held_out is not None):
        return data.train
    if split in splits_in(folder):
        return split
    return {"validation": data.validation, "test": data.test}.get(split, split)


def held_out_rows(count: int, share: float, seed: int, held: bool) -> NDArray[np.int64]:
    """Rows of the videos that are held out, or of the others; drawn by the seed, rising.

    >>> held_out_rows(10, 0.2, 0, True).size, held_out_rows(10, 0.2, 0, False).size
    (2, 8)
    """
    if count < 2:
        raise UsageError(f"{count} videos cannot be held out from; expected 2 or more.")
    order = list(range(count))
    random.Random(seed).shuffle(order)
    cut = min(count - 1, max(1, round(share * count)))
    return np.sort(np.array(order[:cut] if held else order[cut:], np.int64))


class FeaturePairs:
    """The pairs of one part; satisfies ``PairData``."""

    moments = None

    def __init__(
        self,
        part: Part,
        preparation: Preparation,
        prepared: dict[str, Tensor],
        sentence_inputs: Any,
        max_frames: int,
        position: FramePosition,
    ) -> None:
        """Args:
        part: which videos and sentences.
        preparation: of the features.
        prepared: the features with steps: those cost more than the memory of what they give.
        sentence_inputs: TACo's ``TextInputs``; None where the text side reads features (LAFF).
        max_frames: of frame-level features.
        position: which frames are kept where there are more.
        """
        self.part, self.preparation, self.sentence_inputs = part, preparation, sentence_inputs
        self.max_frames, self.position = max_frames, position
        self.name, self.split = part.whole.name, part.split
        self.video_ids, self.sentences = part.video_ids, part.sentences
        self.video_of_text = part.video_of_text
        self.missing = list(part.whole.missing)
        several = len(np.unique(self.video_of_text)) < len(self.video_of_text)
        self.protocol: Literal["single", "multi"] = "multi" if several else "single"
        sources = preparation.sources
        for side, table in (("video", sources.video), ("text", sources.text)):
            for source in table.values():
                if source.file and source.level == "video":
                    part.table(side, source.file)  # a missing file is an error now
        self._kept = prepared
        self._frames = {
            name: part.whole.frames(source.file)
            for name, source in sources.video.items()
            if source.level == "frames" and source.file
        }

    def video_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        """LAFF: ``features`` by name, and ``frames`` and ``frame_mask`` where there are any.
        TACo: all frame-level features side by side as ``features``."""
        order = np.asarray(rows, np.int64)
        frames, mask = self._padded_frames(order)
        if self.sentence_inputs is not None:
            return {"features": torch.cat(list(frames.values()), dim=-1), "frame_mask": mask}
        features = {}
        for name, source in self.preparation.sources.video.items():
            if source.level == "video" and source.file:
                kept = self._kept.get(f"video.{name}")
                features[name] = (
                    self.part.rows("video", source.file, order) if kept is None else kept[order]
                )
        return {"features": features, **({"frames": frames, "frame_mask": mask} if frames else {})}

    def _padded_frames(self, rows: NDArray[np.int64]) -> tuple[dict[str, Tensor], Tensor]:
        found: dict[str, list[Tensor]] = {}
        counts: NDArray | None = None
        for name, table in self._frames.items():
            where = f"{self.split}, {name}"
            each = [as_tensor(table[int(self.part.videos[row])], where) for row in rows]
            each = [
                frames[keep_frames(len(frames), self.max_frames, self.position)] for frames in each
            ]
            lengths = np.array([len(frames) for frames in each])
            if counts is not None and not np.array_equal(counts, lengths):
                row = int(rows[np.flatnonzero(counts != lengths)[0]])
                raise ShapeError(
                    f"{self.video_ids[row]}: frame-level features {', '.join(self._frames)} have "
                    "different numbers of frames; expected the same."
                )
            counts, found[name] = lengths, each
        if counts is None:
            return {}, torch.zeros(len(rows), 0, dtype=torch.bool)
        padded = {
            name: nn.utils.rnn.pad_sequence(each, batch_first=True) for name, each in found.items()
        }
        mask = torch.arange(int(counts.max()))[None] < torch.from_numpy(counts)[:, None]
        return padded, mask

    def text_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        """LAFF: ``features`` by name. TACo: the words of the sentences."""
        order = np.asarray(rows, np.int64)
        if self.sentence_inputs is not None:
            return self.sentence_inputs([self.sentences[row] for row in order])
        features: dict[str, Any] = {}
        for name, source in self.preparation.sources.text.items():
            kept = self._kept.get(f"text.{name}")
            if source.words:
                sentences = [self.sentences[row] for row in order]
                features[name] = self.preparation.of_words(name, source, sentences)
            elif kept is not None:
                features[name] = kept[order]
            elif source.file:
                features[name] = self.part.rows("text", source.file, order)
        return {"features": features}

    # ---- what the trainer asks once

    def model_facts(self) -> dict[str, Any]:
        """Sizes of the features, by name; of the GRU's vocabulary."""
        video = self.video_inputs([0])
        if self.sentence_inputs is not None:
            return {"feature_dim": video["features"].shape[-1]}
        sizes = {name: value.shape[-1] for name, value in video["features"].items()}
        facts: dict[str, Any] = {"video_features": sizes, "text_features": {}}
        if "frames" in video:
            facts["frame_features"] = {n: v.shape[-1] for n, v in video["frames"].items()}
        texts = self.text_inputs([0])["features"]
        for name, value in texts.items():
            if isinstance(value, Tensor):
                facts["text_features"][name] = value.shape[-1]
            else:  # the GRU's own size is the model's choice: [model] text_features
                facts |= {"gru": name, "gru_words": len(self.preparation.words[name])}
                if name in self.preparation.vectors:
                    facts["gru_embed_dim"] = self.preparation.vectors[name].dim
        return facts

    def save_text_state(self, folder: Path) -> None:
        """Write what was learnt into the run."""
        self.preparation.save(Path(folder))
        if self.sentence_inputs is not None:
            self.sentence_inputs.save(Path(folder))

    def prepare_model(self, model: nn.Module) -> None:
        """Start the GRU's embedding from word vectors where the recipe names some."""
        if self.sentence_inputs is not None:
            self.sentence_inputs.prepare_model(model)
        for name, source in self.preparation.sources.text.items():
            if source.words == "gru" and name in self.preparation.vectors:
                model.gru.start_from(self.preparation.words[name], self.preparation.vectors[name])


def _sentence_inputs(
    recipe: Recipe,
    part: Part,
    training: bool,
    text_state: Path | str | None,
    config: Any,
) -> Any:
    if recipe.method == "laff":
        return None
    from finecut.learn.inputs.text import text_inputs_for

    need_sentences(part, recipe.method)
    return text_inputs_for(
        recipe.method,
        recipe.model_config({}) if config is None else config,
        training_sentences=part.sentences if training else None,
        state=None if training or text_state is None else Path(text_state),
        vocabulary=None if recipe.data.vocabulary is None else expand(recipe.data.vocabulary),
    )
