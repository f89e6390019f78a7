"""A fine-tuned starter as a bundle: the shipped graphs with the trained heads joined behind.

The starter's networks never were torch modules here, so there is nothing to export of them: their
ONNX graphs are cut where the features come out, and ours, exported, are put before and behind.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from finecut.errors import BundleError
from finecut.learn.export_plans import Plan
from finecut.learn.inputs.starter import Starter, must_be_this_starter, starter, with_outputs
from finecut.learn.methods.laff_starter import LaffStarter
from finecut.learn.onnx_graph import OPSET, session, to_onnx
from finecut.learn.starter.export import POOLED_VIEWS, SENTENCES

SINGLE, SINGLE_MASK, REAL = "single_frames", "single_mask", "real"
IR_VERSION = 8  # of the file format, what torch's exporter writes
STARTER = "starter."  # prefix of every name of the shipped graphs inside a joined one


def plan_laff_starter(model: LaffStarter) -> Plan:
    """The plan of a fine-tuned starter.

    Raises:
        UsageError: it was trained on another starter than the one that is here.
    """
    must_be_this_starter(model.config)
    model, base = copy.deepcopy(model).float().eval(), starter()
    config, manifest = model.config, base.bundle.manifest
    video, text = JoinedVideo(model, base), JoinedText(model, base)
    dim = config.recall_dim + config.common_dim
    return Plan(
        method="laff-starter",
        video=video,
        video_outputs=["recall_embeds", "frame_embeds"],
        text=text,
        text_outputs=["recall_query", "text_embeds"],
        tokenizer=base.bundle.files.read("tokenizer.json"),
        image_size=config.frame_size,
        max_frames=config.max_frames,
        max_words=manifest.text.max_words,
        vocab_size=base.tokenizer.get_vocab_size(),
        recall_dim=dim,
        embed_dim=dim,
        resize="squash",
        sos_eos=(101, 102),  # [CLS] and [SEP] of BERT's vocabulary
        provenance={
            "data": (*manifest.provenance.data, "fine-tuned on data of its maker's own"),
            "licence": f"of the starter within: {manifest.provenance.licence}",
        },
    )


class _Before(nn.Module):
    """Frames of clips → real frames, each as a clip of one frame."""

    def forward(self, frames: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        real = frame_mask.flatten().nonzero().squeeze(1)  # [M]
        single = frames.flatten(0, 1)[real][:, None]  # [M, 1, H, W, 3]
        return single, torch.ones_like(real, dtype=torch.bool)[:, None], real


class _VideoHead(nn.Module):
    """The starter's features of M real frames → tokens of N clips."""

    def __init__(self, model: LaffStarter, views: int) -> None:
        super().__init__()
        self.model, self.views = model, views

    def forward(
        self, pooled_views: Tensor, starter_recall: Tensor, real: Tensor, frame_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        features = torch.cat([pooled_views[:: self.views], starter_recall], dim=-1)  # [M, C]
        n, f = frame_mask.shape
        width = self.model.config.pooled_dim + self.model.config.recall_dim
        spread = torch.zeros(n * f, width).index_put((real,), features)
        tokens = self.model.encode_video(spread.reshape(n, f, width), frame_mask)
        return tokens.recall, tokens.frame_embeds  # type: ignore[return-value]


class _TextHead(nn.Module):
    def __init__(self, model: LaffStarter) -> None:
        super().__init__()
        self.model = model

    def forward(self, sentences: Tensor, starter_query: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.model.encode_text(torch.cat([sentences, starter_query], dim=-1))
        return tokens.recall, tokens.text_embeds  # type: ignore[return-value]


class JoinedVideo(nn.Module):
    """frames uint8 [N, F, H, W, 3], frame_mask [N, F] → recall_embeds, frame_embeds.

    ``forward`` is the reference: the starter by onnxruntime, the heads by torch.
    """

    def __init__(self, model: LaffStarter, base: Starter) -> None:
        super().__init__()
        self.before, self.head = _Before(), _VideoHead(model, base.views)
        self._graph = with_outputs(
            base.bundle.files.read("video.onnx"), [POOLED_VIEWS, "recall_embeds"]
        )
        self._run = session(self._graph)

    def forward(self, frames: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        single, mask, real = self.before(frames, frame_mask)
        made = self._run({"frames": single.numpy(), "frame_mask": mask.numpy()})
        features = (torch.from_numpy(made[name]) for name in (POOLED_VIEWS, "recall_embeds"))
        return self.head(*features, real, frame_mask)

    def onnx_bytes(self) -> bytes:
        """Before, starter and heads as one graph."""
        side = self.head.model.config.frame_size
        frames = torch.zeros(2, 3, side, side, 3, dtype=torch.uint8)
        mask = torch.tensor([[True, True, True], [True, True, False]])
        free = {"frames": {0: "N", 1: "F"}, "frame_mask": {0: "N", 1: "F"}}
        before = to_onnx(
            self.before,
            {"frames": frames, "frame_mask": mask},
            [SINGLE, SINGLE_MASK, REAL],
            free,
        )
        single, single_mask, real = self.before(frames, mask)
        made = self._run({"frames": single.numpy(), "frame_mask": single_mask.numpy()})
        head = to_onnx(
            self.head,
            {
                "pooled_views": torch.from_numpy(made[POOLED_VIEWS]),
                "starter_recall": torch.from_numpy(made["recall_embeds"]),
                REAL: real,
                "frame_mask": mask,
            },
            ["recall_embeds", "frame_embeds"],
            {
                "pooled_views": {0: "V"},
                "starter_recall": {0: "M"},
                REAL: {0: "M"},
                "frame_mask": {0: "N", 1: "F"},
            },
        )
        return join(
            [("before.", before), (STARTER, self._graph), ("head.", head)],
            {
                f"{STARTER}frames": f"before.{SINGLE}",
                f"{STARTER}frame_mask": f"before.{SINGLE_MASK}",
                "head.pooled_views": f"{STARTER}{POOLED_VIEWS}",
                "head.starter_recall": f"{STARTER}recall_embeds",
                f"head.{REAL}": f"before.{REAL}",
                "before.frames": "frames",
                "before.frame_mask": "frame_mask",
                "head.frame_mask": "frame_mask",
            },
            {"head.recall_embeds": "recall_embeds", "head.frame_embeds": "frame_embeds"},
        )


class JoinedText(nn.Module):
    """input_ids, word_mask [Q, W] → recall_query, text_embeds; ``forward`` as `JoinedVideo`'s."""

    def __init__(self, model: LaffStarter, base: Starter) -> None:
        super().__init__()
        self.head = _TextHead(model)
        self._graph = with_outputs(base.bundle.files.read("text.onnx"), [SENTENCES, "recall_query"])
        self._run = session(self._graph)

    def forward(self, input_ids: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        made = self._run({"input_ids": input_ids.numpy(), "word_mask": word_mask.numpy()})
        return self.head(*(torch.from_numpy(made[name]) for name in (SENTENCES, "recall_query")))

    def onnx_bytes(self) -> bytes:
        """Starter and heads as one graph."""
        config = self.head.model.config
        head = to_onnx(
            self.head,
            {
                "sentences": torch.zeros(2, config.sentence_dim),
                "starter_query": torch.zeros(2, config.recall_dim),
            },
            ["recall_query", "text_embeds"],
            {"sentences": {0: "Q"}, "starter_query": {0: "Q"}},
        )
        return join(
            [(STARTER, self._graph), ("head.", head)],
            {
                "head.sentences": f"{STARTER}{SENTENCES}",
                "head.starter_query": f"{STARTER}recall_query",
                f"{STARTER}input_ids": "input_ids",
                f"{STARTER}word_mask": "word_mask",
            },
            {"head.recall_query": "recall_query", "head.text_embeds": "text_embeds"},
        )


def join(parts: list[tuple[str, bytes]], wires: dict[str, str], outputs: dict[str, str]) -> bytes:
    """Several graphs as one.

    Args:
        parts: (prefix, model): every name of a model gets its prefix.
        wires: an input of a part → the tensor it is, of an earlier part or of the whole.
        outputs: a tensor of a part → its name in the whole.

    Raises:
        BundleError: the parts are of other operator sets.
    """
    import onnx
    from onnx.compose import add_prefix

    nodes, constants, inputs, made, known = [], [], {}, {}, {}
    for prefix, data in parts:
        model: Any = onnx.load_from_string(data)
        sets = {item.domain: item.version for item in model.opset_import}
        if sets.get("", OPSET) != OPSET:
            raise BundleError(f"A graph is of the operator set {sets['']}, expected {OPSET}.")
        known |= sets
        graph = add_prefix(model, prefix).graph
        for node in graph.node:
            for side in (node.input, node.output):
                for place, name in enumerate(side):
                    side[place] = (wires | outputs).get(name, name)
            nodes.append(node)
        constants += graph.initializer
        for item in graph.input:
            name = wires.get(item.name, item.name)
            if "." not in name:
                item.name = name
                inputs.setdefault(name, item)
        for item in graph.output:
            if item.name in outputs:
                item.name = outputs[item.name]
                made[item.name] = item
    whole = onnx.helper.make_graph(
        nodes,
        "finecut",
        list(inputs.values()),
        [made[name] for name in outputs.values()],
        initializer=constants,
    )
    opsets = [onnx.helper.make_opsetid(domain, number) for domain, number in known.items()]
    model = onnx.helper.make_model(whole, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model.SerializeToString()
