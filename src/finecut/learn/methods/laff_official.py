"""Reads the released LAFF and LAFF-ml checkpoints into ``LAFF``: names, sizes and weights.

The layout carries all sizes; what it does not carry (the margin, dropout in training) keeps the
released defaults. Leftovers that never had an effect are dropped and reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from finecut.errors import UsageError
from finecut.learn.methods.laff import LAFF, LaffConfig

TEXT_ORDER = (
    "rnn_encoder",
    "bert_encoder",
    "bow_encoder",
    "w2v_encoder",
    "CLIP_encoder",
    "NetVLAD_encoder",
)
"""Order in which the released code stacks text features; others follow, sorted by file order."""

UNUSED = re.compile(r"global_emb_weight_net|layer_norm\.|num_batches_tracked")


@dataclass(frozen=True)
class Imported:
    """A model in eval mode, and the keys of the file that were not needed."""

    model: LAFF
    ignored: tuple[str, ...]


def import_official(state: Mapping[str, Tensor], *, margin: float = 0.2) -> Imported:
    """``LAFF`` with the weights of a released ``vis_net.* / txt_net.*`` state dict.

    Args:
        state: tensors by official key; load files with ``weights_only=True``.
        margin: of the triplet loss; not in the file.

    Raises:
        UsageError: the layout is not LAFF's, or keys with an effect are left over.
    """
    left = set(state)
    ml = any(key.startswith("vis_net.frame_attention.") for key in state)
    video_root = "vis_net." if ml else "vis_net.VisMutiTransformNet."
    video_heads = "vis_net.vis_attention_layer." if ml else _video_attention_root(state)
    text_root, text_heads = "txt_net.transform_layer.", "txt_net.attention_layer."

    video_names = _feature_names(state, video_root)
    frames = tuple(n for n in video_names if f"vis_net.frame_attention.{n}.0" in _stems(state))
    text_names = [n.removesuffix("_transform") for n in _feature_names(state, text_root)]
    text_names.sort(key=lambda n: TEXT_ORDER.index(n) if n in TEXT_ORDER else len(TEXT_ORDER))
    if not video_names or not text_names:
        raise UsageError(
            "import_official: no transforms under vis_net and txt_net; expected a state dict of "
            "the released LAFF or LAFF-ml model."
        )

    heads, chunk = _head_sizes(state, video_heads)
    common = heads * chunk
    no_transform: set[str] = set()

    def size_of(root: str, name: str, official: str) -> int:
        key = f"{root}{official}.fc1.weight"
        if key in state:
            return state[key].shape[1]
        no_transform.add(name)
        return common // heads

    video = {n: size_of(video_root, n, n) for n in video_names if n not in frames}
    frame = {n: size_of(video_root, n, n) for n in frames}
    text = {n: size_of(text_root, n, f"{n}_transform") for n in text_names}
    transformed = [(video_root, n) for n in video_names if n not in no_transform]
    transformed += [(text_root, f"{n}_transform") for n in text_names if n not in no_transform]
    batch_norm = any(f"{root}{n}.bn1.weight" in state for root, n in transformed)

    gru: dict[str, Any] = {}
    if "txt_net.encoder.rnn_encoder.we.weight" in state:
        words, embed = state["txt_net.encoder.rnn_encoder.we.weight"].shape
        gru = {"gru": "rnn_encoder", "gru_words": words, "gru_embed_dim": embed}
    config = LaffConfig(
        video_features=video,
        text_features=text,
        frame_features=frame,
        no_transform=tuple(sorted(no_transform)),
        common_dim=common,
        heads=heads,
        batch_norm=batch_norm,
        margin=margin,
        **gru,
    )
    model = LAFF(config)

    ours: dict[str, Tensor] = {}

    def take(key: str) -> Tensor:
        left.discard(key)
        return state[key]

    def take_transform(side: str, root: str, name: str, official: str) -> None:
        here = f"{side}.transforms.{name.replace('.', '·')}"
        for theirs, mine in (("fc1", "fc"), ("bn1", "norm")):
            for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                key = f"{root}{official}.{theirs}.{part}"
                if key in state:
                    ours[f"{here}.{mine}.{part}"] = take(key)

    def take_heads(here: str, prefix: str, suffix: str, count: int) -> None:
        rows = [f"{prefix}{i}{suffix}" for i in range(count)]
        ours[f"{here}.weight"] = torch.cat([take(f"{row}.weight") for row in rows])
        ours[f"{here}.bias"] = torch.cat([take(f"{row}.bias") for row in rows])

    for name in video_names:
        take_transform("video_side", video_root, name, name)
    for name in text_names:
        take_transform("text_side", text_root, name, f"{name}_transform")
    for side, prefix in (("video_side", video_heads), ("text_side", text_heads)):
        take_heads(f"{side}.fuse", f"{prefix}attention_layer.", ".embedding_common.0", heads)
    for name in frames:
        take_heads(
            f"frame_fusion.{name.replace('.', '·')}",
            f"vis_net.frame_attention.{name}.",
            ".embedding_common.0",
            1,
        )
    if gru:
        theirs = "txt_net.encoder.rnn_encoder."
        ours["gru.embedding.weight"] = take(f"{theirs}we.weight")
        for part in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            ours[f"gru.gru.{part}"] = take(f"{theirs}rnn.{part}")

    effective = sorted(key for key in left if not UNUSED.search(key))
    if effective:
        raise UsageError(
            f"import_official: {len(effective)} keys have no place in LAFF, first {effective[:3]}; "
            "the file holds another model or variant."
        )
    dtype = next(iter(ours.values())).dtype
    model.to(dtype).load_state_dict(ours)
    return Imported(model.eval(), tuple(sorted(left)))


def _feature_names(state: Mapping[str, Tensor], root: str) -> list[str]:
    """Names that own a transform under ``root``, in file order."""
    pattern = re.compile(re.escape(root) + r"(.+?)\.(?:fc1|bn1)\.weight$")
    found = (pattern.match(key) for key in state)
    return list(dict.fromkeys(match.group(1) for match in found if match))


def _stems(state: Mapping[str, Tensor]) -> set[str]:
    return {key.split(".embedding_common")[0] for key in state}


def _video_attention_root(state: Mapping[str, Tensor]) -> str:
    pattern = re.compile(r"(vis_net\.\w+\.)attention_layer\.0\.embedding_common\.0\.weight$")
    roots = [match.group(1) for match in map(pattern.match, state) if match]
    if len(roots) != 1:
        raise UsageError(
            f"import_official: {len(roots)} video attention layers, expected one; is this LAFF?"
        )
    return roots[0]


def _head_sizes(state: Mapping[str, Tensor], prefix: str) -> tuple[int, int]:
    pattern = re.compile(
        re.escape(prefix) + r"attention_layer\.(\d+)\.embedding_common\.0\.weight$"
    )
    found = {int(m.group(1)): state[m.group(0)] for m in map(pattern.match, state) if m}
    if not found:
        raise UsageError(f"import_official: no attention heads under {prefix}.")
    return len(found), found[0].shape[1]
