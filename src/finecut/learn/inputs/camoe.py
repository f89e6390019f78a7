"""CAMoE's three sentences, made from part-of-speech tags."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from finecut.learn.encoders.clip_tokenizer import ClipTokenizer
from finecut.learn.inputs.state import tagger_of_training, write_state
from finecut.learn.methods.camoe import CamoeConfig
from finecut.learn.methods.camoe_text import learn_key_pieces, stream_inputs
from finecut.text.tags import default_tagger, tag

log = logging.getLogger(__name__)

STATE = "camoe.json"


class CamoeTextInputs:
    """Captions → whole, nouns and verbs, as CLIP ids (or as flags: the mode AKWE).

    Where the tagger that training used is not installed, the model's own table of pieces decides
    what is a noun and what a verb, as in an exported bundle.
    """

    def __init__(
        self, config: CamoeConfig, tagger: str | None, sentences: Sequence[str] = ()
    ) -> None:
        self.config = config
        self.tagger = tagger
        self.tokenizer = ClipTokenizer(config.clip.vocab_size)
        self._learn_from = list(dict.fromkeys(sentences))

    @classmethod
    def learn(cls, config: CamoeConfig, sentences: Sequence[str]) -> CamoeTextInputs:
        """From training captions: which pieces of the vocabulary are nouns', which verbs'."""
        return cls(config, default_tagger().name, sentences)

    @classmethod
    def load(cls, config: CamoeConfig, folder: Path) -> CamoeTextInputs:
        """What ``save`` wrote.

        Raises:
            UsageError: it is not there.
        """
        return cls(config, tagger_of_training(folder / STATE))

    def __call__(self, sentences: Sequence[str]) -> dict[str, Tensor]:
        if self.tagger is None:
            return {"input_ids": self.tokenizer(list(sentences), self.config.max_words)[0]}
        return stream_inputs(
            tag(sentences),
            self._pieces,
            self.config.sentence_mode,
            start_id=self.tokenizer.sot,
            end_id=self.tokenizer.eot,
            filler_id=self.config.filler_id,
            max_words=self.config.max_words,
        )

    def save(self, folder: Path) -> None:
        """Which tagger it was; the table of pieces is part of the model."""
        if self.tagger is not None:
            write_state(folder / STATE, {"tagger": self.tagger})

    def prepare_model(self, model: nn.Module) -> None:
        """Fill the model's table of noun and verb pieces."""
        if self.tagger is not None and self._learn_from:
            model_: Any = model
            nouns, verbs = learn_key_pieces(model_, tag(self._learn_from), self._pieces)
            log.info("%d pieces are nouns', %d verbs'", nouns, verbs)

    def _pieces(self, word: str) -> list[int]:
        return self.tokenizer.backend.encode(word, add_special_tokens=False).ids
