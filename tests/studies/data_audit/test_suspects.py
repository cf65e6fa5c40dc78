"""Planted wrong labels and off-topic photos must come first, and far more often than by chance."""

import cv2
import numpy as np
import pandas as pd
import pytest

from dermssl.data import perceptual_hash
from dermssl.data.records import Dataset, make_index
from dermssl.data.synthetic import dataset as drawings
from dermssl.studies.data_audit import label_errors, off_topic, suspects
from dermssl.studies.data_audit import suspects_report as report

SHARE = 0.05  # of the labels planted


@pytest.fixture(scope="module")
def drawn():
    """800 drawings, and features of them that stand in for a backbone's."""
    pixels, table = drawings.generate(800, size=48, seed=5)
    h = np.array([features(photo) for photo in pixels])
    return pixels, table, (h - h.mean(0)) / h.std(0)


def features(photo):
    """Colours against the rim's, and contrasts at three scales."""
    lab = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB).astype(float)
    c, r = len(photo) // 2, len(photo) // 4
    rim = np.concatenate([lab[:6].reshape(-1, 3), lab[-6:].reshape(-1, 3)])
    colour = lab - np.median(rim, 0)
    middle = (slice(c - r, c + r), slice(c - r, c + r))
    values = [np.quantile(colour, [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98], axis=(0, 1)).ravel()]
    values += [colour[middle].std((0, 1)), colour[middle].mean((0, 1))]
    for scale in (1, 2, 4):
        rough = lab[..., 0] - cv2.GaussianBlur(lab[..., 0], (0, 0), scale)
        values.append([np.abs(rough).mean(), rough[middle].std()])
    return np.concatenate(values)


def colours(photo):
    """Non-negative, as a ReLU's: a histogram of colours and one of steps."""
    small = cv2.resize(photo, (32, 32), interpolation=cv2.INTER_AREA)
    counts = cv2.calcHist([small], [0, 1, 2], None, [4] * 3, [0, 256] * 3).ravel()
    steps = np.histogram(np.abs(np.diff(small.astype(int), axis=1)), [0, 4, 8, 16, 32, 64, 256])[0]
    return np.concatenate([np.sqrt(counts), np.sqrt(steps)])


def planted_labels(labels, seed):
    """Labels of which `SHARE` are swapped in pairs of different classes, and which."""
    rng = np.random.default_rng(seed)
    given, wrong = np.array(labels, dtype=object), []
    order = list(rng.permutation(len(given)))
    while len(wrong) < SHARE * len(given):
        a = order.pop()
        b = next(k for k in order if labels[k] != labels[a])
        order.remove(b)
        given[[a, b]] = given[[b, a]]
        wrong += [a, b]
    return given, np.isin(np.arange(len(given)), wrong)


def text_page(size=48):
    page = np.full((size, size, 3), 250, np.uint8)
    for y in range(3, size, 5):
        for x in range(2, size - 3, 4):
            page[y : y + 2, x : x + 2] = 20
    return page


def landscape(size=48):
    view = np.zeros((size, size, 3), np.uint8)
    view[: size // 2] = (90, 150, 240)
    view[size // 2 :] = (40, 140, 50)
    view[6:13, 33:42] = (250, 230, 80)
    return view


def noise(size=48):
    return np.random.default_rng(3).integers(0, 256, (size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_wrong_labels_come_first(drawn, seed):
    _, table, h = drawn
    given, wrong = planted_labels(table["label"].tolist(), seed)
    groups = table["lesion_id"].to_numpy(dtype=object)
    found = label_errors.find(h, given, groups)
    ranks = found.table["row"].to_numpy()
    # Of as many as were planted a third or more are planted ones, seven times as many as by chance.
    assert wrong[ranks[: wrong.sum()]].mean() >= 0.35 > 6.5 * wrong.mean()
    assert wrong[ranks[: len(ranks) // 4]].sum() >= 0.6 * wrong[ranks].sum()
    hinted = found.table[found.table["confident"]]["row"].to_numpy()
    assert wrong[hinted].mean() >= 2 * wrong.mean()
    # The suggested label is mostly the true one, where the label was swapped and is suspected.
    suspected = found.table.head(wrong.sum())
    suspected = suspected[wrong[suspected["row"].to_numpy()]]
    true = table["label"].to_numpy()[suspected["row"].to_numpy()]
    assert (suspected["suggested"].to_numpy() == true).mean() > 0.5


def test_labels_are_judged_by_other_groups():
    """A feature that names the lesion says nothing of its label, out of fold."""
    rng = np.random.default_rng(0)
    lesion = np.repeat(np.arange(60), 3)
    h = np.eye(60)[lesion] + rng.normal(scale=1e-3, size=(180, 60))
    y = rng.permutation(np.arange(60) % 2)[lesion]
    fold = label_errors.folds(y, lesion.astype(str), 5, seed=0)
    assert all(len(set(fold[lesion == k])) == 1 for k in range(60))
    p = label_errors.out_of_fold(label_errors.unit(h), y, fold, 2)
    assert abs(p[np.arange(180), y].mean() - 0.5) < 0.01
    inside = label_errors.out_of_fold(label_errors.unit(h), y, np.tile([0, 1, 2], 60), 2)
    assert inside[np.arange(180), y].mean() > 0.6  # photo by photo it would


def test_a_class_of_few_lesions_is_left_out_and_told(drawn):
    _, table, h = drawn
    labels = table["label"].to_numpy(dtype=object).copy()
    labels[:10] = ""
    labels[10:13] = "rare"
    groups = table["lesion_id"].to_numpy(dtype=object)
    found = label_errors.find(h, labels, groups)
    assert "rare" in found.left_out
    assert found.n_unlabelled == 10
    assert not set(found.table["row"]) & set(range(13))


@pytest.mark.parametrize("informative", [True, False])
def test_what_a_suggestion_is_worth_is_said(drawn, informative):
    _, table, h = drawn
    labels, groups = table["label"].to_numpy(object), table["lesion_id"].to_numpy(object)
    if not informative:
        h = np.random.default_rng(0).normal(size=h.shape)
    judged = label_errors.find(h, labels, groups)
    described = judged.table.assign(path="")
    found = suspects.Suspects(described, pd.DataFrame({"apart": []}), 12, True, {}, 0)
    recalls = [(part["margin"] > 0).mean() for _, part in judged.table.groupby("given")]
    assert found.balanced_accuracy == pytest.approx(np.mean(recalls))
    said = " ".join(report.sentences(report.summary(found)))
    named = f"balanced accuracy of {np.mean(recalls):.2f} (chance: {1 / len(recalls):.2f})"
    assert named in said
    assert ("worth little" in said) == (not informative)


def test_one_class_can_not_be_judged():
    found = label_errors.find(np.eye(8), np.repeat("a", 8), np.arange(8).astype(str))
    assert found.table.empty


def brute_confident(p, given):
    k = p.shape[1]
    t = [p[given == j, j].mean() for j in range(k)]
    wrong = []
    for row, label in zip(p, given):
        able = [j for j in range(k) if row[j] >= t[j]]
        wrong.append(bool(able) and max(able, key=lambda j: row[j]) != label)
    return wrong


def test_confident_learning_equals_the_slow_definition():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(4), 200)
    given = rng.integers(0, 4, 200)
    assert label_errors.confident(p, given).tolist() == brute_confident(p, given)
    cleanlab = pytest.importorskip("cleanlab")
    counted = cleanlab.count.compute_confident_joint(given, p, calibrate=False)
    assert counted.sum() - np.trace(counted) == label_errors.confident(p, given).sum()


def test_distances_equal_sklearn(drawn):
    from sklearn.neighbors import NearestNeighbors

    h = label_errors.unit(drawn[2])
    expected = NearestNeighbors(n_neighbors=11).fit(h).kneighbors(h)[0][:, 10]
    assert off_topic.distances(drawn[2], 10) == pytest.approx(expected, abs=2e-3)


def seen(pixels, folder):
    files = []
    for k, photo in enumerate(pixels):
        files.append(str(folder / f"{k:04d}.png"))
        cv2.imwrite(files[-1], photo[..., ::-1])
    return files, perceptual_hash.survey(files)


@pytest.fixture(scope="module")
def off(drawn, tmp_path_factory):
    """The drawings with nine off-topic photos at their end, in three kinds, and their survey."""
    planted = [text_page(), text_page(54), text_page(60), landscape(), landscape(60), noise(),
               noise(60), np.full((48, 48, 3), 128, np.uint8), noise(54)]  # fmt: skip
    pixels = [*drawn[0][:300], *planted]
    files, survey = seen(pixels, tmp_path_factory.mktemp("off"))
    h = np.array([colours(photo) for photo in pixels])
    return files, survey, h, np.arange(len(pixels)) >= 300


@pytest.mark.parametrize("by", ["embeddings", "pixels"])
def test_planted_off_topic_photos_come_first(off, by):
    _, survey, h, planted = off
    found = off_topic.find(survey.table, h if by == "embeddings" else None)
    first = planted[found["row"].to_numpy()]
    assert first[:9].sum() >= 7  # of nine; by chance 0.3
    assert first[:15].sum() == 9
    assert found["apart"].sum() <= 25
    grey = found.set_index("row").loc[307]
    assert "nearly one colour" in grey["reasons"]


def test_equal_photos_make_no_stranger_of_a_small_step(tmp_path):
    photo = np.random.default_rng(0).integers(90, 160, (64, 64, 3)).astype(np.uint8)
    wider = cv2.resize(photo, (65, 64))
    _, survey = seen([photo] * 12 + [wider], tmp_path)
    assert not off_topic.find(survey.table, None)["reasons"].str.contains("wide").any()


def test_the_files_and_the_words(off, drawn, tmp_path):
    files, survey, h, _ = off
    n = len(files)
    table = drawn[1].iloc[:300]
    label = [*table["label"], *["nv"] * (n - 300)]
    lesions = [*table["lesion_id"], *[f"X{k}" for k in range(n - 300)]]
    index = make_index(
        {"path": [file.rsplit("/", 1)[1] for file in files], "fine": label, "lesion_id": lesions}
    )
    data = Dataset(tmp_path.__class__(files[0]).parent, index, None)
    found = suspects.find(data, survey.table, h, index["lesion_id"].to_numpy(object), 12)
    suspects.write(tmp_path, found)
    assert suspects.draw(tmp_path, data, found) == [suspects.LABELS, suspects.TOPICS]
    labels = pd.read_csv(tmp_path / "likely_label_errors.csv")
    topics = pd.read_csv(tmp_path / "off_topic.csv")
    assert topics["rank"].tolist() == list(range(1, n + 1))
    assert labels["margin"].is_monotonic_increasing
    assert set(topics["path"].head(12)) >= {f"{k:04d}.png" for k in (300, 303, 307)}
    numbers = report.summary(found) | {"trained_on_labels": True}
    assert numbers["label_errors"]["judged"] == len(labels)
    said = " ".join(report.sentences(numbers))
    assert "nothing was removed and no label was changed" in said
    sections = report.sections(numbers, found)
    assert [section.title for section in sections] == [
        "Likely label errors", "Photos that may be off topic",
    ]  # fmt: skip
    suspects.write(tmp_path, None)
    assert not (tmp_path / "off_topic.csv").exists()


def test_without_a_run_label_errors_are_not_looked_for(off, tmp_path):
    files, survey, _, _ = off
    index = make_index({"path": [file.rsplit("/", 1)[1] for file in files], "fine": "nv"})
    data = Dataset(tmp_path.__class__(files[0]).parent, index, None)
    found = suspects.find(data, survey.table, None, index["path"].to_numpy(object), 5)
    said = report.sentences(report.summary(found))
    assert said[0].startswith("Likely label errors were not looked for: that takes a run")
    assert report.sections(report.summary(found), found)[0] is None
