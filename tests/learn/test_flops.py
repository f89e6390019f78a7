"""The published saving of EERCF, from its formulas."""

from __future__ import annotations

import pytest

from finecut.learn import flops


def test_the_published_ratios_come_out() -> None:
    ratios = flops.published_ratios()
    for test_set in flops.TEST_SETS:
        assert round(ratios[test_set.name]) == test_set.claimed_ratio
    assert sum(ratios.values()) / len(ratios) == pytest.approx(49.8, abs=0.05)  # "nearly 50"


def test_the_honest_ratios_are_about_half() -> None:
    assert [round(r) for r in flops.honest_ratios().values()] == [7, 20, 10, 64]


@pytest.mark.parametrize(
    "name, reference, eercf, coarse",
    [
        ("MSRVTT-1K", 219.6, 15.87, 0.51),
        ("MSRVTT-3K", 656.7, 16.89, 1.53),
        ("VATEX", 329.5, 16.13, 0.77),
        ("ActivityNet", 10636.5, 84.44, 2.52),
    ],
)
def test_millions_of_multiply_adds(
    name: str, reference: float, eercf: float, coarse: float
) -> None:
    s = next(s for s in flops.TEST_SETS if s.name == name)
    got = flops.multi_grained_cost(s.clips, s.words, s.frames)
    assert got / 1e6 == pytest.approx(reference, abs=0.06)
    assert flops.eercf_cost(s.clips, s.frames) / 1e6 == pytest.approx(eercf, abs=0.006)
    assert flops.coarse_cost(s.clips) / 1e6 == pytest.approx(coarse, abs=0.006)


def test_every_method_is_listed_for_every_test_set() -> None:
    tables = [flops.costs(s) for s in flops.TEST_SETS]
    assert len({tuple(c.method for c in table) for table in tables}) == 1
    for word in ("CLIP4Clip", "LAFF", "CAMoE", "EERCF", "TACo", "X-CLIP"):
        assert any(word in cost.method for cost in tables[0]), word
    for cost in (c for table in tables for c in table):
        assert cost.honest >= (cost.published or 0)


def test_recalling_first_makes_a_cross_encoder_affordable() -> None:
    all_pairs = flops.cross_cost(1000, 13, 4)
    top_50 = flops.cross_cost(1000, 13, 4, k=50)
    assert all_pairs / top_50 == pytest.approx(20, rel=0.01)
    assert flops.cross_cost(10, 13, 4, k=50) == 10 * flops.transformer_cost(13, 4) + 5120
