"""The embedded data set: determinism, schema, imbalance, no shortcuts, and its folder."""

import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest

from dermssl.core import taxonomy
from dermssl.core.commands import EMBEDDED
from dermssl.core.errors import UserError
from dermssl.data.synthetic import camera, dataset, embedded
from dermssl.data.synthetic import lesions as synthetic_lesions

FINE = taxonomy.load("ham10000").fine


@pytest.fixture(scope="module")
def drawn():
    """1,400 photos at 32 px, drawn once for the whole module."""
    return dataset.generate(1400, 32, seed=5)


def test_same_seed_same_bytes():
    images, table = dataset.generate(40, 24, seed=1)
    again, table_again = dataset.generate(40, 24, seed=1)
    assert images.tobytes() == again.tobytes()
    pd.testing.assert_frame_equal(table, table_again)


def test_other_seed_other_data():
    images, table = dataset.generate(40, 24, seed=1)
    others, other_table = dataset.generate(40, 24, seed=2)
    assert not (images == others).all(axis=(1, 2, 3)).any()
    assert not table.equals(other_table)


def test_global_generator_is_left_alone():
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    dataset.generate(30, 24)
    np.testing.assert_array_equal(state, np.random.get_state()[1])


def test_smaller_set_is_start_of_larger():
    images, table = dataset.generate(30, 24, seed=3)
    more, more_table = dataset.generate(75, 24, seed=3)
    np.testing.assert_array_equal(images, more[:30])
    pd.testing.assert_frame_equal(table, more_table[:30])


def test_any_photo_can_be_drawn_alone(drawn):
    images, table = drawn
    row = table.iloc[1200]
    lesion = int(row.lesion_id.removeprefix("LES_"))
    rng = dataset.stream(5, dataset.LESION, lesion)
    subject = synthetic_lesions.scene(rng, row.label, row.skin_tone, 32)
    photo = camera.photograph(dataset.stream(5, dataset.PHOTO, 1200), subject, 32)
    np.testing.assert_array_equal(photo, images[1200])


def test_schema(drawn):
    images, table = drawn
    assert images.shape == (1400, 32, 32, 3)
    assert images.dtype == np.uint8
    assert list(table.columns) == list(dataset.COLUMNS)
    assert len(table) == 1400
    assert not table.isna().any().any()
    assert table.filename.is_unique
    assert table.filename[0] == "images/SYN_000000.jpg"
    assert set(table.label) == set(FINE)
    assert set(table.skin_tone) <= set(synthetic_lesions.TONES)
    assert set(table.sex) == {"female", "male"}
    assert set(table.site) <= set(dataset.SITES)
    assert table.age.between(5, 85).all()
    assert table.equals(dataset.records(1400, seed=5))


def test_coarse_follows_the_taxonomy(drawn):
    classes = taxonomy.load("ham10000")
    parent = dict(zip(classes.fine, classes.parents))
    assert (drawn[1].label.map(parent) == drawn[1].coarse).all()


def test_tables_of_shares():
    assert sum(dataset.BLOCK.values()) == 50
    assert set(dataset.BLOCK) == set(synthetic_lesions.PAINTERS) == set(FINE)
    assert set(dataset.SKIN_TONES) == set(synthetic_lesions.TONES)
    for shares in (dataset.SKIN_TONES, dataset.SITES):
        assert sum(shares.values()) == pytest.approx(1)


def test_imbalance_is_that_of_ham10000():
    share = dataset.records(4000, seed=0).label.value_counts(normalize=True)
    ham = {"nv": 0.67, "mel": 0.11, "bkl": 0.11, "bcc": 0.051, "akiec": 0.033}
    for label, expected in ham.items():
        assert share[label] == pytest.approx(expected, rel=0.35), label
    assert share[["df", "vasc"]].between(0.01, 0.035).all()


@pytest.mark.parametrize("seed", range(4))
def test_every_class_has_a_dozen_lesions_from_1000_photos(seed):
    lesions = dataset.records(1000, seed).drop_duplicates("lesion_id")
    assert lesions.label.value_counts().reindex(FINE).min() >= 12


@pytest.mark.parametrize("seed", range(4))
def test_smallest_set_has_every_class(seed):
    assert set(dataset.records(dataset.MIN_RECORDS, seed).label) == set(FINE)


def test_lesions_and_patients(drawn):
    table = drawn[1]
    lesion = table.groupby("lesion_id")
    assert (lesion[["label", "coarse", "patient_id", "site"]].nunique() == 1).all(axis=None)
    patient = table.groupby("patient_id")
    assert (patient[["skin_tone", "sex", "age"]].nunique() == 1).all(axis=None)
    assert lesion.size().max() <= 4
    assert lesion.size().mean() == pytest.approx(1.35, abs=0.1)
    assert patient.lesion_id.nunique().between(1, 5).all()


def test_skin_tones_lean_light_and_reach_dark():
    people = dataset.records(4000, seed=0).drop_duplicates("patient_id")
    share = people.skin_tone.value_counts(normalize=True)
    assert 0.7 < share[["I", "II", "III"]].sum() < 0.9
    assert share.reindex(list(synthetic_lesions.TONES)).min() > 0.01


def test_darker_tones_are_darker(drawn):
    images, table = drawn
    light = images.reshape(len(images), -1).mean(axis=1)
    by_tone = pd.Series(light).groupby(table.skin_tone).mean()
    assert (np.diff(by_tone[["I", "III", "IV", "V"]]) < 0).all()


def test_photos_of_a_lesion_are_close_but_not_equal(drawn):
    images, table = drawn
    size = table.groupby("lesion_id").size()
    pairs = [np.flatnonzero(table.lesion_id == name)[:2] for name in size.index[size > 1][:150]]
    first, second = np.array(pairs).T
    colour = images.reshape(len(images), -1, 3).astype(float).mean(axis=1)
    same = np.abs(colour[first] - colour[second]).mean()
    other = np.abs(colour[first] - colour[np.roll(second, 1)]).mean()
    assert 0 < same < 0.75 * other
    assert not (images[first] == images[second]).all(axis=(1, 2, 3)).any()


def test_artefacts_do_not_depend_on_the_class():
    seed, table = 0, dataset.records(6000, seed=0)
    shown = [camera.pick_artefacts(dataset.stream(seed, dataset.PHOTO, k)) for k in range(6000)]
    label = table.label.to_numpy(dtype=object)
    for name, share in camera.ARTEFACTS.items():
        has = np.array([name in artefacts for artefacts in shown])
        assert has.mean() == pytest.approx(share, abs=0.02)
        chi_square = sum(
            (has[label == fine].sum() - has.mean() * (label == fine).sum()) ** 2
            / ((label == fine).sum() * has.mean() * (1 - has.mean()))
            for fine in FINE
        )
        assert chi_square < 22.5, name  # 6 degrees of freedom, p = 0.001


@pytest.mark.parametrize("name", camera.ARTEFACTS)
def test_each_artefact_can_be_seen(name, monkeypatch):
    subject, changed = np.full((62, 62, 3), 0.5, np.float32), 0
    for number in range(5):
        photos = []
        for shown in (set(), {name}):
            monkeypatch.setattr(camera, "pick_artefacts", lambda rng, shown=shown: shown)
            rng = dataset.stream(0, dataset.PHOTO, number)
            photos.append(camera.photograph(rng, subject, 48).astype(int))
        changed += (np.abs(photos[0] - photos[1]).max(axis=-1) > 30).sum()  # above the grain
    assert changed > 20


def test_mean_colour_does_not_give_the_class_away(drawn):
    linear_model = pytest.importorskip("sklearn.linear_model")
    images, table = drawn
    label = table.label.to_numpy(dtype=str)
    colour = images.reshape(len(images), -1, 3).mean(axis=1)
    colour = (colour - colour.mean(axis=0)) / colour.std(axis=0)
    train = np.arange(len(label)) < 900  # patients come in order; one may straddle the cut
    model = linear_model.LogisticRegression(class_weight="balanced", max_iter=500)
    hit = model.fit(colour[train], label[train]).predict(colour[~train]) == label[~train]
    assert np.mean([hit[label[~train] == fine].mean() for fine in FINE]) < 0.5


def test_write_round_trip(tmp_path):
    folder = dataset.write(tmp_path / "new" / "set", n=40, size=48, seed=4)
    images, table = dataset.generate(40, 48, seed=4)
    labels = pd.read_csv(folder / "labels.csv")
    pd.testing.assert_frame_equal(labels, table, check_dtype=False)
    for name, image in zip(labels.filename, images):
        photo = cv2.imread(str(folder / name))[..., ::-1]
        assert np.abs(photo.astype(int) - image).mean() < 8  # JPEG's loss
    assert sorted(p.name for p in folder.iterdir()) == ["images", "labels.csv", "taxonomy.toml"]


def test_write_again_gives_the_same_files(tmp_path):
    read = lambda: {p.name: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}  # noqa: E731
    dataset.write(tmp_path, n=30, size=24)
    first = read()
    dataset.write(tmp_path, n=45, size=24)
    (tmp_path / "images" / "mine.jpg").write_bytes(b"kept")
    dataset.write(tmp_path, n=30, size=24)
    assert read() == {**first, "mine.jpg": b"kept"}


@pytest.mark.parametrize(
    "bad",
    [
        {"n": dataset.MIN_RECORDS - 1},
        {"n": 10.5},
        {"n": True},
        {"n": 10**6},
        {"size": 23},
        {"size": 5000},
        {"size": "64"},
        {"seed": -1},
        {"seed": 2**64},
    ],
)
def test_bad_arguments(bad, tmp_path):
    for call in (dataset.generate, lambda **k: dataset.write(tmp_path / "x", **k)):
        with pytest.raises(UserError, match=f"synthetic data: {next(iter(bad))} is") as caught:
            call(**bad)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="taken: can't make this folder"):
        dataset.write(tmp_path / "taken", n=30, size=24)


def test_no_tensorflow():
    code = "import sys, dermssl.data.synthetic.dataset; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_embedded_set_is_drawn_once_and_only_in_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedded, "PHOTOS", 30)
    embedded.draw_if_missing("elsewhere")
    assert not (tmp_path / "elsewhere").exists()
    embedded.draw_if_missing(EMBEDDED)
    labels = tmp_path / EMBEDDED / "labels.csv"
    before = labels.stat().st_mtime_ns
    embedded.draw_if_missing(EMBEDDED)
    assert labels.stat().st_mtime_ns == before
    assert len(pd.read_csv(labels)) == 30
