"""Check that each format of photos is decoded, and which scripts figures can show."""

from __future__ import annotations

import io

import numpy as np

from dermssl.studies.doctor.check import Check

SIDE = 32  # px of a sample
CLOSE = 12  # of 255, the mean difference that a lossy format may make
SCRIPTS = {
    "Latin": "ăčęőß", "Greek": "Ωλψ", "Cyrillic": "Жяё", "Arabic": "سلام", "Hebrew": "שלום",
    "Devanagari": "नमस्ते", "Bengali": "বাংলা", "Thai": "ภาษา", "Chinese": "皮肤诊断",
    "Japanese": "ひらカナ", "Korean": "한국어",
}  # fmt: skip


def decoders() -> Check:
    """Whether each format is decoded: a sample of each is encoded in memory, and read back."""
    from dermssl.data import other_formats

    works, failed, absent = [], [], {}
    for name in ("JPEG", "PNG", "BMP", "WEBP", "TIFF", other_formats.HEIF, other_formats.DICOM):
        if advice := other_formats.missing(name):
            absent[name] = advice
        elif problem := _problem(name):
            failed.append(f"{name} ({problem})")
        else:
            works.append(name)
    value = "; ".join(
        f"{words}{', '.join(names)}"
        for words, names in (("", works), ("BROKEN: ", failed), ("not there: ", list(absent)))
        if names
    )
    if failed:
        advice = "install pillow, opencv-python-headless and the extras anew"
        return Check("decoders", value, advice, broken=True)
    return Check("decoders", value, "; ".join(f"{k}: {v}" for k, v in absent.items()))


def _problem(name):
    """Why a sample of a format isn't decoded to its pixels; "" where it is."""
    from dermssl.data import decode

    ramp = np.linspace(20, 235, SIDE).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp, np.uint8(90)), axis=2)
    try:
        data = _dicom(pixels) if name == "DICOM" else _encoded(name, pixels)
        decoded = [decode.decode(f"sample of {name}", data=data)]
        if name == "JPEG":
            decoded.append(decode.pixels(data))  # by the fast decoder
    except Exception as error:  # whatever a library that is broken raises
        return " ".join(str(error).split())[:100] or type(error).__name__
    off = max(np.abs(array.astype(int) - pixels).mean() for array in decoded)
    return f"wrong pixels, by {off:.0f} of 255" if off > CLOSE else ""


def _encoded(name, pixels):
    from PIL import Image

    if name == "HEIC":
        import pillow_heif

        pillow_heif.register_heif_opener()
        name = "HEIF"
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name)
    return buffer.getvalue()


def _dicom(pixels):
    from pydicom import dataset, uid

    data = dataset.Dataset()
    data.file_meta = dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = uid.SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.Rows, data.Columns, data.SamplesPerPixel = SIDE, SIDE, 3
    data.PlanarConfiguration, data.PhotometricInterpretation = 0, "RGB"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = pixels.tobytes()
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def fonts() -> Check:
    """The scripts whose names figures can show."""
    from dermssl.reporting import fonts

    missing = [script for script, text in SCRIPTS.items() if fonts.without_font(text)]
    shown = [script for script in SCRIPTS if script not in missing]
    value = f"figures can show {', '.join(shown)}"
    if not missing:
        return Check("fonts", value)
    advice = "install fonts that have them, such as Noto Sans; else figures number such names"
    return Check("fonts", f"{value}; not {', '.join(missing)}", advice)
