"""Whatever claims to be an image becomes upright RGB, or one clear error; Pillow's own settings stay as they are."""

from __future__ import annotations

import base64
import io
import random
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageFile

from r3lab.core.errors import R3labError
from r3lab.core.images import MAX_PIXELS, content_hash, cut, data_uri, open_image, resize, to_png_bytes

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def noise(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
    count = size[0] * size[1] * len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, size, random.Random(seed).randbytes(count))


def packed(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width: int, height: int, depth: int, colour: int, data: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = b"".join((chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")))
    return b"\x89PNG\r\n\x1a\n" + body


def pixels(image: Image.Image) -> list[tuple[int, ...]]:
    return [image.getpixel((x, y)) for y in range(image.height) for x in range(image.width)]


@pytest.fixture(autouse=True)
def pillow_stays_as_it_was():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    yield
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


# ------------------------------------------------------------------ orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright_once(orientation: int, tmp_path: Path) -> None:
    upright, exif = noise((5, 3)), Image.Exif()
    undo = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270"]
    stored = upright  # as a camera that is held so stores it
    if orientation > 1:
        stored = upright.transpose(Image.Transpose[undo[orientation - 2]])
    exif[0x0112] = orientation
    data = packed(stored, exif=exif)
    opened = open_image(data)
    assert opened.size == (5, 3) and opened.tobytes() == upright.tobytes()
    again = open_image(to_png_bytes(opened))
    assert open_image(opened).tobytes() == again.tobytes() == upright.tobytes()  # and never a second time
    opened.save(tmp_path / "saved.png")
    assert open_image(tmp_path / "saved.png").tobytes() == upright.tobytes()
    with Image.open(io.BytesIO(data)) as unread:
        assert open_image(unread).tobytes() == upright.tobytes()


@pytest.mark.parametrize("value", [0, 9, 65535, None])
def test_nonsense_in_exif_does_not_cost_the_picture(value: int | None) -> None:
    exif, picture = Image.Exif(), noise((4, 2))
    if value is not None:
        exif[0x0112] = value
    damaged = b"Exif\x00\x00II*\x00\xff\xff\xff\x7fgarbage"
    assert open_image(packed(picture, exif=damaged if value is None else exif)).tobytes() == picture.tobytes()


# ------------------------------------------------------------------ modes


def palette(transparent: bool) -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN] + [0] * 762)
    image.putpixel((1, 0), 1)
    if transparent:
        image.info["transparency"] = 0
    return image


def row(mode: str, *values: Any) -> Image.Image:
    image = Image.new(mode, (len(values), 1))
    for x, value in enumerate(values):
        image.putpixel((x, 0), value)
    return image


def grey(*values: int) -> list[tuple[int, int, int]]:
    return [(v, v, v) for v in values]


CLEAR = chunk(b"tRNS", b"\xff\xff")
MODES: dict[str, tuple[Callable[[], object], list[tuple[int, ...]]]] = {
    "1 bit": (lambda: packed(row("1", 0, 1)), [BLACK, WHITE]),
    "L": (lambda: packed(row("L", 0, 100, 255)), grey(0, 100, 255)),
    "LA": (lambda: packed(row("LA", (0, 255), (0, 0), (100, 255))), grey(0, 255, 100)),
    "La in memory": (lambda: row("LA", (50, 255), (0, 0)).convert("La"), grey(50, 255)),
    "RGB": (lambda: packed(row("RGB", RED, BLUE)), [RED, BLUE]),
    "RGBA": (lambda: packed(row("RGBA", (*RED, 255), (*RED, 0))), [RED, WHITE]),
    "RGBa in memory": (lambda: row("RGBA", (*RED, 255), (*RED, 0)).convert("RGBa"), [RED, WHITE]),
    "palette": (lambda: packed(palette(False)), [RED, GREEN]),
    "palette, transparent": (lambda: packed(palette(True)), [WHITE, GREEN]),
    "PA in memory": (lambda: row("RGBA", (50, 50, 50, 255), (0, 0, 0, 0)).convert("PA"), grey(50, 255)),
    "CMYK tiff": (lambda: packed(row("CMYK", (0, 255, 255, 0), (0, 0, 0, 0)), "TIFF"), [RED, WHITE]),
    "16 bit png": (lambda: packed(row("I;16", 0, 257, 25700, 65535)), grey(0, 1, 100, 255)),
    "16 bit png, dark": (lambda: packed(row("I;16", 0, 200)), grey(0, 1)),  # not stretched: 200 is nearly black
    "16 bit big-endian png": (lambda: png_of(2, 1, 16, 0, b"\x00\x00\x00\x64\x64"), grey(0, 100)),
    "16 bit with a transparent grey": (lambda: png_of(2, 1, 16, 0, b"\x00\xff\xff\x64\x64", CLEAR), grey(255, 100)),
    "16 bit rgba": (lambda: png_of(1, 1, 16, 6, b"\x00" + b"\xff\xff\x00\x00\x00\x00\x00\x00"), [WHITE]),
    "I of 16 bit values": (lambda: packed(row("I", 0, 25700, 65535), "TIFF"), grey(0, 100, 255)),
    "I of 32 bit values": (lambda: row("I", 0, 2**31 - 1), grey(0, 255)),
    "I of one value": (lambda: row("I", -7, -7), grey(0, 0)),
    "F from 0 to 1": (lambda: packed(row("F", 0.0, 0.5, 1.0), "TIFF"), grey(0, 128, 255)),
    "F from 0 to 255": (lambda: row("F", 0.0, 99.6, 255.0), grey(0, 100, 255)),
    "F with negatives": (lambda: row("F", -1.0, 0.0, 1.0), grey(0, 128, 255)),
    "YCbCr": (lambda: row("RGB", WHITE, BLACK).convert("YCbCr"), [WHITE, BLACK]),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb(name: str) -> None:
    make, expected = MODES[name]
    image = open_image(make())  # type: ignore[arg-type]
    assert image.mode == "RGB" and pixels(image) == expected
    assert image.info == {}
    again = open_image(image)
    assert again is not image and again.tobytes() == image.tobytes()


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation(form: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if form == "WEBP" else {}
    data = packed(frames[0], form, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as animated:
        assert animated.n_frames == 3
    assert set(pixels(open_image(data))) == {RED}


@pytest.mark.parametrize("form", ["BMP", "PPM", "JPEG2000", "WEBP", "AVIF"])
def test_other_formats(form: str) -> None:
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow cannot write {form}")
    image = open_image(packed(Image.new("RGB", (32, 16), (200, 40, 40)), form))
    assert image.size == (32, 16)
    assert all(abs(a - b) < 8 for a, b in zip(image.getpixel((9, 9)), (200, 40, 40), strict=True))


def test_a_path_a_string_bytes_and_an_image_give_the_same_and_the_callers_image_is_left_alone(tmp_path: Path) -> None:
    picture = noise((6, 5))
    path = tmp_path / "név with spaces 图.png"
    path.write_bytes(packed(picture))
    for source in (path, str(path), path.read_bytes(), picture):
        assert open_image(source).tobytes() == picture.tobytes()
    for image in (palette(True), picture):
        before = (image.mode, image.tobytes(), dict(image.info))
        open_image(image).putpixel((0, 0), BLACK)
        assert (image.mode, image.tobytes(), dict(image.info)) == before


def test_the_file_is_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(packed(noise((4, 4))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a file left open is a ResourceWarning
        open_image(path)
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(R3labError):
            open_image(path)


# ------------------------------------------------------------------ what is refused

PNG, JPEG = packed(noise((64, 64))), packed(noise((64, 64)), "JPEG")
BOMB = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 80_000_000))
BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no bytes"),
    "text": (b"I am a text file that is named .png\n" * 20, "not an image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nquit\n", "not an image"),
    "pickle": (b"\x80\x04\x95cos\nsystem\n(S'id'\ntR.", "not an image"),
    "signature only": (PNG[:8], "not an image"),
    "truncated png": (PNG[: len(PNG) // 2], "damaged"),
    "truncated jpeg": (JPEG[: len(JPEG) // 2], "damaged"),
    "truncated webp": (packed(noise((64, 64)), "WEBP")[:500], ""),
    "flipped bit": (PNG[:60] + bytes([PNG[60] ^ 255]) + PNG[61:], "damaged"),
    "no pixels in it": (png_of(8, 8, 8, 2, b""), "damaged"),
    "bomb of 3.6 gigapixels": (png_of(60_000, 60_000, 8, 2, b""), "pixels"),
    "bomb just over": (png_of(16_000, 8_001, 1, 0, b""), "128,016,000 pixels"),
    "bomb in a text chunk": (png_of(1, 1, 8, 0, b"\0\0", BOMB), ""),
    "not a number": (packed(row("F", float("nan"), 1.0), "TIFF"), "not finite"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_image_is_one_clear_line(name: str, tmp_path: Path) -> None:
    data, words = BROKEN[name]
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    start = time.process_time()
    for source, called in ((data, "The image"), (path, "photo.png")):
        with pytest.raises(R3labError) as caught:
            open_image(source)
        message = str(caught.value)
        assert (words if data or source is data else "0 bytes") in message
        assert called in message or words == "not finite"
        assert message.isprintable() and len(message) < 400
        assert ";" in message  # what to do stands behind it
    assert time.process_time() - start < 2


def test_random_damage_never_escapes_as_another_error() -> None:
    rng = random.Random(3)
    forms = [("PNG", "RGB"), ("PNG", "LA"), ("JPEG", "RGB"), ("GIF", "L"), ("BMP", "RGB"), ("TIFF", "RGB")]
    forms += [(form, "RGB") for form in ("WEBP", "JPEG2000") if form in Image.SAVE]
    originals = [packed(noise((24, 24), mode), form) for form, mode in forms]
    refused = 0
    for _ in range(300):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(min(len(data), rng.choice([40, 200, 10_000])))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        try:
            image = open_image(bytes(data), max_pixels=4_000_000)
            assert image.mode == "RGB" and min(image.size) >= 1
        except R3labError as error:
            refused += 1
            assert str(error).isprintable() and len(str(error)) < 400
    assert refused > 50


NOWHERE = {
    "missing.png": "does not exist",
    ".": "is a folder",
    "a\x00b.png": "",
    "https://example.org/a.png": "download it first",
    "\x1b[31mred\u202e.png": "does not exist",
    "/dev/zero": "regular file",
    None: "must be a path",
    7: "must be a path",
}


@pytest.mark.parametrize("source", NOWHERE, ids=range(len(NOWHERE)))
def test_a_path_that_leads_nowhere(source: Any) -> None:
    if source == "/dev/zero" and not Path(source).exists():
        pytest.skip("no /dev/zero here")
    with pytest.raises(R3labError) as caught:
        open_image(source)
    message = str(caught.value)
    assert NOWHERE[source] in message and message.isprintable() and len(message) < 300
    message.encode()


def test_an_image_in_memory_is_checked_too() -> None:
    for size, most, words in (((0, 5), 99, "at least one pixel"), ((10, 10), 99, "over 99;")):
        with pytest.raises(R3labError, match=words):
            open_image(Image.new("RGB", size), max_pixels=most)
    assert open_image(Image.new("RGB", (10, 10)), max_pixels=100).size == (10, 10)


def test_what_pillow_warns_of_opens_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    """As 100 megapixels do; here they are 1600 pixels, over a limit of Pillow's of 1000."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    data = packed(noise((40, 40)))
    with pytest.warns(Image.DecompressionBombWarning), Image.open(io.BytesIO(data)):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(data).size == (40, 40)
    monkeypatch.undo()
    assert Image.MAX_IMAGE_PIXELS < MAX_PIXELS


# ------------------------------------------------------------------ hash, resize, cut, encode


def test_the_hash_is_of_size_and_pixels_alone() -> None:
    picture = noise((6, 4))
    assert len(content_hash(picture)) == 64 and int(content_hash(picture), 16) >= 0
    assert content_hash(open_image(packed(picture, compress_level=0))) == content_hash(picture)
    assert content_hash(Image.new("RGB", (6, 4))) != content_hash(Image.new("RGB", (4, 6)))
    other = picture.copy()
    r, g, b = other.getpixel((5, 3))
    other.putpixel((5, 3), (r, g, b ^ 1))
    assert content_hash(other) != content_hash(picture)
    assert content_hash(Image.new("L", (2, 2), 7)) == content_hash(Image.new("RGB", (2, 2), (7, 7, 7)))


def test_png_bytes_come_back_and_depend_on_pixels_alone() -> None:
    picture = noise((7, 9))
    picture.info |= {"comment": "secret", "transparency": (1, 2, 3)}
    data = to_png_bytes(picture)
    assert open_image(data).tobytes() == picture.tobytes()
    assert b"secret" not in data and data == to_png_bytes(open_image(data))
    assert picture.info["comment"] == "secret"
    assert data_uri(data) == "data:image/png;base64," + base64.b64encode(data).decode()


def test_a_cut_of_whole_pixels_is_exact() -> None:
    picture, rng = noise((40, 30)), random.Random(5)
    for _ in range(50):
        x, y = rng.randrange(39), rng.randrange(29)
        w, h = rng.randint(1, 40 - x), rng.randint(1, 30 - y)
        exact = picture.crop((x, y, x + w, y + h))
        assert ImageChops.difference(cut(picture, (x, y, x + w, y + h), (w, h)), exact).getbbox() is None


def test_a_cut_is_clipped_and_sub_pixel() -> None:
    ramp = Image.new("L", (100, 10))
    ramp.putdata([2 * x for _ in range(10) for x in range(100)])
    ramp = ramp.convert("RGB")
    assert cut(ramp, (-50, -50, 500, 500), (100, 10)).tobytes() == ramp.tobytes()
    whole, half = (cut(ramp, (x, 0, x + 20, 10), (20, 10)).getpixel((10, 5))[0] for x in (40, 40.5))
    assert (whole, half) == (100, 101)
    assert cut(ramp, (99.2, 3.3, 99.9, 3.9), (28, 28)).size == (28, 28)
    empty, outside, nan, good = (10, 1, 10, 5), (200, 0, 300, 5), (float("nan"), 0, 30, 5), (0, 0, 9, 9)
    for box, size in ((empty, (8, 8)), (outside, (8, 8)), (nan, (8, 8)), (good, (0, 8))):
        with pytest.raises(R3labError):
            cut(ramp, box, size)


def test_resize_is_antialiased() -> None:
    board = Image.new("L", (64, 64))
    board.putdata([255 * ((x + y) % 2) for y in range(64) for x in range(64)])
    small = resize(board.convert("RGB"), (8, 8))
    assert small.size == (8, 8) and all(abs(v - 127) < 12 for pixel in pixels(small) for v in pixel)
    with pytest.raises(R3labError, match="at least 1"):
        resize(board, (0, 8))
