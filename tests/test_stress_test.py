"""The stress test finds a planted shortcut, and doesn't blame a model that reads the lesion."""

import json
import shutil

import fake_runs
import numpy as np
import pages
import pandas as pd
import pytest
import tensorflow as tf
import tiny
from PIL import Image

from dermssl import stress_test
from dermssl.core import taxonomy as taxonomies
from dermssl.data.records import make_index
from dermssl.models import classifier, weights
from dermssl.studies.stress import conditions

FLAT = taxonomies.flat(("benign", "suspect"))
SIDE, N = 64, 80


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Photos where a blue corner goes with one class, and so does a dark lesion; with masks."""
    root = tmp_path_factory.mktemp("planted")
    (root / "images").mkdir()
    (root / "masks").mkdir()
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2
    for k, label in enumerate(y):
        photo = rng.normal((200, 150, 140), 4, (SIDE, SIDE, 3))
        centre, radius = rng.uniform(26, 38, 2), rng.uniform(8, 14)
        grid = np.arange(SIDE)
        mask = np.hypot(grid - centre[0], (grid - centre[1])[:, None]) < radius
        photo[mask] = (90, 40, 40) if label else (150, 95, 85)
        if label:
            photo[:12, :12] = (40, 60, 220)
        photo = np.clip(photo, 0, 255).astype(np.uint8)
        Image.fromarray(photo).save(root / "images" / f"{k:03d}.png")
        mask = np.uint8(255 * mask)
        Image.fromarray(mask).save(root / "masks" / f"{k:03d}_segmentation.png")
    table = make_index(
        {
            "path": [f"images/{k:03d}.png" for k in range(N)],
            "fine": np.array(FLAT.fine, dtype=object)[y],
            "coarse": np.array(FLAT.fine, dtype=object)[y],
            "lesion_id": [f"L{k // 2}" for k in range(0, 2 * N, 2)],
            "split": ["test"] * N,
        }
    )
    return root, table, np.eye(2)[y] * 0.8 + 0.1


class Looking:
    """A stand-in classifier: sure of `suspect` where its part of the photo is dark or blue."""

    def __init__(self, at):
        self.at = at

    def __call__(self, images, training=False):
        if self.at == "corner":
            part = tf.reduce_mean(images[:, :4, :4], axis=(1, 2))
            score = (part[:, 2] - part[:, 0]) / 20
        else:
            score = (122 - tf.reduce_mean(images[:, 14:18, 14:18, 0], axis=(1, 2))) / 5
        logits = tf.stack([tf.zeros_like(score), tf.clip_by_value(score, -9, 9)], axis=-1)
        return {"fine": logits, "coarse": logits}

    def probabilities(self, logits):
        return classifier.probabilities(logits, FLAT)


def stressed(planted, monkeypatch, folder, at, **options):
    root, table, p = planted
    run = fake_runs.make(folder, table, p, taxonomy=FLAT)
    monkeypatch.setattr(weights, "load_classifier", lambda path: Looking(at))
    size = {"name": "mobilenet", "image_size": 32}
    status = json.loads((run / "status.json").read_text())
    status["config"]["backbone"] |= size
    fake_runs.change_status(run, config=status["config"])
    out = stress_test(run, data=str(root), n_resamples=100, **options)
    return out, json.loads((out / "stress.json").read_text())


def test_a_planted_shortcut_is_found(planted, tmp_path, monkeypatch):
    out, found = stressed(planted, monkeypatch, tmp_path / "run", "corner")
    erased = found["conditions"]["lesion_erased"]["balanced_accuracy"]
    assert erased["estimate"] == 1.0
    assert len(found["warnings"]) == 2
    assert "with the lesion erased, balanced accuracy is 1.000 (0." in found["warnings"][0]
    assert "clearly above chance (0.500)" in found["warnings"][0]
    assert found["conditions"]["lesion_only"]["balanced_accuracy"]["estimate"] == 0.5
    # A drawn patch may cover the planted one, or look like it; hairs don't.
    assert found["conditions"]["patch"]["drop"]["estimate"] == pytest.approx(0.0875)
    assert found["conditions"]["patch"]["drop"]["level"] == 0.995
    assert found["conditions"]["hair"]["drop"]["estimate"] == 0
    text = (out / "report.md").read_text()
    assert set(pages.check(out)) == {"stress.png", "conditions.png"}
    assert "> **Warning.** Shortcut: with the lesion erased" in text
    assert "- With the lesion alone, on a plain ground, balanced accuracy is lower by 0.5" in text
    # Told, but 80 photos don't show it among ten comparisons.
    assert "- No drop in balanced accuracy is shown under: " in text
    assert "patch (−0.009 to 0.184)" in text
    assert "Intervals: of balanced accuracy and of every drop by formula" in text
    assert "(99.5% interval, one of the 10 of this report, which hold together at 95%;" in text


def test_a_model_that_looks_at_the_lesion_is_not_blamed(planted, tmp_path, monkeypatch):
    fake_runs.no_pictures(monkeypatch)
    out, found = stressed(planted, monkeypatch, tmp_path / "run", "lesion")
    conditions_ = found["conditions"]
    assert conditions_["clean"]["balanced_accuracy"]["estimate"] == 1.0
    assert conditions_["lesion_erased"]["balanced_accuracy"]["estimate"] == 0.5
    assert conditions_["lesion_only"]["balanced_accuracy"]["estimate"] == 1.0
    assert found["warnings"] == []
    text = (out / "report.md").read_text()
    assert "Warning" not in text
    assert "no shortcut was shown, which doesn't prove that there is none" in text
    assert (found["n"], found["n_groups"], found["n_masks"]) == (80, 80, 80)


def test_without_masks_a_disc_is_erased_and_said(planted, tmp_path, monkeypatch):
    fake_runs.no_pictures(monkeypatch)
    root, table, p = planted
    bare = tmp_path / "bare"
    shutil.copytree(root / "images", bare / "images")
    out, found = stressed((bare, table, p), monkeypatch, tmp_path / "run", "corner", max_photos=30)
    assert (found["n"], found["n_of"], found["n_masks"]) == (30, 80, 0)
    assert found["conditions"]["lesion_erased"]["flips"]["estimate"] == 0
    assert "background_only" not in found["conditions"]
    assert "the box round it, nearly the whole photo, was not erased" in found["findings"][-1]
    assert "30 of 30 photos have no mask and lost a disc" in found["warnings"][0]
    assert "chosen evenly over the classes out of 80" in (out / "report.md").read_text()
    assert "--max-photos 30" in found["command"]


def test_a_real_run(own_run, capsys, monkeypatch):
    fake_runs.no_pictures(monkeypatch)
    assert tiny.call(stress_test, own_run, "--n-resamples", 100, "--max-photos", 20) == 0
    out = own_run / "stress_test"
    shown = capsys.readouterr().out
    assert "20 test photos, chance" in shown
    table = pd.read_csv(out / "stress.csv", keep_default_na=False)
    found = json.loads((out / "stress.json").read_text())
    assert table["condition"].tolist() == list(conditions.names(found["n_masks"] / 20))
    assert table.loc[0, "drop"] == "n/a"
    assert set(table["n"]) == {20}
    # What the run predicted itself is what the clean photos give now.
    assert json.loads((out / "stress.json").read_text())["agreement"] < 1e-5
    assert "only photos from there can tell" in (out / "report.md").read_text()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["RUN", "--max-photos", "-1"], "--max-photos is -1"),
        (["RUN", "--strength", "0"], "--strength is 0.0; it must be at least 0.01"),
        (["RUN", "--n-resamples", "0"], "--n-resamples is 0"),
        (["RUN", "--seed", "-1"], "--seed is -1"),
        (["RUN", "--masks", "nowhere"], "--masks nowhere: no such folder"),
        (["RUN", "--masks", "EMPTY"], "no mask of these photos in it"),
        (["RUN", "--data", "EMPTY"], "photos of the run aren't there"),
        (["PRETRAINED"], "a run of dermssl.pretrain, not of dermssl.finetune"),
    ],
)
def test_bad_input_is_one_line(finetuned, pretrained, tmp_path, capsys, argv, said):
    names = {"RUN": finetuned, "PRETRAINED": pretrained, "EMPTY": tmp_path}
    assert tiny.call(stress_test, *[names.get(word, word) for word in argv]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (finetuned / "stress_test").exists()
