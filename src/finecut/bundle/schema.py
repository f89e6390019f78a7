"""Read a manifest from untrusted bytes into the strict models of `manifest.py`."""

from __future__ import annotations

import json

from pydantic import ValidationError

from finecut.bundle.manifest import SCHEMA_VERSION, Manifest
from finecut.errors import BundleError

MAX_MANIFEST_BYTES = 1 << 20  # a real manifest is a few kilobytes


def invalid(error: ValidationError) -> str:
    """A pydantic error in one line: each place and what is wrong there, at most five of them."""
    problems = []
    for item in error.errors(include_url=False)[:5]:
        place = ".".join(str(part) for part in item["loc"]) or "manifest"
        got = "" if item["type"] in ("missing", "extra_forbidden") else f", got {item['input']!r}"
        message = item["msg"].removeprefix("Value error, ")
        problems.append(f"{place}: {message}{got if len(got) < 80 else ''}")
    more = error.error_count() - len(problems)
    return "; ".join(problems) + (f"; and {more} more" if more > 0 else "") + "."


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest in ``data``.

    Raises:
        BundleError: too large, not JSON, another schema version, an unknown key or a bad value.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(
            f"{where}: manifest.json has {len(data)} bytes, expected at most {MAX_MANIFEST_BYTES}; "
            "this is no finecut bundle."
        )
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{where}: manifest.json is not JSON ({error}); the bundle is damaged: get it again."
        ) from error
    if not isinstance(fields, dict):
        raise BundleError(
            f"{where}: manifest.json must hold an object, got {type(fields).__name__}."
        )
    version = fields.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{where}: the bundle has schema version {version!r}, this finecut reads "
            f"{SCHEMA_VERSION}; update finecut, or get a bundle made for this version."
        )
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        raise BundleError(
            f"{where}: the manifest is not valid: {invalid(error)} "
            "See docs/bundle-format.md; a bundle made by a newer finecut needs a newer finecut."
        ) from error
