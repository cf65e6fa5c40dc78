"""`decode`: golden pixels for what is accepted, one message for each thing refused."""

import io
import os
import struct
import threading
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from dermssl.data import decode as module
from dermssl.data.decode import BadImage, Header, decode, read_header, verify, verify_all

# Four flat blocks, [32, 48]: top left, top right, bottom left, bottom right.
COLOURS = np.array([[[200, 30, 40], [20, 160, 60]], [[30, 50, 210], [250, 240, 10]]], np.uint8)
BLOCKS = COLOURS.repeat(16, axis=0).repeat(24, axis=1)
GREY = np.array([[0, 130], [131, 255]], np.uint8).repeat(16, axis=0).repeat(24, axis=1)
WHITE = [255, 255, 255]


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(samples, depth, colour, before=b"", after=b"", height=None):
    """PNG bytes from scan lines of packed samples, for what Pillow can't write."""
    raw = b"".join(b"\0" + line.tobytes() for line in samples)
    width = samples[0].nbytes * 8 // depth // {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    head = struct.pack(">IIBBBBB", width, height or len(samples), depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(raw))
    start, end = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head), chunk(b"IEND", b"")
    return start + before + pixels + after + end


def encoded(image, name, **options):
    stream = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(
        stream, name, **options
    )
    return stream.getvalue()


def exif(orientation, order="<"):
    magic = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return magic + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


@pytest.fixture
def write(tmp_path):
    def put(data, name="lesion.jpg"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return put


def alpha_blocks(mode):
    """The bottom row half or fully transparent, over hidden colours."""
    alpha = np.full(BLOCKS.shape[:2], 255, np.uint8)
    alpha[16:, :24], alpha[16:, 24:] = 0, 128
    colour = Image.fromarray(BLOCKS if mode == "RGBA" else GREY)
    colour.putalpha(Image.fromarray(alpha))
    assert colour.mode == mode
    return colour


def test_golden_blocks(write):
    palette = Image.fromarray(BLOCKS).quantize(4)
    grey3 = GREY[..., None].repeat(3, axis=2)
    cmyk = Image.fromarray(BLOCKS).convert("CMYK")
    noisy = np.random.default_rng(0).integers(0, 256, (33, 47, 3)).astype(np.uint8)
    wide = (BLOCKS.astype(np.uint16) * 257).astype(">u2")
    cases = [  # name, bytes, format, pixels, tolerance
        ("png", encoded(BLOCKS, "PNG"), "PNG", BLOCKS, 0),
        ("png noise", encoded(noisy, "PNG"), "PNG", noisy, 0),
        ("png grey", encoded(GREY, "PNG"), "PNG", grey3, 0),
        ("png palette", encoded(palette, "PNG"), "PNG", BLOCKS, 0),
        ("png 1 bit", encoded(Image.fromarray(GREY > 140), "PNG"), "PNG", grey3 // 255 * 255, 0),
        ("png 16-bit rgb", png(wide, 16, 2), "PNG", BLOCKS, 0),
        ("bmp", encoded(BLOCKS, "BMP"), "BMP", BLOCKS, 0),
        ("bmp grey", encoded(GREY, "BMP"), "BMP", grey3, 0),
        ("bmp palette", encoded(palette, "BMP"), "BMP", BLOCKS, 0),
        ("webp lossless", encoded(BLOCKS, "WEBP", lossless=True), "WEBP", BLOCKS, 0),
        ("webp", encoded(BLOCKS, "WEBP", quality=95), "WEBP", BLOCKS, 12),
        ("jpeg", encoded(BLOCKS, "JPEG", quality=95, subsampling=0), "JPEG", BLOCKS, 6),
        ("progressive", encoded(BLOCKS, "JPEG", quality=95, progressive=True), "JPEG", BLOCKS, 6),
        ("jpeg grey", encoded(GREY, "JPEG", quality=95), "JPEG", grey3, 4),
        ("cmyk", encoded(cmyk, "JPEG", quality=95), "JPEG", BLOCKS, 10),
    ]
    for name, data, kind, want, tolerance in cases:
        path = write(data, f"{name}.jpg")  # the extension is never asked
        pixels = decode(path)
        assert (pixels.dtype, pixels.shape) == (np.uint8, want.shape), name
        assert pixels.flags.c_contiguous, name
        assert pixels.flags.writeable, name
        centre = np.s_[4::8, 4::8] if tolerance else np.s_[:]
        error = np.abs(pixels[centre].astype(int) - want[centre]).max()
        assert error <= tolerance, (name, error)
        assert read_header(path) == verify(path) == Header(kind, want.shape[1], want.shape[0])
        assert read_header(str(path)) == read_header(path)


def test_16_bit_grey_keeps_its_scale(write):
    """Pillow's own convert("L") clips these to 255 (mean 254 for a mid grey of 130)."""
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(32, 128)
    want = np.round(values / 257).astype(np.uint8)
    got = decode(write(png(values.astype(">u2"), 16, 0)))
    assert (got == want[..., None]).all()
    flat = np.full((20, 20), 130 * 257, ">u2")
    assert (decode(write(png(flat, 16, 0))) == 130).all()
    half = np.full((20, 20, 2), 130 * 257, ">u2")  # grey and alpha: 130 on white at 51% is 191
    assert np.abs(decode(write(png(half, 16, 4))).astype(int) - 191).max() <= 1


@pytest.mark.parametrize("name", ["PNG", "WEBP"])
def test_transparency_turns_white_and_hides_its_colour(write, name):
    options = {"lossless": True, "exact": True} if name == "WEBP" else {}
    got = decode(write(encoded(alpha_blocks("RGBA"), name, **options)))
    assert (got[:16] == BLOCKS[:16]).all()
    assert (got[16:, :24] == WHITE).all()
    assert np.abs(got[20, 40].astype(int) - [252, 247, 132]).max() <= 1


def test_transparency_in_grey_palette_and_key_colours(write):
    got = decode(write(encoded(alpha_blocks("LA"), "PNG")))
    assert (got[:16] == GREY[:16, :, None]).all()
    assert (got[16:, :24] == WHITE).all()
    palette = Image.fromarray(BLOCKS).quantize(4)
    index = palette.getpixel((0, 0))
    for trans in (index, bytes(0 if i == index else 255 for i in range(4))):
        got = decode(write(encoded(palette, "PNG", transparency=trans)))
        assert (got[:16, :24] == WHITE).all()
        assert (got[16:] == BLOCKS[16:]).all()
    wide = (BLOCKS.astype(np.uint16) * 257).astype(">u2")
    grey16 = (GREY.astype(np.uint16) * 257).astype(">u2")
    grey2 = np.full((16, 4), 0b00011011, np.uint8)  # samples 0 1 2 3
    keys = [
        (png(BLOCKS, 8, 2, chunk(b"tRNS", struct.pack(">3H", 200, 30, 40))), (0, 0), (20, 40)),
        (png(wide, 16, 2, chunk(b"tRNS", wide[0, 0].tobytes())), (0, 0), (20, 40)),
        (png(GREY, 8, 0, chunk(b"tRNS", struct.pack(">H", 130))), (0, 40), (20, 0)),
        (png(grey16, 16, 0, chunk(b"tRNS", struct.pack(">H", 130 * 257))), (0, 40), (20, 0)),
        (png(grey2, 2, 0, chunk(b"tRNS", struct.pack(">H", 1))), (0, 1), (0, 2)),
    ]
    for data, clear, kept in keys:
        got = decode(write(data))
        assert (got[clear] == WHITE).all()
        assert (got[kept] != WHITE).any()


def test_bmp_with_an_unused_alpha_is_opaque(write):
    """A V4 header that declares alpha, all of it 0: many writers mean no transparency."""
    pixels = np.full((16, 16, 4), (10, 20, 30, 0), np.uint8)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, 16, 16, 1, 32, 3, 1024, 0, 0, 0, 0) + masks
    body = info.ljust(108, b"\0") + pixels.tobytes()
    data = b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + 108) + body
    assert (decode(write(data)) == [30, 20, 10]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation(write, name, orientation):
    image = Image.fromarray(BLOCKS)
    options = {"PNG": {}, "JPEG": {"quality": 95}, "WEBP": {"lossless": True}}[name]
    for order in "<>":
        block = b"Exif\0\0" + exif(orientation, order)
        path = write(encoded(image, name, exif=block, **options))
        with Image.open(path) as reference:
            want = np.asarray(ImageOps.exif_transpose(reference).convert("RGB"))
        assert (decode(path) == want).all()
        header = read_header(path)
        assert (header.height, header.width) == want.shape[:2]
        assert want.shape == ((32, 48, 3) if orientation < 5 else (48, 32, 3))


def test_exif_behind_the_pixels_and_broken_exif(write):
    path = write(png(BLOCKS, 8, 2, after=chunk(b"eXIf", exif(6))))
    assert read_header(path) == Header("PNG", 32, 48)
    assert (decode(path) == np.rot90(BLOCKS, -1)).all()
    for broken in (exif(6)[:12], exif(9), exif(0), b"II*\0\xff\xff\xff\xff", b"", b"junk"):
        assert (decode(write(png(BLOCKS, 8, 2, chunk(b"eXIf", broken)))) == BLOCKS).all()


def test_exif_bomb_costs_nothing(write):
    """5,000 tags that each claim the same 60 KB, 300 MB in all; none of them is touched."""
    tags = [struct.pack("<HHII", tag, 7, 60_000, 8) for tag in range(1000, 6000)]
    bomb = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(tags) + bytes(4)
    for name in ("JPEG", "PNG", "WEBP"):
        path = write(encoded(BLOCKS, name, exif=bomb))
        tracemalloc.start()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert verify(path) == Header(name, 48, 32)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2e6


def test_phone_mpo_gives_its_still_picture(write):
    other = Image.fromarray(255 - BLOCKS)
    data = encoded(Image.fromarray(BLOCKS), "MPO", save_all=True, append_images=[other])
    path = write(data)
    assert read_header(path) == Header("JPEG", 48, 32)
    assert np.abs(decode(path)[8, 8].astype(int) - COLOURS[0, 0]).max() < 10


def test_icc_profile_is_ignored(write):
    assert (decode(write(encoded(BLOCKS, "PNG", icc_profile=b"a profile"))) == BLOCKS).all()


FRAMES = {"save_all": True, "append_images": [Image.fromarray(255 - BLOCKS)], "duration": 100}
PNG = encoded(BLOCKS, "PNG")
HUGE = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0))
WIDE_WEBP = b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\xff\0" * 2
TEXT_BOMB = png(BLOCKS, 8, 2, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 25))))
JPEG_12 = encoded(BLOCKS, "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c")
REFUSED = [
    ("empty", b"", "0 bytes, not 1 to"),
    ("html", b"\n <!DOCTYPE html><p>404", "HTML or XML, perhaps a saved error page"),
    ("lfs", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ("text", b"hello", r"no known image \(first bytes 68 65 6c 6c 6f\)"),
    ("gif", encoded(BLOCKS, "GIF"), "looks like a GIF"),
    ("animated gif", encoded(Image.fromarray(BLOCKS), "GIF", **FRAMES), "looks like a GIF"),
    ("avif", b"\0\0\0\x1cftypavif" + bytes(40), "AVIF or video"),
    ("animated webp", encoded(Image.fromarray(BLOCKS), "WEBP", **FRAMES), "animated WEBP of 2"),
    ("apng", encoded(Image.fromarray(BLOCKS), "PNG", **FRAMES), "animated PNG of 2 frames"),
    ("small", encoded(BLOCKS[:15], "PNG"), "48 x 15 px, a side under 16"),
    ("huge", HUGE + chunk(b"IDAT", b"") + chunk(b"IEND", b""), "40000 x 40000 px, more than 64"),
    ("huge webp", WIDE_WEBP, "65536 x 65536"),
    ("no pixels", PNG[:33] + chunk(b"IEND", b""), "damaged"),
    ("text bomb", TEXT_BOMB, "MAX_TEXT"),
    ("pixel checksum", PNG[:-13] + bytes([PNG[-13] ^ 1]) + PNG[-12:], "bad checksum .* b'IDAT'"),
    ("12-bit jpeg", JPEG_12, "12-bit"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(write, name, data, message):
    path = write(data, f"{name}.jpg")
    for function in (decode, verify):
        with pytest.raises(BadImage, match=message) as caught:
            function(path)
        line = str(caught.value)
        assert line.startswith(f"{path}: ")
        assert "\n" not in line
        assert "; " in line  # the way out
    assert verify_all([path]) == [(path, line)]
    if name not in ("pixel checksum", "no pixels"):  # not the header's fault
        with pytest.raises(BadImage, match=message):
            read_header(path)


def test_missing_rows_are_found_by_verify(write):
    """Pillow leaves them black; the checksums are right, so only counting tells."""
    for samples, colour in ((BLOCKS[:20], 2), (GREY[:31], 0)):
        path = write(png(samples, 8, colour, height=32))
        with pytest.raises(BadImage, match="before the last row"):
            verify(path)


def test_not_a_file(tmp_path, monkeypatch):
    with pytest.raises(BadImage, match=r"gone\.jpg: not found"):
        decode(tmp_path / "gone.jpg")
    with pytest.raises(BadImage, match="not a regular file"):
        read_header(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BadImage, match="not a regular file"):
        read_header(tmp_path / "pipe.jpg")
    with pytest.raises(BadImage, match="null"):
        read_header("a\0b.jpg")
    (tmp_path / "two\nlines.jpg").write_bytes(b"no")
    with pytest.raises(BadImage, match=r"two\\nlines\.jpg: ") as caught:
        decode(tmp_path / "two\nlines.jpg")
    assert "\n" not in str(caught.value)

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.os, "stat", denied)  # root may read everything, so no chmod
    with pytest.raises(BadImage, match=r"a\.jpg: no permission"):
        decode("a.jpg")


def test_large_file_is_refused_unread(write, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    with pytest.raises(BadImage, match="bytes, not 1 to 100"):
        read_header(write(PNG))


def test_header_of_a_bomb_costs_no_memory(write):
    resource = pytest.importorskip("resource")
    path = write(HUGE + chunk(b"IDAT", zlib.compress(bytes(1 << 22))) + chunk(b"IEND", b""))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for function in (read_header, decode, verify):
        with pytest.raises(BadImage, match="40000 x 40000"):
            function(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024  # KB


PHOTO = np.asarray(Image.fromarray(BLOCKS).resize((120, 90), Image.Resampling.BICUBIC))
REAL = {
    "jpeg": encoded(PHOTO, "JPEG", quality=90),
    "progressive": encoded(PHOTO, "JPEG", quality=90, progressive=True),
    "png": encoded(PHOTO, "PNG"),
    "webp": encoded(PHOTO, "WEBP"),
    "webp lossless": encoded(PHOTO, "WEBP", lossless=True),
    "bmp": encoded(PHOTO, "BMP"),
    "tiff": encoded(PHOTO, "TIFF"),
    "tiff deflate": encoded(PHOTO, "TIFF", compression="tiff_adobe_deflate"),
}


@pytest.mark.parametrize("name", REAL)
def test_cut_anywhere_is_refused(write, name):
    """Even one byte short: a JPEG without its end marker has lost at least its last block."""
    data = REAL[name]
    cuts = {1, 2, 3, 12, 30, 100, len(data) // 4, len(data) // 2, len(data) * 9 // 10}
    for cut in sorted(cuts | {len(data) - n for n in (1, 2, 3, 20)}):
        path = write(data[:cut])
        with pytest.raises(BadImage, match=r"lesion\.jpg"):
            decode(path)
        assert len(verify_all([path])) == 1


@pytest.mark.parametrize("name", REAL)
@pytest.mark.filterwarnings("ignore:Invalid APNG")
def test_flipped_bytes_decode_or_are_refused(write, name):
    """PNG has checksums, so every flip is seen; the others keep their shape or are refused."""
    rng = np.random.default_rng(7)
    for trial in range(60):
        data = bytearray(REAL[name])
        span = 200 if trial % 2 else len(data)  # half of the trials hit the header
        for at in rng.integers(0, span, rng.integers(1, 4)):
            data[at] ^= 1 << rng.integers(8)
        path = write(data)
        try:
            pixels = decode(path)
        except BadImage:
            continue
        header = read_header(path)
        assert pixels.shape == (header.height, header.width, 3)
        assert name != "png" or bytes(data) == REAL[name]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_min_size_shrinks_jpeg_only_as_far_as_allowed(write, mode):
    image = Image.fromarray(PHOTO).resize((600, 451)).convert(mode)
    path = write(encoded(image, "JPEG", quality=90, exif=b"Exif\0\0" + exif(6)))
    full = decode(path)
    sides = {900: 451, 226: 451, 225: 226, 224: 226, 96: 113, 56: 57, 16: 57}
    for size, side in sides.items():
        small = decode(path, min_size=size)
        assert min(small.shape[:2]) == side
        assert small.shape[0] > small.shape[1]  # upright
        assert np.abs(small.mean((0, 1)) - full.mean((0, 1))).max() < 1.5
    assert decode(write(PNG), min_size=16).shape == BLOCKS.shape


def test_verify_all_keeps_order_and_a_short_queue(write, tmp_path, monkeypatch):
    good, bad = write(PNG, "good.png"), write(PNG[:-20], "bad.png")
    paths = [bad, good, tmp_path / "gone.png", good, good, bad]
    found = verify_all(iter(paths), workers=2)
    assert [path for path, _ in found] == [bad, tmp_path / "gone.png", bad]
    assert all(str(path) in message for path, message in found)

    lock, running, most, drawn = threading.Lock(), [0], [0], [0]

    def slow(path):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
            assert drawn[0] <= path + 8  # no more than 4 a worker ahead
        time.sleep(0.001)
        with lock:
            running[0] -= 1

    def draw():
        for i in range(40):
            drawn[0] = i
            yield i

    monkeypatch.setattr(module, "verify", slow)
    assert verify_all(draw(), workers=2) == []
    assert most[0] <= 2


def test_pillow_keeps_refusing_cut_files():
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
