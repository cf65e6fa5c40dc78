"""Finding duplicates, leaks and contradictions: planted ones are found, clean data rests."""

import io
import time

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermssl.data import near_pairs, perceptual_hash, readers, records, splits
from dermssl.data.records import make_index
from dermssl.studies.data_audit import audit


def photo(number, width=120, height=90):
    """A textured picture, another for each number."""
    rng = np.random.Generator(np.random.Philox(key=number))
    noise = rng.uniform(0, 255, (height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    low, high = smooth.min(), smooth.max()
    return ((smooth - low) / (high - low) * 255).astype(np.uint8)


def jpeg(pixels, quality=90):
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


SAME = {
    "re-encoded": lambda p: jpeg(p, 40),
    "half the size": lambda p: jpeg(cv2.resize(p, None, fx=0.5, fy=0.5)),
    "thrice the size": lambda p: jpeg(cv2.resize(p, None, fx=3, fy=3)),
    "brighter": lambda p: jpeg(np.clip(p * 1.15 + 5, 0, 255).astype(np.uint8)),
    "mirrored": lambda p: jpeg(p[:, ::-1], 70),
    "upside down": lambda p: jpeg(p[::-1], 70),
    "turned by 180": lambda p: jpeg(np.rot90(p, 2), 70),
    "turned left": lambda p: jpeg(np.rot90(p), 70),
    "turned right": lambda p: jpeg(np.rot90(p, -1), 70),
    "transposed": lambda p: jpeg(p.swapaxes(0, 1), 70),
    "mirrored, small, re-encoded": lambda p: jpeg(cv2.resize(p[:, ::-1], (90, 60)), 60),
    "with a hair": lambda p: jpeg(cv2.line(p.copy(), (0, 0), (119, 60), (20, 10, 10), 1)),
}  # fmt: skip


def surveyed(tmp_path, files):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return perceptual_hash.survey([str(tmp_path / name) for name in files])


def table(files, **columns):
    rows = make_index({"path": list(files), **columns})
    assert rows["path"].tolist() == list(files)  # in this order already
    return rows


@pytest.mark.parametrize("name", SAME)
def test_one_photo_is_known_again(tmp_path, name):
    files = {f"a{k}.jpg": jpeg(photo(k)) for k in range(6)}
    files["b.jpg"] = SAME[name](photo(3))
    found = audit.audit(table(files), surveyed(tmp_path, files)).pairs
    assert found[["kind", "path_a", "path_b"]].to_numpy().tolist() == [["near", "a3.jpg", "b.jpg"]]
    turned = name.startswith(("mirrored", "upside", "turned", "transposed"))
    assert (found["flipped"][0] == "mirrored or turned") == turned


def test_equal_files_and_equal_pixels_are_told_apart(tmp_path):
    png = io.BytesIO()
    files = {"a.jpg": jpeg(photo(1)), "b.jpg": jpeg(photo(2)), "c.jpg": jpeg(photo(1))}
    pixels = np.asarray(Image.open(io.BytesIO(files["a.jpg"])).convert("RGB"))
    Image.fromarray(pixels).save(png, "PNG")
    files |= {"d.png": png.getvalue(), "e.jpg": jpeg(photo(1)), "f.png": png.getvalue()}
    found = audit.audit(table(files), surveyed(tmp_path, files)).pairs
    expected = [
        ["same file", "a.jpg", "c.jpg"], ["same file", "a.jpg", "e.jpg"],
        ["same file", "d.png", "f.png"], ["same pixels", "a.jpg", "d.png"],
    ]  # fmt: skip
    assert found[["kind", "path_a", "path_b"]].to_numpy().tolist() == expected
    assert (found["bits"] == 0).all()


def test_flat_and_unreadable_photos_are_no_duplicates(tmp_path):
    grey = np.full((40, 40, 3), 128, np.uint8)
    files = {"a.jpg": jpeg(grey), "b.jpg": jpeg(grey + 30), "c.jpg": b"", "d.jpg": b"no"}
    files["e.jpg"] = b"no"
    seen = surveyed(tmp_path, files)
    assert seen.table["flat"].tolist() == [True, True, False, False, False]
    assert (seen.table["error"] != "").tolist() == [False, False, True, True, True]
    assert audit.audit(table(files), seen).pairs.empty


def test_leaks_conflicts_and_ids(tmp_path):
    names = [f"{k}.jpg" for k in range(8)]
    files = {name: jpeg(photo(k)) for k, name in enumerate(names)}
    files["8.jpg"] = jpeg(photo(0)[:, ::-1])  # train and test, other labels, other lesions
    files["9.jpg"] = jpeg(photo(1), 50)  # the same lesion in one split
    rows = table(
        files,
        split=["train"] * 5 + ["validation"] * 2 + ["test"] * 2 + ["train"],
        fine=["nv"] * 8 + ["mel", ""],
        coarse=["x"] * 9 + ["y"],
        lesion_id=["A", "B", "C", "D", "D", "D", "", "", "E", "B"],
        patient_id=["P"] * 3 + [""] * 4 + ["P"] + [""] * 2,
    )
    found = audit.audit(rows, surveyed(tmp_path, files))
    assert found.leaks[["path_a", "path_b"]].to_numpy().tolist() == [["0.jpg", "8.jpg"]]
    # One differs in the fine label, the other, where one fine label is blank, in the coarse.
    assert set(found.conflicts["path_b"]) == {"8.jpg", "9.jpg"}
    assert found.pairs.set_index("path_b")["same_lesion"].to_dict() == {
        "8.jpg": False, "9.jpg": True,
    }  # fmt: skip
    assert found.crossing.to_numpy().tolist() == [
        ["lesion_id", "D", "train validation", 3], ["patient_id", "P", "train test", 4],
    ]  # fmt: skip
    counts = audit.counts(found).set_index("kind").loc["near"]
    assert counts.to_dict() == {
        "pairs": 2, "same_lesion": 1, "same_patient": 0, "across_splits": 1, "labels_differ": 2,
        "of_different_lesions": 1,
    }  # fmt: skip


def test_clean_photos_raise_no_alarm(photos):
    """160 drawn photos of 32 px: 12,720 pairs, of which only those of one lesion may look alike."""
    from dermssl.core.settings import Data

    dataset = splits.assign(readers.read(Data(path=str(photos))))
    found = audit.audit(dataset.index, perceptual_hash.survey(dataset.files))
    assert found.pairs["same_lesion"].all()
    assert found.leaks.empty
    assert found.conflicts.empty
    assert found.crossing.empty


def brute(words, turned, limit):
    """All pairs, bit by bit."""
    sizes, flips = near_pairs.SIZES, near_pairs.FLIPS
    found = {}
    for a in range(len(words)):
        for b in range(a + 1, len(words)):
            best = 999
            for mine in (words[a], turned[a]):
                counts = [bin(int(x) ^ int(y)).count("1") for x, y in zip(mine, words[b])]
                for flip in flips:
                    ways = [n - c if f else c for n, c, f in zip(sizes, counts, flip)]
                    best = min(best, sum(ways))
            if best <= limit:
                found[a, b] = best
    return found


def test_pairs_equal_a_loop_over_all(monkeypatch):
    rng = np.random.Generator(np.random.Philox(key=5))
    pictures = [photo(k, 64, 64)[..., 0] for k in range(40)]
    for k in range(30):
        noisy = pictures[k % 12] + rng.normal(0, 25 * (k % 4), (64, 64))
        pictures.append([noisy, noisy[:, ::-1], noisy.T, np.rot90(noisy)][k % 4])
    words, turned = map(np.stack, zip(*[perceptual_hash.perceptual(np.array(p)) for p in pictures]))
    monkeypatch.setattr(near_pairs, "ROWS", 16)
    for limit in (0, 28, 60, 90):
        a, b, bits, _, cut = near_pairs.near_pairs(words, turned, limit)
        assert dict(zip(zip(a.tolist(), b.tolist()), bits.tolist())) == brute(words, turned, limit)
        assert not cut
    assert near_pairs.near_pairs(words, turned, 90, max_pairs=5)[-1]
    assert len(near_pairs.near_pairs(words[:0], turned[:0], 9)[0]) == 0


def test_similar_pairs_equal_a_matrix(monkeypatch):
    rng = np.random.Generator(np.random.Philox(key=6))
    features = rng.normal(size=(50, 8)) + 20
    features[40:] = features[:10] + rng.normal(0, 0.1, (10, 8))
    centred = features - features.mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    expected = np.argwhere(np.triu(centred @ centred.T >= 0.9, 1)).tolist()
    monkeypatch.setattr(near_pairs, "ROWS", 16)
    a, b, cosine, cut = near_pairs.similar_pairs(features, 0.9)
    assert np.column_stack([a, b]).tolist() == expected
    assert len(expected) >= 10
    assert (cosine >= 0.9).all()
    assert not cut
    near = audit.audit(
        make_index({"path": [f"{k:02}" for k in range(50)]}),
        perceptual_hash.Survey(
            pd.DataFrame({
                "file_hash": [str(k) for k in range(50)], "pixel_hash": [str(k) for k in range(50)],
                "error": "", "flat": True,
            }),
            np.zeros((50, 4), np.uint64), np.zeros((50, 4), np.uint64),
        ),
        features=features, similarity=0.9,
    )  # fmt: skip
    assert set(near.pairs["kind"]) == {"similar"}
    assert len(near.pairs) == len(expected)
    assert near.leaks.empty


def test_many_photos_take_no_loop():
    """5,000 strangers: 12.5 million pairs, eight ways round each."""
    rng = np.random.Generator(np.random.Philox(key=7))
    words = rng.integers(0, 2**64, (5000, 4), dtype=np.uint64)
    words[4321] = words[17]
    start = time.perf_counter()
    a, b, bits, way, _ = near_pairs.near_pairs(words, words[:, [0, 2, 1, 3]], 28)
    assert (a.tolist(), b.tolist(), bits.tolist(), way.tolist()) == ([17], [4321], [0], [0])
    assert time.perf_counter() - start < 20  # half a second beside other work


def test_splits_that_can_t_be_made_are_a_note():
    rows = make_index({"path": ["a", "b"], "fine": ["nv", "mel"]})
    dataset = records.Dataset(None, rows, None)
    assert audit.refusal(dataset, 0.1, 0.2, 0, "auto") == ""
    assert "leave nothing to train on" in audit.refusal(dataset, 0.5, 0.6, 0, "auto")
    dataset, note = audit.with_splits(dataset, 0.5, 0.6, 0, "auto")
    assert note.startswith("none: data.validation 0.5 and data.test 0.6 leave nothing")
    assert (dataset.index["split"] == "").all()
    rows = rows.assign(split=["val", "holdout"])
    dataset, note = audit.with_splits(records.Dataset(None, rows, None), 0.1, 0.2, 0, "auto")
    assert dataset.index["split"].tolist() == ["validation", ""]
    assert note == "the data set's own; not used: holdout"
