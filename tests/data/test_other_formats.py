"""TIFF, HEIC and DICOM: pixels as they are, and one line for all that is no single photo.

Tests of HEIC and DICOM are skipped, and say so, without the extras.
"""

import io

import numpy as np
import pytest
from PIL import Image

from dermssl.data import decode as module
from dermssl.data.decode import BadImage, Header, decode, read_header, verify

rng = np.random.default_rng(0)
COLOURS = np.asarray(
    Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)).resize((96, 64))
)
GREY = COLOURS[..., 0]
PATIENT = "Doe^Jane"
PHOTO, CT = "1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.840.10008.5.1.4.1.1.2"


def encoded(pixels, kind="TIFF", **options):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def put(tmp_path, data, name="lesion.jpg"):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def refused(path, message):
    for function in (decode, verify):
        with pytest.raises(BadImage, match=message) as caught:
            function(path)
        line = str(caught.value)
        assert "\n" not in line
        assert "; " in line
        assert PATIENT not in line
        assert line.startswith(f"{path}: ")


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff(tmp_path, compression):
    path = put(tmp_path, encoded(COLOURS, compression=compression))
    np.testing.assert_array_equal(decode(path), COLOURS)
    assert read_header(path) == verify(path) == Header("TIFF", 96, 64)


def test_a_turned_tiff_is_upright(tmp_path):
    path = put(tmp_path, encoded(COLOURS, tiffinfo={274: 6}))
    np.testing.assert_array_equal(decode(path), np.rot90(COLOURS, -1))
    assert read_header(path) == Header("TIFF", 64, 96)


def test_modes_of_tiff(tmp_path):
    grey = np.repeat(GREY[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode(put(tmp_path, encoded(GREY))), grey)
    deep = encoded(Image.fromarray(GREY.astype(np.uint16) * 257))
    np.testing.assert_array_equal(decode(put(tmp_path, deep)), grey)
    clear = np.dstack([COLOURS, np.full_like(GREY, 255)])
    clear[:9, :9, 3] = 0
    found = decode(put(tmp_path, encoded(clear)))
    assert (found[:9, :9] == 255).all()
    np.testing.assert_array_equal(found[9:], COLOURS[9:])


def test_tiffs_that_are_no_single_photo_of_8_or_16_bits(tmp_path):
    pages = [Image.fromarray(COLOURS)]
    data = encoded(COLOURS, save_all=True, append_images=pages)
    refused(put(tmp_path, data), "a TIFF of several pages")
    refused(put(tmp_path, encoded(GREY.astype(np.float32))), "a TIFF of 32 bits a sample")
    dark = encoded(Image.fromarray(GREY.astype(np.uint16)))
    refused(put(tmp_path, dark), "16 bits whose values end at 25., so it would be black")
    refused(put(tmp_path, encoded(COLOURS[:10])), "96 x 10 px, a side under 16")


def test_a_large_tiff_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 1000)
    refused(put(tmp_path, encoded(COLOURS)), "more than 1,000 pixels")


@pytest.fixture
def heif():
    return pytest.importorskip("pillow_heif", reason="without the extra heic (pillow-heif)")


def heic(heif, *frames, **options):
    file = heif.HeifFile()
    for pixels in frames:
        height, width = pixels.shape[:2]
        file.add_frombytes("RGB", (width, height), pixels.tobytes())
    buffer = io.BytesIO()
    file.save(buffer, quality=-1, chroma=444, **options)
    return buffer.getvalue()


def test_heic(tmp_path, heif):
    path = put(tmp_path, heic(heif, COLOURS))
    assert np.abs(decode(path).astype(int) - COLOURS).mean() < 2
    assert read_header(path) == verify(path) == Header("HEIC", 96, 64)


def test_heic_of_several_images_cut_and_encrypted(tmp_path, heif):
    refused(put(tmp_path, heic(heif, COLOURS, COLOURS)), "a HEIC of 2 images")
    data = heic(heif, COLOURS)
    for cut in (30, 200, len(data) // 2, len(data) - 40):
        refused(put(tmp_path, data[:cut]), "damaged, encrypted or not supported HEIC")
    # As a DRM would have it: the item's type is not one that is known.
    refused(put(tmp_path, data.replace(b"hvc1", b"encv")), "damaged, encrypted or not supported")


@pytest.fixture
def dicom():
    return pytest.importorskip("pydicom", reason="without the extra dicom (pydicom)")


def dataset(dicom, pixels=COLOURS, kind="RGB", bits=8, sop=PHOTO, **tags):
    data = dicom.Dataset()
    data.file_meta = dicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = dicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3.4"
    data.PatientName, data.PatientID, data.PatientBirthDate = PATIENT, "Doe-17", "19500101"
    data.Modality = "XC"
    if pixels is not None:
        data.Rows, data.Columns = pixels.shape[:2]
        data.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
        if pixels.ndim == 3:
            data.PlanarConfiguration = 0
        data.BitsAllocated = 8 * pixels.itemsize
        data.BitsStored, data.HighBit, data.PixelRepresentation = bits, bits - 1, 0
        data.PhotometricInterpretation = kind
        data.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    return data


def saved(data):
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_dicom(tmp_path, dicom):
    path = put(tmp_path, saved(dataset(dicom)), "IM0001")
    np.testing.assert_array_equal(decode(path), COLOURS)
    assert read_header(path) == verify(path) == Header("DICOM", 96, 64)
    grey = np.repeat(GREY[..., None], 3, axis=2)
    for kind, values, bits in (
        ("MONOCHROME2", GREY, 8),
        ("MONOCHROME1", 255 - GREY, 8),
        ("MONOCHROME2", (GREY.astype(np.uint16) * 257), 16),
    ):
        found = decode(put(tmp_path, saved(dataset(dicom, values, kind, bits))))
        np.testing.assert_array_equal(found, grey)
    twelve = (GREY.astype(np.uint16) << 4) | (GREY >> 4)
    found = decode(put(tmp_path, saved(dataset(dicom, twelve, "MONOCHROME2", 12))))
    np.testing.assert_allclose(found, grey, atol=1)


def test_a_dicom_that_holds_a_jpeg_is_that_jpeg(tmp_path, dicom):
    """As the DICOM photos of ISIC 2020: JPEG baseline, colours as YBR_FULL_422."""
    data = dataset(dicom, kind="YBR_FULL_422")
    jpeg = encoded(COLOURS, "JPEG", quality=95, subsampling="4:2:2")
    data.PixelData = dicom.encaps.encapsulate([jpeg])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = dicom.uid.JPEGBaseline8Bit
    found = decode(put(tmp_path, saved(data)))
    want = decode(put(tmp_path, jpeg))
    assert np.abs(found.astype(int) - want).mean() < 1.5
    data.file_meta.TransferSyntaxUID = dicom.uid.JPEGLSLossless
    refused(put(tmp_path, saved(data)), r"DICOM pixels that can't be decoded \(JPEG-LS Lossless")


def test_a_dicom_with_a_palette(tmp_path, dicom):
    numbers = (np.arange(64 * 96) % 256).astype(np.uint8).reshape(64, 96)
    table = np.arange(256).astype(np.uint16) * 257
    tags = {}
    for name, values in (("Red", table), ("Green", table[::-1]), ("Blue", table * 0)):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = values.tobytes()
    found = decode(put(tmp_path, saved(dataset(dicom, numbers, "PALETTE COLOR", **tags))))
    np.testing.assert_array_equal(found[..., 0], numbers)
    np.testing.assert_array_equal(found[..., 1], 255 - numbers)
    assert not found[..., 2].any()


def test_dicoms_that_are_no_single_photo(tmp_path, dicom):
    def check(message, *arguments, **tags):
        refused(put(tmp_path, saved(dataset(dicom, *arguments, **tags))), message)

    check("a DICOM without pixels", None)
    check(r"a DICOM that is no photo \(CT Image Storage\)", sop=CT)
    check("a DICOM of 2 frames", np.concatenate([COLOURS, COLOURS]), NumberOfFrames=2, Rows=64)
    check("writing in its pixels, perhaps a name", BurnedInAnnotation="YES")
    check("96 x 10 px, a side under 16", COLOURS[:10])
    data = saved(dataset(dicom))
    for cut in (140, 300, len(data) - 9000, len(data) - 10):
        refused(put(tmp_path, data[:cut]), "DICOM")


def test_no_name_of_a_patient_is_read(dicom, tmp_path, monkeypatch):
    seen = []
    read = dicom.dcmread

    def watched(*arguments, **options):
        seen.append(read(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(dicom, "dcmread", watched)
    decode(put(tmp_path, saved(dataset(dicom))))
    (data,) = seen
    assert {element.keyword for element in data}.isdisjoint(
        {"PatientName", "PatientID", "PatientBirthDate", "SOPInstanceUID"}
    )


@pytest.mark.parametrize("kind", ["heic", "dicom"])
def test_flipped_bytes_decode_or_are_refused(tmp_path, kind, request):
    extra = request.getfixturevalue({"heic": "heif"}.get(kind, kind))
    original = heic(extra, COLOURS) if kind == "heic" else saved(dataset(extra))
    rng = np.random.default_rng(5)
    for trial in range(80):
        data = bytearray(original)
        span = 600 if trial % 2 else len(data)
        for at in rng.integers(0, min(span, len(data)), rng.integers(1, 4)):
            data[at] ^= 1 << rng.integers(8)
        path = put(tmp_path, bytes(data))
        try:
            found = decode(path)
        except BadImage:
            continue
        header = read_header(path)
        assert found.shape == (header.height, header.width, 3)
