"""The published code's own numbers, recomputed: `pytest tests/golden --golden DIR`."""
