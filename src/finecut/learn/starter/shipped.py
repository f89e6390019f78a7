"""Parts of shipped graphs run alone: heads on ready-made features, without the backbones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finecut.learn.starter.data import Pairs
from finecut.learn.starter.export import POOLED_VIEWS, SENTENCES

_BATCH = 500


def run_part(data: bytes, feeds: dict[str, NDArray], outputs: list[str]) -> list[NDArray]:
    """Outputs of a graph from some tensors inside it on: everything before them is cut off."""
    import onnx
    import onnxruntime
    from onnx import helper
    from onnx.utils import Extractor

    model = onnx.load_from_string(data)
    known = {item.name for item in (*model.graph.input, *model.graph.output)}
    for name in {*feeds, *outputs} - known:
        # Inner tensors, of which the file does not say the shape.
        kind = onnx.TensorProto.FLOAT
        model.graph.value_info.append(helper.make_tensor_value_info(name, kind, None))
    part = Extractor(model).extract_model(list(feeds), outputs)
    session = onnxruntime.InferenceSession(
        part.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(outputs, feeds)


def recall_of_images(video_graph: bytes, images: NDArray[np.float32], views: int) -> NDArray:
    """[N, R] recall vectors, by the shipped video graph, of images known by pooled features only.

    Each counts as a clip of one frame; its regions, which recall does not read, repeat the frame.
    """
    found = []
    for start in range(0, len(images), _BATCH):
        part = images[start : start + _BATCH]
        feeds = {
            POOLED_VIEWS: np.repeat(part, views, axis=0),
            "frame_mask": np.ones((len(part), 1), bool),
        }
        found.append(run_part(video_graph, feeds, ["recall_embeds"])[0])
    return np.concatenate(found)


def recall_of_sentences(text_graph: bytes, sentences: NDArray[np.float32]) -> NDArray:
    """[Q, R] recall queries, by the shipped text graph, of ready-made MiniLM vectors."""
    return run_part(text_graph, {SENTENCES: sentences}, ["recall_query"])[0]


def image_recall(
    video_graph: bytes, text_graph: bytes, pairs: Pairs, views: int
) -> dict[str, float]:
    """R@1, R@5, R@10 and MdR of captions among images, through the shipped heads."""
    from finecut.metrics import ranks, summary

    gallery = recall_of_images(video_graph, pairs.images.numpy(), views)
    queries = recall_of_sentences(text_graph, pairs.queries.numpy())
    return summary(ranks(queries @ gallery.T, pairs.targets.numpy()), ks=(1, 5, 10))
