"""TIFF, HEIC and DICOM photos: the formats that need more care than a decoder gives.

HEIC needs the extra `heic` (pillow-heif), DICOM the extra `dicom` (pydicom). Of a DICOM only the
elements about pixels are read: names, dates and ids of a patient never enter the memory.
"""

import functools
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

TIFF, HEIF, DICOM = "TIFF", "HEIC", "DICOM"
TIFF_HEADS = (b"II*\0", b"MM\0*")
EXTRAS = {HEIF: ("pillow_heif", "heic"), DICOM: ("pydicom", "dicom")}
HEIF_BRANDS = tuple(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())
# Visible light (photos, dermoscopy) and secondary capture; others aren't photos of skin.
_PHOTO_CLASSES = "1.2.840.10008.5.1.4.1.1.77.1.", "1.2.840.10008.5.1.4.1.1.7"
_DICOM_TAGS = [
    "SOPClassUID", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "BurnedInAnnotation", "PixelData",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
]  # fmt: skip
_TIFF_MODES = (
    "1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "I;16B",
)  # fmt: skip
WAY_OUT = "to JPEG or PNG"  # ends what is said of a picture that can't be read as it is
_DAMAGED = "copy or download it again, or drop its record"


class Refused(Exception):
    """What was found in a file, and the way out."""

    def __init__(self, found: str, way_out: str) -> None:
        super().__init__(found)
        self.found, self.way_out = found, way_out


def kind(head: bytes) -> str | None:
    """`TIFF`, `HEIF`, `DICOM` or None, by the first 256 bytes of a file.

    Example:

    >>> kind(bytes(128) + b"DICM")
    'DICOM'
    """
    if head.startswith(TIFF_HEADS):
        return TIFF
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS and b"avi" not in head[8:40]:
        return HEIF
    return DICOM if head[128:132] == b"DICM" else None


@functools.cache
def missing(kind: str) -> str:
    """What to install before a format can be read; "" where it can."""
    module, extra = EXTRAS.get(kind, ("", ""))
    if not module or importlib.util.find_spec(module):
        return ""
    return f"install the extra {extra} (pip install 'dermssl[{extra}]') or convert it {WAY_OUT}"


Size = tuple[int, int]


def load(
    kind: str, file: BinaryIO, check_size: Callable[[Size], None], header_only: bool
) -> tuple[Size, np.ndarray | Image.Image | None]:
    """The upright (width, height) of a photo, and its pixels.

    Args:
        kind: `TIFF`, `HEIF` or `DICOM`.
        file: at its beginning.
        check_size: called with (width, height) before memory for pixels is taken; may raise.
        header_only: bool, leave the pixels.

    Returns:
        `(size, pixels)`: uint8 (h, w, 3) RGB, or a loaded Pillow image, or None.

    Raises:
        Refused: a missing extra, several frames, no pixels, no photo. What the libraries raise on
            damaged files passes.
    """
    if problem := missing(kind):
        raise Refused(f"a {kind} photo", problem)
    _hush()
    return {TIFF: _tiff, HEIF: _heif, DICOM: _dicom}[kind](file, check_size, header_only)


@functools.cache
def _hush():
    """Odd tags are no news. A filter for good: `catch_warnings` mixes up threads."""
    for module in (r"PIL\.TiffImagePlugin", r"pydicom(\..*)?"):
        warnings.filterwarnings("ignore", module=module)


def _tiff(file, check_size, header_only):
    image = TiffImagePlugin.TiffImageFile(file)
    check_size(image.size)
    if getattr(image, "is_animated", False):
        found = "a TIFF of several pages, and one image is needed"
        raise Refused(found, "save the page you mean as PNG")
    bits = image.tag_v2.get(258, (1,))
    if image.mode not in _TIFF_MODES or max(bits) not in (1, 2, 4, 8, 16):
        found = f"a TIFF of {max(bits)} bits a sample (mode {image.mode})"
        raise Refused(found, "save it with 8 or 16 bits as PNG")
    if header_only:
        return image.size, None
    white_is_zero = image.tag_v2.get(262) == 0
    image.load()
    if not image.mode.startswith("I;16"):
        return image.size, image.convert("RGB") if image.mode in ("LAB", "RGBX") else image
    values = np.asarray(image).astype(np.uint16)
    if values.max() < 4096:
        raise Refused(
            f"a TIFF of 16 bits whose values end at {values.max()}, so it would be black",
            "save it with 8 bits as PNG",
        )
    return image.size, _grey(65535 - values if white_is_zero else values, 65535)


def _heif(file, check_size, header_only):
    import pillow_heif

    try:
        image = pillow_heif.HeifImageFile(file)
    except SyntaxError as error:  # encrypted ones, too
        raise Refused(f"damaged, encrypted or not supported HEIC ({error})",
                      "export it as JPEG, or drop its record") from error  # fmt: skip
    check_size(image.size)  # libheif turns it upright
    if image.n_frames > 1:
        raise Refused(f"a HEIC of {image.n_frames} images, and one is needed",
                      "export the one you mean as JPEG")  # fmt: skip
    if header_only:
        return image.size, None
    try:
        image.load()
    except (RuntimeError, EOFError, ValueError) as error:
        raise Refused(f"damaged, encrypted or not supported HEIC ({error})", _DAMAGED) from error
    return image.size, image


def _dicom(file, check_size, header_only):
    import pydicom
    from pydicom import config, pixels

    config.settings.reading_validation_mode = config.IGNORE
    try:
        data = pydicom.dcmread(file, specific_tags=list[Any](_DICOM_TAGS))
        _check_dicom(data)
        size = int(data.Columns), int(data.Rows)
    except (Refused, MemoryError):
        raise
    except Exception as error:  # pydicom raises all kinds on hostile bytes
        # Its message may quote the file, and so a name.
        raise Refused(f"a damaged DICOM ({type(error).__name__})", _DAMAGED) from None
    check_size(size)
    if header_only:
        return size, None
    try:
        return size, _dicom_rgb(data, pixels.pixel_array(data))
    except MemoryError:
        raise
    except Exception as error:
        syntax = getattr(data.file_meta.TransferSyntaxUID, "name", "unknown syntax")
        found = f"DICOM pixels that can't be decoded ({syntax}, {type(error).__name__})"
        raise Refused(found, "export it as JPEG or PNG, or drop its record") from None


def _check_dicom(data):
    def said(name, default=None):
        return data.get(name, default)

    syntax = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", None)
    if "PixelData" not in data or not said("Rows") or not said("Columns"):
        raise Refused("a DICOM without pixels", "drop it, or export the photo that it belongs to")
    where = str(said("SOPClassUID", ""))
    if not (where.startswith(_PHOTO_CLASSES[0]) or where == _PHOTO_CLASSES[1]):
        name = getattr(said("SOPClassUID"), "name", "") or "of an unknown class"
        raise Refused(f"a DICOM that is no photo ({name})", "drop its record")
    if str(said("BurnedInAnnotation", "")).upper() == "YES":
        raise Refused("a DICOM with writing in its pixels, perhaps a name (BurnedInAnnotation)",
                      "take the writing out, or drop its record")  # fmt: skip
    frames = int(said("NumberOfFrames") or 1)
    if frames > 1:
        raise Refused(f"a DICOM of {frames} frames, and one image is needed",
                      "export the frame you mean as PNG")  # fmt: skip
    if syntax is None:
        raise Refused("a damaged DICOM (it doesn't say how its pixels are written)", _DAMAGED)


def _dicom_rgb(data, values):
    """uint8 (h, w, 3) of what pydicom decoded: RGB already, grey, or numbers of a palette."""
    from pydicom import pixels

    kind = str(data.PhotometricInterpretation)
    top = 2 ** int(data.get("BitsStored") or 8) - 1
    if kind == "PALETTE COLOR":
        values = pixels.apply_color_lut(values, data)[..., :3]
        top = 65535 if values.dtype == np.uint16 else 255
    if values.ndim == 2:
        return _grey(top - values if kind == "MONOCHROME1" else values, top)
    if top == 255:
        return np.ascontiguousarray(values.astype(np.uint8))
    return np.rint(values * (255 / top)).clip(0, 255).astype(np.uint8)


def _grey(values, top):
    """uint8 (h, w, 3) of grey values from 0 to `top`."""
    grey = np.rint(values.astype(np.float64) * (255 / top)).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
