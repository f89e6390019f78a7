"""What docs/cluster.md says of Lance: a vector index can be built in parts and published as one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from finecut.index.tables import load_lance


def test_segments_built_apart_are_one_index(tmp_path):
    lance = load_lance()
    from lance.indices import IndicesBuilder

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2000, 16)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 16)
    place = str(tmp_path / "vectors.lance")
    table = lance.write_dataset(
        pa.table({"id": np.arange(2000), "v": column}), place, max_rows_per_file=500
    )
    trained = IndicesBuilder(table, "v").train_ivf(num_partitions=4, distance_type="dot")
    segments = [
        lance.dataset(place).create_index_uncommitted(
            "v",
            "IVF_FLAT",
            name="parts",
            metric="dot",
            num_partitions=4,
            ivf_centroids=trained.centroids,
            fragment_ids=[fragment.fragment_id],
        )
        for fragment in table.get_fragments()
    ]
    assert len(segments) == 4
    built = lance.dataset(place).commit_existing_index_segments("parts", "v", segments)
    assert built.stats.index_stats("parts")["num_indexed_rows"] == 2000
    query = vectors[7]
    found = built.to_table(
        columns=["id", "_distance"], nearest={"column": "v", "q": query, "k": 10, "nprobes": 4}
    )
    assert sorted(found["id"].to_pylist()) == sorted(np.argsort(-(vectors @ query))[:10].tolist())
