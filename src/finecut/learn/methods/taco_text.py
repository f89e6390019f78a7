"""TACo's text inputs: word pieces with the IDF weights of nouns and verbs.

The article weighs each noun and verb by IDF and normalises within the caption; all pieces of a
word get its weight. Ours where it is silent: weights sum to 1 over the pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from finecut.errors import UsageError
from finecut.learn.methods.taco import TACo
from finecut.text.idf import IdfTable, Word, sum_to_one
from finecut.text.tags import Tagged

if TYPE_CHECKING:
    from tokenizers import Tokenizer

INTEREST = frozenset({"NOUN", "VERB"})  # AUX, PRON and PROPN are not in the article's list


def caption_weights(
    words: Sequence[Word], idf: IdfTable, interest: frozenset[str] = INTEREST
) -> list[float]:
    """Weight of each piece of ``[CLS]`` words ``[SEP]``: sums to 1, or all 0 without interest.

    >>> table = IdfTable(4, {"dog": 1})
    >>> caption_weights([Word("a", "DET", ["a"]), Word("dog", "NOUN", ["d", "##og"])], table)
    [0.0, 0.0, 0.5, 0.5, 0.0]
    """
    return sum_to_one([0.0, *idf.piece_weights(words, interest), 0.0])


def text_inputs(
    captions: Sequence[Sequence[Tagged]],
    tokenizer: Tokenizer,
    idf: IdfTable,
    *,
    max_words: int = 30,
    interest: frozenset[str] = INTEREST,
) -> dict[str, Tensor]:
    """The keyword arguments of ``TACo.encode_text`` for tagged captions.

    Args:
        captions: words and tags of each.
        tokenizer: WordPiece, with tokens [CLS] and [SEP].
        idf: table of the training captions.
        max_words: pieces beyond are cut, [SEP] stays.
        interest: tags that count.

    Returns: input_ids [Q, W], word_mask [Q, W] bool, word_weights [Q, W] float32.
    """
    start, end = (_token_id(tokenizer, token) for token in ("[CLS]", "[SEP]"))
    ids, weights = [], []
    for words in captions:
        cut = [
            Word(w.word, w.tag, tokenizer.encode(w.word, add_special_tokens=False).ids)
            for w in words
        ]
        pieces = [piece for word in cut for piece in word.pieces][: max_words - 2]
        raw = idf.piece_weights(cut, interest)[: max_words - 2]
        ids.append([start, *pieces, end])
        weights.append(sum_to_one([0.0, *raw, 0.0]))
    length = max(map(len, ids), default=2)
    table = torch.zeros(len(ids), length, dtype=torch.long)
    mask = torch.zeros(len(ids), length, dtype=torch.bool)
    word_weights = torch.zeros(len(ids), length)
    for row, (pieces, values) in enumerate(zip(ids, weights, strict=True)):
        table[row, : len(pieces)] = torch.tensor(pieces)
        mask[row, : len(pieces)] = True
        word_weights[row, : len(values)] = torch.tensor(values)
    return {"input_ids": table, "word_mask": mask, "word_weights": word_weights}


def learn_piece_weights(
    model: TACo,
    captions: Sequence[Sequence[Tagged]],
    tokenizer: Tokenizer,
    idf: IdfTable,
    interest: frozenset[str] = INTEREST,
) -> int:
    """Fill the model's piece table: mean over a piece's occurrences of its word's IDF, 0 where
    the word is no noun or verb. An exported model weighs words by it, having no tagger.

    Returns: how many pieces have a weight.
    """
    total = torch.zeros_like(model.piece_weights)
    seen = torch.zeros_like(model.piece_weights)
    for words in captions:
        for word in words:
            weight = idf.idf(word.word) if word.tag in interest else 0.0
            for piece in tokenizer.encode(word.word, add_special_tokens=False).ids:
                total[piece] += weight
                seen[piece] += 1
    with torch.no_grad():
        model.piece_weights.copy_(total / seen.clamp(min=1))
    return int((model.piece_weights > 0).sum())


def _token_id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    if found is None:
        raise UsageError(f"the tokenizer has no {token}; TACo needs a BERT-type one.")
    return found
