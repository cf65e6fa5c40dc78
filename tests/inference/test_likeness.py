"""Do new photos look like the run's: distances, limits, what is kept, and the words."""

import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import tiny
from sklearn.neighbors import NearestNeighbors

from dermssl import predict
from dermssl.core.errors import UserError
from dermssl.inference import finished_run, likeness


def sample(n, seed, shift=0.0, d=16):
    """Embeddings and colours of n photos of one kind, or of a kind that is `shift` away."""
    rng = np.random.default_rng(seed)
    h = np.abs(rng.normal(size=(n, d))) + 1
    h[:, 0] += 20 * shift
    return h, rng.normal(120, 20, (n, 6)) + 90 * shift


@pytest.fixture(scope="module")
def reference():
    sizes = np.tile([600.0, 450.0], (400, 1))
    return likeness.fit(*sample(500, 0), *sample(400, 1), sizes)


def test_distance_is_that_to_the_fifth_neighbour_of_scikit_learn(reference):
    h, colours = sample(30, 2)
    unit = h / np.linalg.norm(h, axis=1, keepdims=True)
    twin = NearestNeighbors(n_neighbors=5).fit(reference.bank.astype(float))
    far = twin.kneighbors(unit)[0][:, -1] / reference.limits[0]
    np.testing.assert_allclose(reference.distances(h, colours)[:, 0], far, rtol=0.01)


def test_colour_distance_is_mahalanobis(reference):
    _, colours = sample(500, 0)
    _, new = sample(20, 3)
    inverse = np.linalg.inv(np.cov(colours.T) + np.eye(6))
    off = new - colours.mean(axis=0)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", off, inverse, off)) / reference.limits[1]
    np.testing.assert_allclose(reference.distances(*sample(20, 3))[:, 1], expected, rtol=1e-6)


def test_about_one_percent_of_the_same_kind_is_unlike_by_each():
    sizes = np.tile([600.0, 450.0], (1000, 1))
    reference = likeness.fit(*sample(1000, 0), *sample(1000, 1), sizes)
    found = reference.check(*sample(4000, 5), np.tile([600.0, 450.0], (4000, 1)))
    assert reference.share == pytest.approx(2 * 10 / 1001)
    assert 0.01 < found["unlike_run"].ne("").mean() < 0.035
    for kind in ("embedding", "colour"):
        assert 0.003 < found["unlike_run"].str.contains(kind).mean() < 0.025


@pytest.mark.parametrize(
    ("size", "unlike"),
    [((600, 450), False), ((450, 600), False), ((2000, 1500), False), ((4000, 3000), True),
     ((120, 90), True), ((900, 450), True)],
)  # fmt: skip
def test_size(reference, size, unlike):
    found = reference.check(*sample(1, 7), np.array([size], float))["unlike_run"][0]
    assert ("size" in found) == unlike


def test_the_line_counts_and_says_when_it_is_more_than_chance(reference):
    sizes = np.tile([600.0, 450.0], (50, 1))
    other = reference.check(*sample(50, 8, shift=1), sizes)
    assert (other["unlike_run"] == "embedding colour").all()
    assert (other["distance_to_run"] > 1).all()
    said = reference.sentence(other["unlike_run"])
    assert said.startswith("50 of 50 photos look unlike the run's (embedding 50, colour 50;")
    assert said.endswith("more than chance, its scores may not hold here")
    assert reference.sentence([""] * 9) == ""
    assert "chance" not in reference.sentence(["colour"] + [""] * 99)


def test_what_is_kept_is_read_again(reference, tmp_path):
    likeness.write(tmp_path, reference)
    again = likeness.read(tmp_path)
    sizes = np.tile([600.0, 450.0], (9, 1))
    pd.testing.assert_frame_equal(
        again.check(*sample(9, 4), sizes), reference.check(*sample(9, 4), sizes)
    )
    assert again.n == 400
    assert likeness.read(tmp_path / "nowhere") is None
    (tmp_path / likeness.NAME).write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(UserError, match=r"likeness\.npz: not what dermssl\.finetune left there"):
        likeness.read(tmp_path)


def test_too_few_photos_make_no_reference():
    with pytest.raises(UserError, match="30 training and 9 validation photos"):
        likeness.fit(*sample(30, 0), *sample(9, 1), np.ones((9, 2)))


def test_a_run_keeps_a_reference_or_makes_it_on_demand(finetuned, tmp_path):
    kept = likeness.read(finetuned)
    assert kept is not None
    old = shutil.copytree(finetuned, tmp_path / "old")
    (old / likeness.NAME).unlink()
    run = finished_run.load(old)
    made, missing = likeness.of_run(run, run.model().backbone)
    assert missing == ""
    np.testing.assert_allclose(made.bank, kept.bank, atol=2e-3)
    np.testing.assert_allclose(made.limits, kept.limits, rtol=1e-3)
    assert likeness.read(old) is not None


def test_predict_names_photos_of_another_kind(finetuned, tmp_path, capfd):
    folder = tmp_path / "new"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 255, (40, 40, 3), np.uint8))
    output = tmp_path / "new.csv"
    assert tiny.call(predict, finetuned, folder, "--output", output) == 0
    table = pd.read_csv(output, keep_default_na=False)
    assert (table["unlike_run"] != "").all()
    assert "6 of 6 photos look unlike the run's (" in capfd.readouterr().err


def test_predict_says_why_likeness_was_not_checked(finetuned, tmp_path, photos, capfd):
    old = shutil.copytree(finetuned, tmp_path / "old")
    (old / likeness.NAME).unlink()
    status = (old / "status.json").read_text()
    (old / "status.json").write_text(status.replace(str(photos), str(tmp_path / "gone")))
    photo = photos / "images" / "SYN_000003.jpg"
    assert tiny.call(predict, old, photo, "--output", tmp_path / "one.csv") == 0
    assert "likeness to the run's photos not checked: " in capfd.readouterr().err
    assert pd.read_csv(tmp_path / "one.csv", keep_default_na=False)["unlike_run"].eq("n/a").all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_colours_are_the_mean_and_deviation_of_each_channel(dtype):
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3)).astype(dtype)
    flat = images.reshape(3, -1, 3).astype(float)
    expected = np.concatenate([flat.mean(axis=1), flat.std(axis=1)], axis=1)
    np.testing.assert_allclose(likeness.colours(images), expected, rtol=1e-6)


def test_nearest_lesions_are_those_of_a_slow_search(reference, tmp_path):
    h, colours = sample(500, 0)
    lesions = [f"lesion{k // 3}" if k % 5 else "" for k in range(500)]
    records = np.array([[f"p/{k}.jpg", lesions[k], "nv" if k % 2 else ""] for k in range(500)])
    sizes = np.tile([600.0, 450.0], (400, 1))
    known = likeness.fit(h, colours, *sample(400, 1), sizes, records)
    likeness.write(tmp_path, known)
    new = sample(6, 2)[0]
    unit = new / np.linalg.norm(new, axis=1, keepdims=True)
    for found, one in zip(likeness.read(tmp_path).nearest(new), unit):
        far = np.linalg.norm(known.bank.astype(float) - one, axis=1) / known.limits[0]
        expected = {}  # lesion, or photo without one -> its nearest photo
        for k in np.argsort(far):
            expected.setdefault(lesions[k] or records[k, 0], k)
        nearest = list(expected.values())[:3]
        assert [one.path for one in found] == records[nearest, 0].tolist()
        assert [one.fine for one in found] == records[nearest, 2].tolist()
        np.testing.assert_allclose([one.distance for one in found], far[nearest], rtol=2e-3)
    assert known.nearest(h[:1])[0][0].path == "p/0.jpg"
    assert str(known.nearest(h[:1])[0][0]).startswith("p/0.jpg (no label, ")


def test_a_file_of_an_older_version_names_no_lesion(finetuned, tmp_path, photos, capfd):
    old = shutil.copytree(finetuned, tmp_path / "old")
    with np.load(old / likeness.NAME) as kept:
        assert kept["records"].shape == (len(kept["bank"]), 3)
        np.savez(old / likeness.NAME, **{k: kept[k] for k in kept if k != "records"})
    photo = photos / "images" / "SYN_000003.jpg"
    assert tiny.call(predict, old, photo, "--output", tmp_path / "one.csv") == 0
    said = capfd.readouterr().err
    assert said.count("nearest training lesions not known: ") == 1
    assert "likeness.npz is of an older version; delete it" in said
    table = pd.read_csv(tmp_path / "one.csv", keep_default_na=False)
    assert table["nearest_training"].tolist() == ["n/a"]
    assert table["unlike_run"][0] != "n/a"
