"""Decode images, of files and of containers, safely to RGB pixels.

- Only JPEG, PNG, BMP and WebP are parsed here, and TIFF, HEIC and DICOM in `other_formats`, chosen
  by their first bytes. The extension is not asked: a PNG named `.jpg` is a whole image, and
  downloaded data sets have many.
- Sizes are capped before memory for pixels is taken.
- What Pillow repairs or overlooks in silence (PNG checksums, missing rows, transparency,
  16-bit grey) is checked or converted here.
- Colour profiles (ICC) are ignored, as in TensorFlow and OpenCV: numbers are taken as sRGB.
- Whatever the bytes are, the only error is `BadImage`.

JPEG and WebP pixels carry no checksum: flipped bits may decode to wrong colours without an
error, in any library. A missing end is always an error, even of the two bytes of a JPEG's EOI.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from dermssl.core import threads
from dermssl.core.errors import UserError
from dermssl.data import other_formats, photo_bytes, shard_files

MIN_SIDE = 16  # px; the smallest set in use, DermaMNIST, has 28: below lie icons and placeholders
MAX_PIXELS = 64_000_000  # twice the largest ISIC image (about 30 Mpx); 192 MB as RGB
MAX_BYTES = 4 * MAX_PIXELS + 4096  # the largest BMP within MAX_PIXELS: 4 bytes a pixel and a header
_CONVERT = "replace it with a JPEG or PNG, or drop its record"
_READ = "JPEG, PNG, BMP, WebP, TIFF, HEIC or DICOM"
_SIGNATURES = (  # (offset, bytes, a format that is read or words for the message)
    *((0, b"\xff\xd8\xff", "JPEG"), (0, b"\x89PNG\r\n\x1a\n", "PNG")),
    *((0, b"BM", "BMP"), (8, b"WEBP", "WEBP"), (0, b"GIF8", "a GIF")),
    (4, b"ftyp", "an AVIF or video"),
    (0, b"version https://git-lfs", "a Git LFS pointer (run `git lfs pull`)"),
)

# What Pillow's four readers raise on hostile bytes, from their source and from fuzzing. OSError
# covers the file system and UnidentifiedImageError, Warning a run under `-W error`.
_PILLOW_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError),
    *(OverflowError, struct.error, zlib.error, Image.DecompressionBombError, Warning),
)

_TURNS = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90"
_UPRIGHT = {i: Image.Transpose[turn] for i, turn in enumerate(_TURNS.split(), start=2)}  # by EXIF

_GREY16 = ((np.arange(65536) + 128) // 257).astype(np.uint8)  # round(v / 257): 65535 -> 255


class BadImage(UserError):
    """A file that is no whole, still, readable image; one line: file, finding, way out.

    Attributes:
        found: str, the finding alone, for a reader who knows no file by this name.
    """

    def __init__(self, line: str, found: str = "") -> None:
        super().__init__(line)
        self.found = found or line


@dataclass(frozen=True)
class Header:
    """What a file says of itself: "JPEG", "PNG", "BMP", "WEBP" or one of `other_formats`, and its
    upright size in px."""

    format: str
    width: int
    height: int


class _Jpeg(JpegImagePlugin.JpegImageFile):
    # Opening parses all EXIF for its dpi, with a warning for each odd tag. And unlike `Image.open`
    # the class takes a phone's MPO file (a JPEG, then its depth or HDR map) for its still picture.
    def _read_dpi_from_exif(self):
        pass


_READERS = {"JPEG": _Jpeg, "PNG": PngImagePlugin.PngImageFile}
_READERS |= {"BMP": BmpImagePlugin.BmpImageFile, "WEBP": WebPImagePlugin.WebPImageFile}


def _bad(path, found, way_out="copy or download it again, or drop its record"):
    line = " ".join(f"{found}; {way_out}".split())
    name = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in os.fsdecode(path))
    return BadImage(f"{name}: {line}", " ".join(found.split()))


@contextmanager
def _opened(path, data=None):
    """The open file, or its bytes where known; every error on the way becomes `BadImage`."""
    try:
        size = photo_bytes.stored(path).size if data is None else len(data)
        if not 0 < size <= MAX_BYTES:
            raise _bad(path, f"{size:,} bytes, not 1 to {MAX_BYTES:,}", _CONVERT)
        with photo_bytes.opened(path) if data is None else io.BytesIO(data) as file:
            yield file
    except photo_bytes.NotRegular:
        raise _bad(path, "not a regular file", "name an image file") from None
    except FileNotFoundError:
        raise _bad(path, "not found", "check the path and the data folder") from None
    except other_formats.Refused as error:
        raise _bad(path, error.found, error.way_out) from None
    except PermissionError:
        raise _bad(path, "no permission to read", "change its permissions") from None
    except shard_files.DamagedShard as error:
        raise _bad(path, str(error), f"copy it again, or {shard_files.AGAIN}") from error
    except MemoryError:
        raise _bad(path, "not enough memory to decode", "free some, or use fewer workers") from None
    except _PILLOW_ERRORS as error:
        found = f"damaged or unsupported ({str(error) or type(error).__name__})"
        raise _bad(path, found) from error


def _webp_size(head):
    """Canvas of a WebP from its first chunk, as Pillow takes memory for it on opening."""
    if head[12:16] == b"VP8X":
        return tuple(int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
    if head[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return tuple(side & 0x3FFF for side in struct.unpack_from("<HH", head, 26))


def _check_size(path, size):
    found = f"{size[0]} x {size[1]} px"
    if min(size) < MIN_SIDE:
        raise _bad(path, f"{found}, a side under {MIN_SIDE}", "drop its record")
    if size[0] * size[1] > MAX_PIXELS:
        raise _bad(path, f"{found}, more than {MAX_PIXELS:,} pixels", "scale it down")


def _open_image(path, file):
    """A lazy Pillow image whose format, size and frame count are accepted."""
    head = file.read(256)
    unknown = f"no known image (first bytes {head[:8].hex(' ')})"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        unknown = "HTML or XML, perhaps a saved error page"
    name = next((name for at, key, name in _SIGNATURES if head.startswith(key, at)), unknown)
    if name not in _READERS:
        raise _bad(path, f"looks like {name}, not {_READ}", _CONVERT)
    if name == "WEBP":
        _check_size(path, _webp_size(head))
    file.seek(0)
    image = _READERS[name](file)
    _check_size(path, image.size)
    if getattr(image, "n_frames", 1) > 1:
        found = f"an animated {name} of {image.n_frames} frames, and one image is needed"
        raise _bad(path, found, "save the frame you mean as PNG")
    return image


def _png_chunks(file):
    """Yields `(name, length)`, the file at the chunk's data; the caller may read it or not."""
    at, name = 8, b""
    while name != b"IEND":
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))  # struct.error: cut before IEND
        yield name, length
        at += 12 + length


def _check_png(image, file, count_rows):
    """The bit depth; raises on a bad checksum or a cut, which Pillow lets pass among the pixels.

    With `count_rows` also on missing rows, which Pillow leaves black (not in interlaced files).
    """
    inflate, missing = zlib.decompressobj(), 0
    for name, length in _png_chunks(file):
        data = file.read(length)
        if file.read(4) != struct.pack(">I", zlib.crc32(data, zlib.crc32(name))):
            raise SyntaxError(f"bad checksum or cut in PNG chunk {name!r}")
        if name == b"IHDR":
            depth = data[8]
            bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[data[9]]
            if count_rows and not data[12]:
                missing = image.height * (1 + (image.width * bits + 7) // 8)
        elif name == b"IDAT":
            while data and missing > 0:
                missing -= len(inflate.decompress(data, 1 << 20))
                data = inflate.unconsumed_tail
    if missing > 0 and missing > len(inflate.flush()):
        raise SyntaxError("the pixel data ends before the last row")
    return depth


def _orientation(image, file):
    """EXIF orientation, 1 to 8; 1 if there is none or it is broken, as browsers do.

    Read by hand: Pillow parses and copies every tag (0.2 s and 5,000 warnings for a crafted
    64 KB), and does not see a PNG's EXIF behind the pixels before it has decoded them.
    """
    exif = image.info.get("exif", b"")
    if image.format == "PNG":
        exif = next((file.read(size) for name, size in _png_chunks(file) if name == b"eXIf"), b"")
    exif = exif.removeprefix(b"Exif\0\0")
    try:
        order = {b"II*\0": "<", b"MM\0*": ">"}[exif[:4]]
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values, value = struct.unpack_from(f"{order}HHIH", exif, at)
            if tag == 0x0112:
                return value if (kind, values) == (3, 1) and 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass
    return 1


def _to_rgb(image, name, depth):
    """uint8 `[h, w, 3]` of a loaded image; what is transparent becomes white."""
    key = image.info.get("transparency")
    if image.mode == "I;16":
        values = np.asarray(image)
        grey = np.where(values == key, np.uint8(255), _GREY16[values])
        return np.repeat(grey[..., None], 3, axis=2)
    # One transparent colour is given in the file's bit depth, where the pixels are Pillow's 8.
    if image.mode == "L" and key is not None:
        image.info["transparency"] = key * {2: 85, 4: 17}.get(depth, 1)
    elif image.mode == "RGB" and key is not None and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)
    if image.mode in ("LA", "RGBA", "PA") or key is not None:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if name != "BMP" or alpha.getextrema() != (0, 0):  # many BMP writers leave it at 0
            white = Image.new("RGB", image.size, "white")
            white.paste(image, mask=alpha)
            image = white
    return np.array(image.convert("RGB"))


def _load(path, min_size=None, count_rows=False, header_only=False, data=None):
    with _opened(path, data) as file:
        if other := other_formats.kind(file.read(256)):
            return _load_other(path, file, other, header_only)
        file.seek(0)
        image = _open_image(path, file)
        orientation = _orientation(image, file)
        header = Header(image.format, *(image.size if orientation < 5 else image.size[::-1]))
        if header_only:
            return header, None
        depth = _check_png(image, file, count_rows) if header.format == "PNG" else 8
        if header.format == "JPEG" and b"\xff\xd9" not in file.read():  # from the first scan on
            raise SyntaxError("cut before the end marker")  # Pillow asks for it in large ones only
        if min_size:
            image.draft("RGB", (min_size, min_size))
        image.load()
        if orientation > 1:
            image = image.transpose(_UPRIGHT[orientation])
        return header, _to_rgb(image, header.format, depth)


def _load_other(path, file, name, header_only):
    file.seek(0)
    size, found = other_formats.load(name, file, lambda size: _check_size(path, size), header_only)
    if isinstance(found, Image.Image):
        found = _to_rgb(found, name, 8)
    return Header(name, *size), found


def read_header(path: Path | str, data: bytes | None = None) -> Header:
    """`Header(format, width, height)` of a file, without decoding it; EXIF orientation applied.

    `data` are the photo's bytes where they are read already; `path` then only names it in errors.
    Raises `BadImage` where a file is missing, empty, of another format, animated, has a side
    under `MIN_SIDE`, over `MAX_PIXELS` pixels or `MAX_BYTES` bytes, or a broken header.
    """
    return _load(path, header_only=True, data=data)[0]


def decode(
    path: Path | str, min_size: int | None = None, strict: bool = False, data: bytes | None = None
) -> np.ndarray:
    """The pixels of one image file, upright and opaque.

    Grey becomes three equal channels, CMYK (inverted, as Adobe writes it) and palettes become
    RGB, transparent parts turn white, and 16-bit grey is divided by 257 and rounded (16-bit
    colour keeps its high byte).

    Args:
        path: `str` or path of a file of one of the formats above.
        min_size: positive int or `None`. Lets the JPEG decoder shrink by 2, 4 or 8 while it
            decodes, as long as the shorter side stays at `min_size` px or more. Other formats
            keep their size, and no image is enlarged.
        strict: bool, refuse all that `verify` refuses.
        data: the photo's bytes where they are read already; `path` then only names it in errors.

    Returns:
        uint8 array (height, width, 3), RGB in [0, 255], C-contiguous and writable.

    Raises `BadImage` as `read_header` does, and for cut or damaged pixel data.
    """
    return _load(path, min_size, count_rows=strict, data=data)[1]


def verify(path: Path | str) -> Header:
    """The `Header` of a file after decoding all of it; for the checks before training.

    Raises `BadImage` as `decode` does, and for a PNG that holds fewer rows than it states.
    """
    return _load(path, count_rows=True)[0]


def verify_all(paths: Iterable[str], workers: int = 2) -> list[tuple[str, str]]:
    """`(path, message)` of each file that `verify` refuses, in the order of `paths`.

    Works in `workers` threads (Pillow frees the GIL while it decodes), each with one image in
    memory; `paths` may be an iterator and is read as the work goes on.
    """

    def refused(path):
        try:
            verify(path)
        except BadImage as error:
            return [(path, str(error))]
        return []

    return [bad for found in threads.map_in_order(refused, paths, workers) for bad in found]


_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive Huffman; the rest is rare
_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def pixels(data: bytes, min_size: int | None = None) -> np.ndarray | None:
    """The pixels of a JPEG file, or `None` where `decode.decode` must look at it.

    Args:
        data: bytes, the whole file.
        min_size: as in `decode.decode`: the decoder may shrink by 2, 4 or 8 while the shorter
            side stays at `min_size` px or more.

    Returns:
        uint8 array (height, width, 3) RGB, equal to `decode.decode`'s, or `None`.
    """
    size = _plain_size(data)
    if size is None or min(size) < MIN_SIDE or size[0] * size[1] > MAX_PIXELS:
        return None
    ratio = shrink(min(size), min_size)
    flags = _FLAGS[ratio] | cv2.IMREAD_IGNORE_ORIENTATION
    found = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if found is None or found.shape[:2] != (-(-size[0] // ratio), -(-size[1] // ratio)):
        return None
    return found if ratio == 1 else cv2.cvtColor(found, cv2.COLOR_BGR2RGB)


def shrink(side: int, min_size: int | None) -> int:
    """1, 2, 4 or 8: how far the decoder shrinks a photo, as Pillow's `draft` chooses.

    Example:

    >>> shrink(450, min_size=224)
    2
    """
    return next((s for s in (8, 4, 2) if min_size and side // min_size >= s), 1)


def _plain_size(data):
    """(height, width) of a whole 8-bit grey or colour JPEG without EXIF, else `None`."""
    if not (data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9")):
        return None
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if kind in _FRAMES:
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            width = int.from_bytes(data[at + 7 : at + 9], "big")
            return (height, width) if data[at + 4] == 8 and data[at + 9] in (1, 3) else None
        # A scan before its frame, a marker without a length, EXIF, or an Adobe colour space.
        if kind == 0xDA or 0xD0 <= kind <= 0xD9 or kind in (0xE1, 0xEE) or length < 2:
            return None
        at += 2 + length
    return None
