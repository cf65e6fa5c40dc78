"""Fuzz of everything that reads bytes from strangers: only our own errors may come out.

Bounded: DERMSSL_FUZZ is the number of examples a test (default 2,000). Byte flips run on JPEGs
drawn here and, where DERMSSL_FUZZ_PHOTOS names a folder, on the real ones in it.
"""

import json
import os
import resource
from collections import Counter
from pathlib import Path

import bad_inputs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from dermssl.core import runs, taxonomy
from dermssl.core.errors import UserError
from dermssl.core.settings import Backbone, Data
from dermssl.data import csv_tables, decode, readers, splits
from dermssl.models import backbones

EXAMPLES = int(os.environ.get("DERMSSL_FUZZ", "2000"))
PEAK = 512  # MiB that the whole fuzz may add to the process's peak
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
pytestmark = [pytest.mark.soak, pytest.mark.filterwarnings("ignore")]

KINDS = {
    "jpeg": bad_inputs.encoded(bad_inputs.picture(1, (90, 70)), quality=85),
    "progressive": bad_inputs.encoded(bad_inputs.picture(1, (90, 70)), progressive=True),
    "grey": bad_inputs.encoded(bad_inputs.picture(1, (90, 70)).convert("L")),
    "cmyk": bad_inputs.encoded(bad_inputs.picture(1, (90, 70)).convert("CMYK")),
    "exif": bad_inputs.encoded(bad_inputs.picture(1), exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(40)),
    "png": bad_inputs.PNG,
    "palette": bad_inputs.encoded(bad_inputs.picture(1).quantize(16), "PNG"),
    "alpha": bad_inputs.encoded(bad_inputs.picture(1).convert("RGBA"), "PNG"),
    "bmp": bad_inputs.BMP,
    "webp": bad_inputs.encoded(bad_inputs.picture(1), "WEBP"),
    "lossless": bad_inputs.encoded(bad_inputs.picture(1), "WEBP", lossless=True),
}


@pytest.fixture
def report(request, capsys):
    """Counts of outcomes, shown at the end; the peak of memory is checked."""
    counts, before = Counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield counts
    grew = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    with capsys.disabled():
        print(f"\n{request.node.name}: {dict(counts)}, peak +{grew:.0f} MiB")
    assert grew < PEAK


def outcome(counts, function, *arguments):
    """Count what a call does; anything but a result or a `UserError` of one line fails."""
    said = ""
    try:
        function(*arguments)
        counts["accepted"] += 1
    except UserError as error:
        counts["refused"] += 1
        said = str(error)
    assert "\n" not in said
    assert len(said) < 2000


def decoded(path):
    """All three doors of `decode`; they agree about the shape."""
    header = decode.verify(path)
    pixels = decode.decode(path)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (header.height, header.width, 3)
    assert min(decode.decode(path, min_size=16).shape[:2]) >= 16


edits = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255), st.sampled_from("xid")),
    min_size=1,
    max_size=8,
)


def edited(data, changes):
    """Bytes flipped (x), put in (i) or taken out (d), at places given as shares."""
    data = bytearray(data)
    for place, value, kind in changes:
        at = int(place * len(data))
        if kind == "x" and data:
            data[at] ^= value
        elif kind == "i":
            data[at:at] = bytes([value])
        else:
            del data[at : at + value]
    return bytes(data)


@seed(1)
@BOUNDED
@given(kind=st.sampled_from(sorted(KINDS)), changes=edits)
def test_edited_photos(kind, changes, tmp_path, report):
    path = tmp_path / "a.jpg"
    path.write_bytes(edited(KINDS[kind], changes))
    outcome(report, decoded, path)


@seed(2)
@BOUNDED
@given(
    head=st.sampled_from([b"", *(data[:size] for data in KINDS.values() for size in (3, 12, 60))]),
    rest=st.binary(max_size=300),
)
def test_random_bytes_behind_a_real_head(head, rest, tmp_path, report):
    path = tmp_path / "a.jpg"
    path.write_bytes(head + rest)
    outcome(report, decoded, path)


def test_flips_in_jpegs(tmp_path, report):
    """A few flipped bits each, in the header and in the pixels, of drawn and of real JPEGs."""
    folder = os.environ.get("DERMSSL_FUZZ_PHOTOS")
    found = sorted(Path(folder).rglob("*.jp*g"))[:200] if folder else []
    photos = [path.read_bytes() for path in found]
    photos += [KINDS[kind] for kind in ("jpeg", "progressive", "grey", "cmyk", "exif")]
    rng = np.random.Generator(np.random.Philox(key=3))
    path = tmp_path / "a.jpg"
    for trial in range(EXAMPLES):
        data = bytearray(photos[rng.integers(len(photos))])
        span = min(700, len(data)) if trial % 2 else len(data)
        for at in rng.integers(0, span, rng.integers(1, 6)):
            data[at] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        outcome(report, decoded, path)


cell = st.one_of(
    st.sampled_from(
        ["a.jpg", "b.jpg", "images/c.jpg", "../a.jpg", "/etc/passwd", "C:\\a", "nv", "mel", " nv ",
         "NV", "NA", "None", "", "=1+1", "train", "test", "val", "40", "-1", "1e400", "nan", "L1"]
    ),
    st.text(max_size=12),
)  # fmt: skip
column = st.sampled_from(
    ["filename", "label", "coarse", "lesion_id", "patient_id", "split", "site", "sex", "age",
     "skin_tone", "source", "Label ", "", "image_id", "dx", "x"]
)  # fmt: skip
lines = st.lists(st.lists(cell, min_size=1, max_size=6), max_size=8)


def joined(header, rows, separator, quote, encoding):
    """A table as text, quoted or not; unquoted cells may break it, which is the point."""
    wrap = (lambda text: '"' + text.replace('"', '""') + '"') if quote else (lambda text: text)
    text = "\n".join(separator.join(map(wrap, row)) for row in [header, *rows])
    return text.encode(encoding, "replace")


def whole(folder):
    """From the folder to splits, as every command reads it."""
    dataset = readers.read(Data(path=str(folder), on_bad="skip"))
    if dataset.taxonomy is not None:
        splits.assign(dataset)


@seed(4)
@BOUNDED
@given(
    name=st.sampled_from(["labels.csv", "x_metadata.csv"]),
    header=st.one_of(
        st.lists(column, min_size=1, max_size=6),
        st.just(["filename", "label"]),
        st.just(["image_id", "dx", "lesion_id"]),
    ),
    rows=lines,
    separator=st.sampled_from(",;\t"),
    quote=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"]),
)
def test_tables(name, header, rows, separator, quote, encoding, tmp_path, report):
    folder = _photos(tmp_path)
    rows = [(row * len(header))[: len(header)] if quote else row for row in rows]
    (folder / name).write_bytes(joined(header, rows, separator, quote, encoding))
    outcome(report, whole, folder)
    (folder / name).unlink()


def _photos(tmp_path):
    folder = tmp_path / "data"
    if not folder.exists():
        (folder / "images").mkdir(parents=True)
        for name in ("a.jpg", "b.jpg", "images/c.jpg"):
            (folder / name).write_bytes(bad_inputs.JPEG)
    return folder


@seed(5)
@BOUNDED
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_tables_of_any_bytes(data, tmp_path, report):
    path = tmp_path / "labels.csv"
    path.write_bytes(data)
    csv_tables.header_of(path, "filename,label")
    outcome(report, csv_tables.read_table, path, "filename,label")


json_value = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


entry = st.fixed_dictionaries(
    {"coarse": st.sampled_from(["a", "b"]) | json_value},
    optional={"title": st.just("t") | json_value, "malignancy": st.just("benign") | json_value},
)


@seed(6)
@BOUNDED
@given(
    table=st.fixed_dictionaries(
        {"fine": st.dictionaries(st.text(max_size=4), entry, max_size=3) | json_value},
        optional={"name": json_value, "x": json_value},
    )
)
def test_taxonomies(table, report):
    outcome(report, taxonomy.from_dict, table)


@seed(7)
@BOUNDED
@given(data=st.one_of(json_value.map(lambda value: json.dumps(value).encode()), st.binary()))
def test_status_files(data, tmp_path, report):
    (tmp_path / "status.json").write_bytes(data)
    outcome(report, runs.finished, tmp_path, "finetune", ("backbone",))


@pytest.mark.parametrize("name", ["w.weights.h5", "w.h5", "w.keras"])
def test_weights_files(name, tmp_path, report):
    """Damaged weights into a network built in code; a tenth of the examples, they are slow."""
    config = Backbone(name="mlp", image_size=16, weights=str(tmp_path / f"bad_{name}"))
    good = backbones.build(Backbone(name="mlp", image_size=16))
    (good.save_weights if name == "w.weights.h5" else good.save)(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    rng = np.random.Generator(np.random.Philox(key=8))
    for trial in range(EXAMPLES // 10):
        bad = bytearray(data)
        span = 4000 if trial % 2 else len(data)  # where the structure stands: both ends
        for at in rng.integers(-span // 2, span // 2, rng.integers(1, 8)):
            bad[at] ^= int(rng.integers(1, 256))
        if trial % 5 == 0:
            del bad[rng.integers(len(bad)) :]
        Path(config.weights).write_bytes(bad)
        outcome(report, backbones.build, config)
