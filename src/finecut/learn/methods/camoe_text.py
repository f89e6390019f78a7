"""CAMoE's sentence generation: the caption's nouns and verbs, three ways, as words and as ids.

RKW keeps the key words only; AKWE marks them in the whole sentence; MUW (the article's choice)
masks all others, positions kept. Entity = NOUN and PROPN, action = VERB without AUX. CLIP has no
mask token: one filler piece stands for each masked piece. A caption without a key word stays whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from finecut.errors import UsageError
from finecut.learn.methods.camoe import CAMoE, SentenceMode
from finecut.text.tags import Tagged

KEY_TAGS = {
    "entity": frozenset({"NOUN", "PROPN"}),
    "action": frozenset({"VERB"}),
}

Encode = Callable[[str], list[int]]
"""One word -> ids of its pieces, without start and end tokens."""


def key_flags(words: Sequence[Tagged], stream: str) -> list[bool]:
    """AKWE: which words are key words of the stream.

    >>> caption = [Tagged("a", "DET"), Tagged("man", "NOUN"), Tagged("sings", "VERB")]
    >>> key_flags(caption, "entity"), key_flags(caption, "action")
    ([False, True, False], [False, False, True])
    """
    return [word.tag in KEY_TAGS[stream] for word in words]


def retain_key_words(words: Sequence[Tagged], stream: str) -> list[str]:
    """RKW: the key words, in order.

    >>> retain_key_words([Tagged("a", "DET"), Tagged("man", "NOUN")], "entity")
    ['man']
    """
    return [w.word for w, key in zip(words, key_flags(words, stream), strict=True) if key]


def mask_useless_words(words: Sequence[Tagged], stream: str, mask: str = "[MASK]") -> list[str]:
    """MUW: every other word becomes ``mask``.

    >>> mask_useless_words([Tagged("a", "DET"), Tagged("man", "NOUN")], "entity")
    ['[MASK]', 'man']
    """
    return [w.word if key else mask for w, key in zip(words, key_flags(words, stream), strict=True)]


def stream_inputs(
    captions: Sequence[Sequence[Tagged]],
    encode: Encode,
    mode: SentenceMode,
    *,
    start_id: int,
    end_id: int,
    filler_id: int,
    max_words: int,
) -> dict[str, Tensor]:
    """The keyword arguments of ``CAMoE.encode_text`` for tagged captions.

    Args:
        captions: words and tags of each.
        encode: pieces of one word; with CLIP's tokeniser a sentence is cut word by word.
        mode: which of the three generations.
        start_id: of the tokeniser; ``end_id`` likewise, and higher than any other id.
        end_id: see ``start_id``.
        filler_id: what a masked piece becomes.
        max_words: cut to so many ids, start and end included.

    Returns: input_ids [Q, W] and entity_ids, action_ids [Q, W]; with AKWE entity_flags and
        action_flags [Q, W] bool instead. Padded with 0 to ``max_words``.
    """
    if mode not in ("RKW", "AKWE", "MUW"):
        raise UsageError(f"sentence mode {mode!r}; expected RKW, AKWE or MUW.")
    pieces = [[encode(word.word.lower()) for word in words] for words in captions]
    room = max_words - 2

    def rows(ids: list[list[int]]) -> Tensor:
        table = torch.zeros(len(ids), max_words, dtype=torch.long)
        for row, values in enumerate(ids):
            whole = [start_id, *values[:room], end_id]
            table[row, : len(whole)] = torch.tensor(whole)
        return table

    whole = [[i for word in words for i in word] for words in pieces]
    inputs = {"input_ids": rows(whole)}
    for stream in KEY_TAGS:
        flags = [
            [flag for flag, word in zip(key_flags(c, stream), p, strict=True) for _ in word]
            for c, p in zip(captions, pieces, strict=True)
        ]  # per piece
        if mode == "AKWE":
            table = torch.zeros(len(flags), max_words, dtype=torch.bool)
            for row, values in enumerate(flags):
                table[row, 1 : 1 + len(values[:room])] = torch.tensor(values[:room], dtype=bool)
            inputs[f"{stream}_flags"] = table
            continue
        generated = []
        for ids, keep in zip(whole, flags, strict=True):
            if not any(keep):
                generated.append(ids)
            elif mode == "RKW":
                generated.append([i for i, k in zip(ids, keep, strict=True) if k])
            else:
                generated.append([i if k else filler_id for i, k in zip(ids, keep, strict=True)])
        inputs[f"{stream}_ids"] = rows(generated)
    return inputs


def learn_key_pieces(
    model: CAMoE, captions: Sequence[Sequence[Tagged]], encode: Encode
) -> tuple[int, int]:
    """Fill the model's piece table from tagged training captions: a piece is a noun's (a verb's)
    if more than half of its occurrences are. An exported model masks by this table, for want of
    a tagger at search time.

    Returns: how many pieces are nouns', how many verbs'.
    """
    seen = torch.zeros(model.key_pieces.shape[1])
    counts = torch.zeros(model.key_pieces.shape)
    for words in captions:
        for word in words:
            for piece in encode(word.word.lower()):
                seen[piece] += 1
                for row, stream in enumerate(KEY_TAGS):
                    counts[row, piece] += word.tag in KEY_TAGS[stream]
    with torch.no_grad():
        model.key_pieces.copy_(counts > seen / 2)
    nouns, verbs = model.key_pieces.sum(dim=1).tolist()
    return int(nouns), int(verbs)
