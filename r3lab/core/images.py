"""Safe pixels: any photograph that a person or a data set hands us becomes one RGB image, or one clear error.

The size is read from the header and checked before anything is decoded, only raster formats that Pillow decodes itself
are tried (never PostScript, which would start a program), and Pillow's global settings stay as they are. The path of an
image in a record is untrusted: it may not be absolute, hold `..`, a drive letter, a backslash or a control character,
and once links are followed it must still lie in the data folder and be a regular file. Simplified: colour profiles are
ignored, 16-bit and floating images are scaled to 8 bits, and of an animation the first frame counts.

    photo = open_image("street.jpg")
    crop = cut(photo, (812.5, 300.0, 1010.0, 420.5), size=(392, 252))
    picture("images/1.jpg", root)                           # of a record: the path, or bytes, or base64 text
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import math
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from .errors import R3labError, shown
from .geometry import Box, Size, clip
from .records import Refused

MAX_PIXELS = 128_000_000
Image.init()  # so that the next line sees every decoder this Pillow was built with
_KNOWN = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
FORMATS = tuple(name for name in _KNOWN if name in Image.OPEN)
_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WARNINGS = threading.Lock()


def open_image(source: str | Path | bytes | Image.Image, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image from wherever it comes.

    Parameters
    ----------
    source
        A path, the bytes of a file, or an image that Pillow has opened (its current frame; left unchanged).
    max_pixels
        Largest width times height that is decoded.

    Returns
    -------
    PIL.Image.Image
        RGB, upright by its EXIF orientation, transparency laid over white, without metadata; opening it again
        changes nothing.

    Raises
    ------
    R3labError
        If there is no such file, it is no image or a damaged one, or it is too large.
    """
    if isinstance(source, Image.Image):
        return _decode(source, "The image", max_pixels)
    if isinstance(source, bytes | bytearray):
        if not source:
            raise R3labError("The image has no bytes; give the content of an image file.")
        return _open(io.BytesIO(source), "The image", max_pixels)
    if not isinstance(source, str | Path):
        raise R3labError(f"An image must be a path, bytes or a PIL image, got {shown(source)}.")
    path, name = Path(source), f"Image {shown(Path(source))}"
    try:
        kind = path.stat()
        if stat.S_ISDIR(kind.st_mode):
            raise R3labError(f"{name} is a folder; give the path of an image file in it.")
        if not stat.S_ISREG(kind.st_mode):
            raise R3labError(f"{name} is not a regular file; give the path of an image file.")
        if kind.st_size == 0:
            raise R3labError(f"{name} is empty (0 bytes); copy or download it again.")
        with path.open("rb") as file:
            return _open(file, name, max_pixels)
    except (FileNotFoundError, NotADirectoryError):
        web = "download it first" if str(source).startswith(("http://", "https://")) else "check the path"
        raise R3labError(f"{name} does not exist; {web}.") from None
    except R3labError:
        raise
    except (OSError, ValueError) as error:  # no permission, a name too long, a null character in the name
        raise R3labError(f"{name} cannot be read: {shown(_why(error))}; check the path.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings (from 89 megapixels on, and about odd metadata): what matters is checked here."""
    with _WARNINGS, warnings.catch_warnings():  # not safe between threads, hence the lock
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _damage_told(name: str) -> Iterator[None]:
    """A hostile file can raise nearly anything from a decoder; here it becomes one clear line."""
    try:
        yield
    except R3labError:
        raise
    except Exception as error:
        raise R3labError(f"{name} is damaged: {shown(_why(error))}; save it again as PNG or JPEG.") from error


def _open(file: Any, name: str, max_pixels: int) -> Image.Image:
    with _damage_told(name):
        try:
            with _quiet():
                image = Image.open(file, formats=FORMATS)
        except Image.UnidentifiedImageError as error:
            raise R3labError(f"{name} is not an image that can be read; save it as PNG or JPEG.") from error
        except Image.DecompressionBombError as error:
            raise R3labError(f"{name} has far over {max_pixels:,} pixels; make it smaller first.") from error
    with image:  # decoding needs no lock, and threads may share the work
        return _decode(image, name, max_pixels)


def _decode(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    _check_size(image, name, max_pixels)
    with _damage_told(name):
        image.load()
        _check_size(image, name, max_pixels)  # some formats learn their true size only now
        upright, rgb = _UPRIGHT.get(_orientation(image)), _to_rgb(image)
        if upright is not None:
            rgb = rgb.transpose(upright)
    rgb.info = {}  # the orientation was applied: nobody may apply it again
    return rgb


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    w, h = image.size
    if w < 1 or h < 1:
        raise R3labError(f"{name} is {w} x {h} pixels; give an image of at least one pixel.")
    if w * h > max_pixels:
        raise R3labError(f"{name} is {w} x {h} = {w * h:,} pixels, over {max_pixels:,}; make it smaller first.")


def _why(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    try:
        with _quiet():
            value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged metadata must not cost the picture
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """A new RGB image, 8 bits a channel, transparency over white."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA") if image.mode != "La" else image.convert("LA").convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")  # a copy, even of an RGB image


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or floating, as 8-bit grey.

    Where the mode leaves the range open, the values decide: up to 1 (floating), up to 255, up to 65535; any
    other range is stretched from its lowest value to its highest.
    """
    sixteen = image.mode.startswith("I;16")
    if sixteen:
        image = image.convert("I")
    low, high = (float(v) for v in image.getextrema())  # type: ignore[arg-type, union-attr]  # one channel
    if not (math.isfinite(low) and math.isfinite(high)):
        raise R3labError("The image holds values that are not finite; replace them and save it again.")
    if sixteen or (low >= 0 and 255 < high <= 65535):
        offset, scale = 0.0, 255 / 65535
    elif low >= 0 and high <= 1 and image.mode == "F":
        offset, scale = 0.0, 255.0
    elif low >= 0 and high <= 255:
        offset, scale = 0.0, 1.0
    else:
        offset, scale = low, 255 / (high - low) if high > low else 1.0
    shift = 0.5 - offset * scale
    return image.convert("F").point(lambda v: v * scale + shift).convert("L")  # the conversion cuts fractions off


def content_hash(image: Image.Image) -> str:
    """The name of an image: SHA-256, 64 hex digits, over its size and its RGB bytes."""
    rgb = image if image.mode == "RGB" else _to_rgb(image)
    return hashlib.sha256(b"%d %d\n" % rgb.size + rgb.tobytes()).hexdigest()


def resize(image: Image.Image, size: Size) -> Image.Image:
    """The whole image at `size` (width, height): bicubic, antialiased.

    Examples
    --------
    >>> r3lab.resize(samples[0].image, (64, 48)).size
    (64, 48)
    """
    return image.resize(_positive(size), Image.Resampling.BICUBIC)


def cut(image: Image.Image, box: Box, size: Size) -> Image.Image:
    """Cut a region out of an image, to sub-pixel accuracy.

    Parameters
    ----------
    image
        The source photograph, not the overview: only it has the detail.
    box
        Source pixels, half-open; clipped to the image.
    size
        Width and height of the result.

    Raises
    ------
    R3labError
        If the box is empty, not finite or outside the image.

    Examples
    --------
    >>> r3lab.cut(samples[0].image, (10, 10, 50, 40), (80, 60)).size
    (80, 60)
    """
    inside = clip(box, image.size)
    if not all(map(math.isfinite, box)) or not (inside[2] > inside[0] and inside[3] > inside[1]):
        w, h = image.size
        raise R3labError(f"The box {shown(box)} has no part in an image of {w} x {h}; give x1 < x2, y1 < y2 inside.")
    return image.resize(_positive(size), Image.Resampling.BICUBIC, box=inside)


def _positive(size: Size) -> Size:
    if min(size) < 1:
        raise R3labError(f"Cannot make an image of {size[0]} x {size[1]} pixels; both sides must be at least 1.")
    return size


def to_png_bytes(image: Image.Image) -> bytes:
    """The image as a PNG file, without metadata (the same pixels give the same bytes)."""
    plain = image.convert("RGB") if image.mode == "RGB" else _to_rgb(image)
    plain.info = {}
    buffer = io.BytesIO()
    plain.save(buffer, format="PNG")
    return buffer.getvalue()


def data_uri(data: bytes, kind: str = "png") -> str:
    """The bytes of an image's file as a URI that holds it: ``data:image/png;base64,...``."""
    return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")


MAX_BYTES = 64 << 20  # of one image file, encoded or not
MAX_PATH = 1024  # characters
_DRIVE = re.compile(r"[A-Za-z]:")


def inside(folder: Path, name: object) -> Path:
    """The file that a record names.

    Parameters
    ----------
    folder
        The data folder.
    name
        From the record.

    Returns
    -------
    Path
        Of an existing regular file inside `folder`, links followed.

    Raises
    ------
    Refused
        If the path is malformed, leads out of the folder or to no file.
    """
    if not isinstance(name, str) or not name.strip():
        raise Refused("not a path", f"wanted text of 1 to {MAX_PATH} characters, got {shown(name)}")
    if len(name) > MAX_PATH:
        raise Refused("not a path", f"{shown(name)} has {len(name):,} characters, over {MAX_PATH}; shorten it")
    if not name.isprintable() or "\\" in name:
        raise Refused("a path with a backslash or a control character", f"{shown(name)}; write it with /")
    if name.startswith("/") or _DRIVE.match(name) or ".." in name.split("/"):
        raise Refused("a path that leaves the data folder", f"{shown(name)}; write it relative to the folder")
    try:
        root = os.path.realpath(folder)
        found = os.path.realpath(f"{root}/{name}")
        if os.path.commonpath((root, found)) != root:
            raise Refused("a path that leaves the data folder", f"{shown(name)} is a link out of it")
        mode = os.stat(found).st_mode
    except FileNotFoundError:
        place = f"{shown(name)} does not exist in {shown(str(folder))}"
        raise Refused("no such file", f"{place}; copy it there, or give the folder it is in") from None
    except (OSError, ValueError) as error:  # a name too long for the disk, a loop of links
        raise Refused("not a path", f"{shown(name)} cannot be read ({shown(str(error))})") from None
    if not stat.S_ISREG(mode):
        what = "is a folder" if stat.S_ISDIR(mode) else "is not a regular file"
        raise Refused("no such file", f"{shown(name)} {what}; name an image file in the data folder")
    return Path(found)


def picture(value: Any, root: Path, encoded: bool = False) -> Path | bytes:
    """Where the image of a record is: the file, or its bytes, as `images.open_image` and `measure` take it.

    Parameters
    ----------
    value
        Bytes of an image file; ``{"bytes": ..., "path": ...}``; a path relative to `root`; or base64 text.
    root
        Folder that paths may not leave.
    encoded
        True if text without a dot is base64 (a path to an image has one, base64 has none).

    Raises
    ------
    Refused
        If it is none of these, leads out of the folder, or is over 64 MiB.
    """
    if isinstance(value, dict):
        data = value.get("bytes")
        value = value.get("path") if data in (None, b"", "") else data
    if encoded and isinstance(value, str) and "." not in value:
        value = _decoded(value)
    if isinstance(value, bytes):
        _check_bytes(len(value), "it")
        return value
    if encoded and not isinstance(value, str):
        raise Refused("not an image", f"the image must be bytes, base64 or a path, got {shown(value)}")
    path = inside(root, value)
    _check_bytes(path.stat().st_size, shown(value))
    return path


def _check_bytes(size: int, name: str) -> None:
    if size > MAX_BYTES:
        raise Refused("an image that is too large", f"{name} has {size:,} bytes, over {MAX_BYTES:,}; make it smaller")


def _decoded(text: str) -> bytes:
    _check_bytes(len(text) * 3 // 4, "the base64 text")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        why = f"the image {shown(text, 40)} is neither base64 nor a path; give one of them"
        raise Refused("not an image", why) from None


def measure(source: Path | bytes) -> tuple[Size, bool]:
    """Upright width and height from an image's header, and whether an EXIF tag turns it.

    Raises
    ------
    Refused
        If it is no image, damaged, or over 128 million pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about many pixels and odd metadata: what matters is checked here
            with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS) as image:
                size, turn = image.size, 1
                if image.format != "PNG" or "exif" in image.info:  # asking a PNG without would decode it
                    turn = image.getexif().get(_ORIENTATION, 1)
    except Exception as error:  # a hostile header can raise nearly anything from a decoder
        raise Refused("not an image that can be read", shown(str(error))) from None
    if size[0] * size[1] > MAX_PIXELS or min(size) < 1:
        raise Refused("an image that is too large", f"{size[0]} x {size[1]} pixels, over {MAX_PIXELS:,}")
    return (size[1], size[0]) if turn in (5, 6, 7, 8) else size, turn in range(2, 9)
