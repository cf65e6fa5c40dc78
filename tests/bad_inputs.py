"""At least 50 bad inputs as a table: what is wrong, how to make it, what must be said.

`ROWS` spoil a copy of a small data folder; `made` writes the clean one. No TensorFlow here, so
that a fresh process can run the same table under a memory limit.
"""

import io
import os
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

VICTIM = "images/p03.jpg"
BIG = 3 * 2**30  # bytes of a file with a hole: large, and takes no room on disk
FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (32, 32), "red")], "duration": 100}


def picture(number, size=(32, 32)):
    """A small photo-like picture, the same for the same number."""
    rng = np.random.Generator(np.random.Philox(key=number))
    coarse = rng.integers(60, 220, (4, 4, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(image, kind="JPEG", **options):
    """The bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def made(folder):
    """A clean data folder of 24 photos in two classes, a lesion each."""
    (folder / "images").mkdir(parents=True)
    for number in range(24):
        (folder / f"images/p{number:02d}.jpg").write_bytes(encoded(picture(number)))
    table(folder, clean_rows())
    return folder


def clean_rows():
    """The rows of the clean labels.csv, as lists of cells."""
    head = ["filename", "label", "lesion_id"]
    return [head] + [
        [f"images/p{k:02d}.jpg", ("nv", "mel")[k % 2], f"L{k}"] for k in range(24)
    ]  # fmt: skip


def table(folder, rows, encoding="utf-8", separator=","):
    """Write labels.csv."""
    text = "".join(separator.join(row) + "\n" for row in rows)
    (folder / "labels.csv").write_bytes(text.encode(encoding))


def chunk(name, data):
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, rows, before=b""):
    """A PNG of 8-bit RGB that states a size and holds `rows` rows of it."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(rows * (1 + 3 * width))))
    return b"\x89PNG\r\n\x1a\n" + head + before + data + chunk(b"IEND", b"")


def jpeg_of(width, height):
    """A small JPEG whose header claims another size."""
    data = encoded(picture(3))
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def zipped():
    """A ZIP archive that would unpack outside of its folder."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("../outside.txt", "no")
    return stream.getvalue()


JPEG, PNG = encoded(picture(3)), encoded(picture(3), "PNG")
BMP = encoded(picture(3), "BMP")
BMP_BOMB = BMP[:18] + struct.pack("<ii", 40000, 40000) + BMP[26:]
WEBP_BOMB = b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\xff\0" * 2
BAD_CRC = PNG[:-16] + bytes([PNG[-16] ^ 1]) + PNG[-15:]

# What is wrong with one photo -> its bytes, words of the message.
PHOTOS = {
    "no byte": (b"", "0 bytes"),
    "one byte": (b"\xff", "no known image"),
    "JPEG signature only": (JPEG[:3], "damaged"),
    "JPEG header only": (JPEG[: JPEG.index(b"\xff\xda")], "damaged"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "damaged"),
    "JPEG without its end": (JPEG[:-2], "damaged"),
    "JPEG of 65,000 x 65,000": (jpeg_of(65000, 65000), "65000 x 65000 px"),
    "JPEG of 32 x 0": (jpeg_of(32, 0), "damaged"),
    "JPEG, progressive, cut": (encoded(picture(3), progressive=True)[:-40], "damaged"),
    "PNG signature only": (PNG[:8], "damaged"),
    "PNG header only": (PNG[:33], "damaged"),
    "half a PNG": (PNG[: len(PNG) // 2], "damaged"),
    "PNG with a bad checksum": (BAD_CRC, "bad checksum"),
    "PNG of 40000 x 40000": (png(40000, 40000, 1), "40000 x 40000 px"),
    "PNG with missing rows": (png(32, 32, 20), "before the last row"),
    "PNG with a text bomb": (
        png(32, 32, 32, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26)))), "damaged",
    ),
    "PNG of 8 x 8": (encoded(picture(3, (8, 8)), "PNG"), "8 x 8 px, a side under 16"),
    "animated PNG": (encoded(picture(3), "PNG", **FRAMES), "animated PNG of 2 frames"),
    "BMP of 40000 x 40000": (BMP_BOMB, "40000 x 40000 px"),
    "BMP cut": (BMP[:200], "damaged"),
    "WebP of 65536 x 65536": (WEBP_BOMB, "65536 x 65536 px"),
    "WebP cut": (encoded(picture(3), "WEBP")[:60], "damaged"),
    "animated WebP": (encoded(picture(3), "WEBP", **FRAMES), "animated WEBP of 2 frames"),
    "GIF": (encoded(picture(3), "GIF"), "looks like a GIF"),
    "animated GIF": (encoded(picture(3), "GIF", **FRAMES), "looks like a GIF"),
    "half a TIFF": (encoded(picture(3), "TIFF")[:400], "p03.jpg"),
    "AVIF": (b"\0\0\0\x1cftypavif" + bytes(64), "AVIF or video"),
    "DICOM": (bytes(128) + b"DICM" + bytes(64), "DICOM"),
    "HTML": (b"<!DOCTYPE html><title>404</title>", "HTML or XML"),
    "SVG": (b'<?xml version="1.0"?><svg onload="x()"/>', "HTML or XML"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "text": (b"not an image", "no known image"),
    "ZIP": (zipped(), "no known image"),
    "ELF": (b"\x7fELF" + bytes(200), "no known image"),
    "pickle": (b"\x80\x04cos\nsystem\n(S'touch ran'\ntR.", "no known image"),
}  # fmt: skip


def _photo(data):
    return lambda folder: (folder / VICTIM).write_bytes(data)


def _hole(name):
    def spoil(folder):
        with open(folder / name, "wb") as file:
            file.truncate(BIG)

    return spoil


def _instead(change):
    def spoil(folder):
        (folder / VICTIM).unlink()
        change(folder / VICTIM)

    return spoil


def _cell(line, column, value):
    def spoil(folder):
        rows = clean_rows()
        rows[line - 1][column] = value
        table(folder, rows)

    return spoil


def _more(*row):
    return lambda folder: table(folder, [*clean_rows(), list(row)])


def _text(content):
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / "labels.csv").write_bytes(data)


def _file(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def _column(name, values):
    def spoil(folder):
        rows = clean_rows()
        cells = [name, *(values[k % len(values)] for k in range(len(rows) - 1))]
        table(folder, [[*row, cell] for row, cell in zip(rows, cells)])

    return spoil


def _linked_table(folder):
    (folder / "labels.csv").rename(folder.parent / "elsewhere.csv")
    (folder / "labels.csv").symlink_to(folder.parent / "elsewhere.csv")


def _linked_taxonomy(folder):
    (folder.parent / "elsewhere.toml").write_text('[fine.nv]\ncoarse = "nv"\n')
    (folder / "taxonomy.toml").symlink_to(folder.parent / "elsewhere.toml")


# What is wrong with the folder or its tables -> how to make it, words of the message.
FOLDERS = {
    "a photo of 3 GiB": (_hole(VICTIM), "3,221,225,472 bytes"),
    "a pipe for a photo": (_instead(os.mkfifo), "p03.jpg' not found"),
    "a folder for a photo": (_instead(os.mkdir), "p03.jpg' not found"),
    "no photo": (_instead(lambda path: None), "p03.jpg' not found"),
    "a link out of the folder": (
        _instead(lambda path: path.symlink_to("/etc/hosts")), "a link that leaves the folder",
    ),
    "a link to itself": (_instead(lambda path: path.symlink_to(path.name)), "not found"),
    "a link to nothing": (_instead(lambda path: path.symlink_to("nothing.jpg")), "not found"),
    "an empty table": (_text(""), "labels.csv: empty"),
    "a header alone": (_text("filename,label\n"), "a header but no rows"),
    "a table of 3 GiB": (_hole("labels.csv"), "labels.csv: 3,221,225,472 bytes"),
    "a table that is a photo": (_text(JPEG), "is not UTF-8 text"),
    "Latin-1": (
        lambda folder: table(folder, [*clean_rows(), ["a.jpg", "n\xe4vus", ""]], "latin-1"),
        "line 26 is not UTF-8 text",
    ),
    "UTF-16, unmarked": (lambda folder: table(folder, clean_rows(), "utf-16-le"), "a NUL byte"),
    "a NUL byte": (_cell(5, 1, "n\0v"), "line 5 holds a NUL byte"),
    "a doubled header": (_column("label", ["nv"]), "column 'label' stands twice"),
    "no filename column": (_text("name,label\na.jpg,nv\n"), "no column 'filename'"),
    "a row too long": (_more("images/p00.jpg", "nv", "L0", "x"), "line 26 has 4 column(s)"),
    "a row too short": (_more("images/p00.jpg"), "line 26 has 1 column(s)"),
    "an open quote": (_cell(5, 1, '"nv'), "is no valid CSV"),
    "a cell of 200,000 letters": (_cell(5, 1, "x" * 200_000), "is no valid CSV"),
    "rows that disagree": (_more("images/p00.jpg", "mel", "L0"), "lines 2 and 26 are both"),
    "a blank name": (_cell(5, 0, "  "), "line 5: the file name is blank"),
    "a name with ..": (_cell(5, 0, "../p00.jpg"), "line 5: '../p00.jpg' leaves the data folder"),
    "a name with .. inside": (_cell(5, 0, "images/../../p.jpg"), "leaves the data folder"),
    "an absolute name": (_cell(5, 0, "/etc/passwd"), "'/etc/passwd' is an absolute path"),
    "a drive's name": (_cell(5, 0, "C:\\p00.jpg"), "is an absolute path"),
    "a name with a return": (_cell(5, 0, '"a\nb.jpg"'), "has odd characters"),
    "a label with an escape": (_cell(5, 1, "n\x1b[31mv"), "has odd characters"),
    "an unknown split": (_column("split", ["train", "tset"]), "'tset'"),
    "a lesion in two splits": (
        lambda folder: table(
            folder,
            [["filename", "label", "lesion_id", "split"]]
            + [[f"images/p{k:02d}.jpg", ("nv", "mel")[k % 2], "L0" if k in (2, 9) else f"L{k}",
                ("train", "test", "validation")[k % 3]] for k in range(24)],
        ),
        "lesion_id 'L0' is in two splits",
    ),
    "an age in words": (_column("age", ["old"]), "age 'old'"),
    "an age that is no number": (_column("age", ["inf"]), "age 'inf'"),
    "a table that is a link out": (_linked_table, "labels.csv' is a link that leaves the folder"),
    "a taxonomy that is a link out": (
        _linked_taxonomy, "taxonomy.toml' is a link that leaves the folder",
    ),
    "a taxonomy of other classes": (
        _file("taxonomy.toml", b'[fine.bcc]\ncoarse = "x"\n'), "unknown label 'nv'",
    ),
    "a taxonomy that is no TOML": (_file("taxonomy.toml", b"[fine"), "not a valid TOML file"),
    "a taxonomy that is binary": (_file("taxonomy.toml", JPEG), "not a valid TOML file"),
    "a taxonomy without classes": (_file("taxonomy.toml", b"a = 1\n"), "no [fine.NAME] table"),
    "a taxonomy of lists": (_file("taxonomy.toml", b"[fine]\nnv = [1]\n"), "no 'coarse' key"),
    "a taxonomy with a list for a group": (
        _file("taxonomy.toml", b"[fine.nv]\ncoarse = [1]\n[fine.mel]\ncoarse = 'm'\n"), "'coarse'",
    ),
    "a taxonomy with a table for a title": (
        _file("taxonomy.toml", b"[fine.nv]\ncoarse='a'\ntitle={}\n[fine.mel]\ncoarse='b'\n"),
        "'title'",
    ),
    "a taxonomy 3,000 lists deep": (
        _file("taxonomy.toml", b"a = " + b"[" * 3000), "not a valid TOML file",
    ),
    "a taxonomy of 3 GiB": (_hole("taxonomy.toml"), "taxonomy.toml: 3,221,225,472 bytes"),
}  # fmt: skip

ROWS = {name: (_photo(data), ("p03.jpg", said)) for name, (data, said) in PHOTOS.items()}
ROWS |= {name: (spoil, (said,)) for name, (spoil, said) in FOLDERS.items()}
