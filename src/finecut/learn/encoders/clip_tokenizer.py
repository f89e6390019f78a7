"""OpenAI's byte-pair tokeniser, built on Hugging Face ``tokenizers``.

One object serves training and export: ``save`` writes the tokenizer.json that a bundle carries.
Checked equal to the official tokeniser by the golden files.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import re
from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from finecut.errors import BundleError, UsageError

_MERGES = Path(__file__).parent / "vocab" / "bpe_simple_vocab_16e6.txt.gz"
_MERGES_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
FULL_VOCAB = 49408
_BYTES = 256
SOT, EOT = "<|startoftext|>", "<|endoftext|>"
_WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def clean_text(text: str) -> str:
    """Text as the official tokeniser sees it: repaired, unescaped twice, one space, lower case.

    Mojibake is repaired by ftfy where it is installed; without it the text is NFC-normalised,
    which is the same for text that was not broken.

    >>> clean_text("  Rock &amp;amp;  ROLL ")
    'rock & roll'
    """
    try:
        import ftfy
    except ImportError:
        import unicodedata

        text = unicodedata.normalize("NFC", text)
    else:
        text = ftfy.fix_text(text)
    text = html.unescape(html.unescape(text))
    return re.sub(r"\s+", " ", text.strip()).strip().lower()


class ClipTokenizer:
    """Text → ids [SOT] words [EOT], padded with 0.

    Args:
        vocab_size: 49,408 for every published CLIP. Smaller ones, of at least 514, keep only the
            first merges: a tiny model for tests need not carry the whole table.
    """

    def __init__(self, vocab_size: int = FULL_VOCAB) -> None:
        if not 2 * _BYTES + 2 <= vocab_size <= FULL_VOCAB:
            raise UsageError(f"vocab_size must be 514 to {FULL_VOCAB}, got {vocab_size}.")
        self.vocab_size = vocab_size
        self.sot, self.eot = vocab_size - 2, vocab_size - 1
        self.backend = _build(vocab_size)

    def encode(self, text: str, max_words: int) -> list[int]:
        """Ids without padding. Cut to ``max_words`` − 1 before the end token is put on.

        >>> ClipTokenizer().encode("a man is playing a guitar", 32)
        [49406, 320, 786, 533, 1629, 320, 5084, 49407]
        """
        if max_words < 2:
            raise UsageError(f"max_words must be at least 2 (start and end), got {max_words}.")
        ids = self.backend.encode(clean_text(text), add_special_tokens=False).ids
        return [self.sot, *ids[: max_words - 2], self.eot]

    def __call__(self, texts: list[str], max_words: int = 32) -> tuple[Tensor, Tensor]:
        """Ids [B, max_words] padded with 0, and word_mask [B, max_words], True = real."""
        rows = [self.encode(text, max_words) for text in texts]
        ids = torch.zeros(len(rows), max_words, dtype=torch.long)
        mask = torch.zeros(len(rows), max_words, dtype=torch.bool)
        for row, values in enumerate(rows):
            ids[row, : len(values)] = torch.tensor(values)
            mask[row, : len(values)] = True
        return ids, mask

    def save(self, path: Path | str, max_words: int = 77) -> None:
        """Write tokenizer.json: truncates to ``max_words``, pads with 0 to the longest of a call.

        Everything but ftfy and HTML entities is in the file, so a query typed by a person gets
        the very ids that training used.
        """
        tokenizer = Tokenizer.from_str(self.backend.to_str())
        tokenizer.enable_truncation(max_words)
        tokenizer.enable_padding(pad_id=0, pad_token="!")
        tokenizer.save(str(path))


@lru_cache(maxsize=4)
def _build(vocab_size: int) -> Tokenizer:
    merges = _read_merges()[: vocab_size - 2 * _BYTES - 2]
    letters = list(_byte_letters().values())
    names = letters + [f"{letter}</w>" for letter in letters]
    names += ["".join(pair) for pair in merges] + [SOT, EOT]
    tokenizer = Tokenizer(
        BPE(
            vocab={name: index for index, name in enumerate(names)},
            merges=merges,
            end_of_word_suffix="</w>",
            unk_token=EOT,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORD), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([SOT, EOT])
    tokenizer.post_processor = TemplateProcessing(
        single=f"{SOT} $A {EOT}",
        special_tokens=[(SOT, vocab_size - 2), (EOT, vocab_size - 1)],
    )
    return tokenizer


def _read_merges() -> list[tuple[str, str]]:
    raw = _MERGES.read_bytes()
    if hashlib.sha256(raw).hexdigest() != _MERGES_SHA256:
        raise BundleError(f"'{_MERGES.name}' was changed: its sha256 is not the published one.")
    lines = gzip.decompress(raw).decode("utf-8").split("\n")
    pairs = [line.split() for line in lines[1 : FULL_VOCAB - 2 * _BYTES - 2 + 1]]
    return [(first, second) for first, second in pairs]


def _byte_letters() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte, in the order that numbers CLIP's first ids."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(_BYTES) if byte not in printable]
    table = {byte: chr(byte) for byte in printable}
    table.update({byte: chr(_BYTES + index) for index, byte in enumerate(others)})
    return table
