"""The starter bundle with its recall vectors cut short: for its speed at other sizes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from finecut import Bundle
from finecut.bundle.place import starter_dir
from finecut.bundle.write import write_bundle

LEFT_OUT = ("schema_version", "fingerprint", "files", "rerank")
OUTPUTS = {"text.onnx": "recall_query", "video.onnx": "recall_embeds"}


def cut_starter(place: Path, dim: int) -> Bundle:
    """The starter without re-ranker, its recall vectors the first ``dim`` of its own."""
    import onnx

    starter = starter_dir()
    plain = json.loads((starter / "manifest.json").read_bytes())
    fields = {key: value for key, value in plain.items() if key not in LEFT_OUT}
    fields["name"] = f"starter-{dim}"
    fields["video"] = fields["video"] | {"recall_dim": dim}
    names = ("tokenizer.json", "query_bank.json")
    files: dict[str, bytes | Path] = {name: starter / name for name in names}
    bank = io.BytesIO()
    both = np.load(starter / "query_bank.npy", allow_pickle=False)  # recall vectors, then texts
    np.save(bank, np.delete(both, np.s_[dim : plain["video"]["recall_dim"]], axis=1))
    files["query_bank.npy"] = bank.getvalue()
    for name, output in OUTPUTS.items():
        model = onnx.load(starter / name)
        for node in model.graph.node:
            node.output[:] = [f"{output}_whole" if one == output else one for one in node.output]
            node.input[:] = [f"{output}_whole" if one == output else one for one in node.input]
        for kept, value in (("first", 0), ("stop", dim), ("axis", 1)):
            model.graph.initializer.append(
                onnx.numpy_helper.from_array(np.array([value], np.int64), f"cut_{kept}")
            )
        model.graph.node.append(
            onnx.helper.make_node(
                "Slice", [f"{output}_whole", "cut_first", "cut_stop", "cut_axis"], [output]
            )
        )
        for one in model.graph.output:
            if one.name == output:
                one.type.tensor_type.shape.dim[1].dim_value = dim
        files[name] = model.SerializeToString()
    write_bundle(place, fields, files, replace=True)
    return Bundle.load(place)
