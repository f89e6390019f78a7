"""Sentences as each method's ``encode_text`` takes them, and what has to be learnt for it.

`text_inputs_for` finds the preparation of a method. What it learns from the training sentences is
written to a run's ``text_state`` folder, so that nothing of the training data is needed later.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from finecut.errors import UsageError
from finecut.learn.encoders.clip_tokenizer import ClipTokenizer


class TextInputs(Protocol):
    """Sentences → keyword arguments of ``encode_text``."""

    def __call__(self, sentences: Sequence[str]) -> dict[str, Any]:
        """CPU tensors with a leading axis of len(sentences)."""
        ...

    def save(self, folder: Path) -> None:
        """Write what was learnt; nothing where nothing was."""
        ...

    def prepare_model(self, model: nn.Module) -> None:
        """Fill tables of the model that an exported bundle needs, before training."""
        ...


class ClipTextInputs:
    """CLIP's ids, padded to ``max_words``: CLIP4Clip, EERCF and LAFF on CLIP. Learns nothing."""

    def __init__(self, vocab_size: int, max_words: int) -> None:
        self.tokenizer = ClipTokenizer(vocab_size)
        self.max_words = max_words

    def __call__(self, sentences: Sequence[str]) -> dict[str, Tensor]:
        return {"input_ids": self.tokenizer(list(sentences), self.max_words)[0]}

    def save(self, folder: Path) -> None:
        """Nothing was learnt."""

    def prepare_model(self, model: nn.Module) -> None:
        """Nothing to fill."""


# Method -> module and class that learns from sentences: made by ``learn(config, sentences)`` or
# ``load(config, folder)``.
_LEARNING = {
    "camoe": ("camoe", "CamoeTextInputs"),
    "taco": ("taco", "TacoTextInputs"),
    "taco-clip": ("taco", "TacoTextInputs"),
}


def text_inputs_for(
    method: str,
    config: Any,
    *,
    training_sentences: Sequence[str] | None = None,
    state: Path | None = None,
    vocabulary: Path | None = None,
) -> TextInputs:
    """The preparation of a method's sentences.

    Args:
        method: as ``checkpoint.method_spec`` names it.
        config: the method's own config.
        training_sentences: to learn from, where there is something to learn.
        state: the folder ``save`` wrote to; used instead of the sentences.
        vocabulary: of TACo, from a file instead of the sentences.

    Raises:
        UsageError: a method that learns from its sentences got neither sentences nor a folder, or
            a vocabulary file is given to a method that has its own.
    """
    if vocabulary is not None and method not in ("taco", "taco-clip"):
        raise UsageError(f"data.vocabulary is for taco and taco-clip; {method} has its own.")
    if method in _LEARNING:
        module, name = _LEARNING[method]
        kind = getattr(import_module(f"finecut.learn.inputs.{module}"), name)
        if state is not None:
            return kind.load(config, Path(state))
        if training_sentences is None:
            raise UsageError(
                f"{method} prepares its sentences by what it learnt from the training sentences: "
                "give the run's text_state folder, or open the training split first."
            )
        known = {} if vocabulary is None else {"vocabulary": vocabulary}
        return kind.learn(config, training_sentences, **known)
    if method == "laff-starter":
        from finecut.learn.inputs.starter import StarterTextInputs

        return StarterTextInputs(config)
    if not hasattr(config, "clip"):
        raise UsageError(f"How sentences become inputs of {method} is not known.")
    return ClipTextInputs(config.clip.vocab_size, config.max_words)
