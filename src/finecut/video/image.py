"""A picture from outside as one frame: the query "find what looks like this"."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from finecut.errors import LimitError, VideoError
from finecut.video.pixels import fit_picture
from finecut.video.spec import DEFAULT_LIMITS, DecodeSpec, Limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_BYTES = 256 << 20
# Formats Pillow reads itself; left out are those that start other programs (EPS) or hold documents.
_FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "PPM",
    "TGA",
    "ICO",
    "JPEG2000",
    "AVIF",
    "MPO",
)


def load_image(
    source: str | Path | bytes, spec: DecodeSpec, *, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """A picture as uint8 [1, height, width, 3] RGB, upright, by the spec's resize rule.

    Raises: as `open_picture`.
    """
    picture = open_picture(source, (2 * spec.width, 2 * spec.height), limits=limits)
    return fit_picture(picture, spec)[None]


def open_picture(
    source: str | Path | bytes, draft: tuple[int, int], *, limits: Limits = DEFAULT_LIMITS
) -> Image.Image:
    """A picture as RGB, upright, as large as it is; a large JPEG no larger than needed.

    The first picture of an animation is taken; what is transparent becomes white; 16-bit pictures
    are brought to 8 bits.

    Args:
        source: a file or its bytes.
        draft: width and height in pixels below which a JPEG is not decoded.
        limits: guards.

    Raises:
        VideoError: not a picture that can be read (``reason`` "missing", "empty", "unreadable").
        LimitError: larger than the limits allow.
    """
    name = "The image" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else _read(Path(source))
    if not data:
        raise VideoError(f"{name}: the file is empty.", reason="empty")
    if len(data) > _MAX_BYTES:
        raise LimitError(f"{name}: {len(data) >> 20} MiB, at most {_MAX_BYTES >> 20} are allowed.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own size warning; ours is below
            picture = Image.open(io.BytesIO(data), formats=_known_formats())
            if picture.width * picture.height > limits.max_pixels:
                raise LimitError(
                    f"{name}: {picture.width} x {picture.height} pixels, "
                    f"at most {limits.max_pixels} are allowed.",
                    reason="too many pixels",
                )
            picture.draft("RGB", draft)  # JPEG: decode it smaller
            picture.load()
            return _to_rgb(ImageOps.exif_transpose(picture))
    except LimitError:
        raise
    except Image.DecompressionBombError as error:
        raise LimitError(f"{name}: {error}.", reason="too many pixels") from error
    except UnidentifiedImageError as error:
        raise VideoError(
            f"{name}: not an image that can be read. Give a JPEG, PNG or WebP picture.",
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise VideoError(f"{name}: a damaged image ({str(error)[:100]}).") from error


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise VideoError(f"{path}: there is no such file.", reason="missing")
        if path.stat().st_size > _MAX_BYTES:
            raise LimitError(f"{path}: larger than {_MAX_BYTES >> 20} MiB.")
        return path.read_bytes()
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror}).") from error


def _known_formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, np.float64)
        top = 65535.0 if picture.mode.startswith("I") else max(1.0, float(np.nanmax(values)))
        scaled = np.clip(np.nan_to_num(values) * (255.0 / top), 0, 255).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(ground, picture).convert("RGB")
    return picture.convert("RGB")
