"""What a pretraining and a fine-tuning leave for TensorBoard, read back."""

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from dermssl.core import event_file, runs
from dermssl.core.settings import Backbone
from dermssl.inference import finished_run
from dermssl.training import epoch_details, pictures

PHASES = ("frozen", "unfrozen")


def board(run, name):
    """The events of a folder in tensorboard/: dict of tag -> list of (step, value)."""
    events = accumulator(run, name)
    return {
        tag: [(one.step, tensor_util.make_ndarray(one.tensor_proto)) for one in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def accumulator(run, name):
    events = event_accumulator.EventAccumulator(str(run / "tensorboard" / name), {"tensors": 0})
    events.Reload()
    return events


def picture(value):
    """The picture of an image summary, uint8 (h, w, 3)."""
    width, height, png = value
    shown = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert shown.shape == (int(height), int(width), 3)
    return shown


def settings_shown(run):
    """The settings that HParams shows of a run."""
    metadata = accumulator(run, "scores").SummaryMetadata("_hparams_/session_start_info")
    found = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
    return {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in found.session_start_info.hparams.items()
    }


def test_histograms_of_a_pretraining(pretrained):
    found = board(pretrained, "pretrain/details")
    weights = {tag for tag in found if tag.startswith("weights/")}
    assert len(weights) == epoch_details.LAYERS
    assert set(found) == weights | {tag.replace("weights/", "gradients/") for tag in weights}
    backbone = finished_run.load(pretrained, "pretrain").backbone()
    kernels = {f"weights/{weight.path}": weight.numpy() for weight in backbone.weights}
    assert len(weights & set(kernels)) == epoch_details.LAYERS - 1  # one is the projection head's
    for tag in weights & set(kernels):
        kernel, (first, last) = kernels[tag], found[tag]
        assert (first[0], last[0]) == (1, 2)
        bins = last[1]
        assert bins.shape == (30, 3)
        assert bins[:, 2].sum() == kernel.size
        np.testing.assert_allclose([bins[0, 0], bins[-1, 1]], [kernel.min(), kernel.max()])
        for step, gradients in found[tag.replace("weights/", "gradients/")]:
            assert step in (1, 2)
            assert gradients[:, 2].sum() == kernel.size
            assert gradients[0, 0] < 0 < gradients[-1, 1]


def test_views_of_a_pretraining(pretrained):
    ((step, value),) = board(pretrained, "views")["views"]
    shown = cv2.imread(str(pretrained / "views.png"))[..., ::-1]
    np.testing.assert_array_equal(picture(value), shown)
    assert step == 0


@pytest.mark.parametrize("phase", PHASES)
def test_pictures_of_a_fine_tuning(finetuned, phase):
    found = board(finetuned, f"{phase}/details")
    (step, matrix), (_, photos) = found["confusion_matrix"][0], found["validation_photos"][0]
    assert step == len(found["confusion_matrix"]) == len(found["validation_photos"]) == 1
    assert min(picture(matrix).shape[:2]) > 7 * pictures.CELL
    assert picture(photos).shape[1] > epoch_details.WATCHED / 2 * pictures.SIDE
    ((_, maps),) = board(finetuned, f"{phase}/heat_maps")["heat_maps"]
    assert picture(maps).shape[1] > epoch_details.WATCHED * pictures.SIDE
    assert picture(maps).shape[0] > 3 * pictures.SIDE


def test_probabilities_are_those_of_the_predictions(finetuned):
    history = pd.read_csv(finetuned / "history.csv")
    best = history["val_fine_balanced_accuracy"].argmax()  # whose weights the run ends with
    ((_, text),) = board(finetuned, f"{history['phase'][best]}/details")["probabilities"]
    head, _, *lines = text.item().decode().split("\n")
    shown = pd.DataFrame(
        [line.strip("| ").split(" | ") for line in lines], columns=head.strip("| ").split(" | ")
    )
    assert len(shown) == epoch_details.WATCHED
    table = pd.read_csv(finetuned / "predictions.csv").set_index("path").loc[shown["file"]]
    p = table.filter(regex="^p_fine_")
    assert set(table["split"]) == {"validation"}
    assert table["fine"].tolist() == shown["true"].tolist()
    assert table["fine"].nunique() == 7  # every class is there
    guess = p.columns[p.to_numpy().argmax(axis=1)].str.removeprefix("p_fine_")
    assert guess.tolist() == shown["predicted"].tolist()
    np.testing.assert_allclose(p.max(axis=1), shown["P(predicted)"].astype(float), atol=6e-4)
    of_true = [row[f"p_fine_{row['fine']}"] for _, row in table.iterrows()]
    np.testing.assert_allclose(of_true, shown["P(true)"].astype(float), atol=6e-4)


def test_hparams_hold_settings_and_scores_of_both(pretrained, finetuned):
    shown = settings_shown(finetuned)
    assert shown["finetune.batch_size"] == 16
    assert shown["finetune.head"] == "hierarchical"
    assert shown["backbone.weights"] == str(pretrained)
    assert (shown["seed"], shown["arm"]) == (0, "ssl")
    scores = runs.read_json(finetuned / "finetuned_stats.json")["scores"]["test"]
    found = board(finetuned, "scores")
    for name in ("balanced_accuracy", "log_loss"):
        assert found[f"test/{name}"] == [(0, np.float32(scores[name]))]
    assert settings_shown(pretrained)["pretrain.projection"] == "32 16"
    loss = runs.read_json(pretrained / "ssl_stats.json")["loss"]
    assert board(pretrained, "scores")["loss"] == [(0, np.float32(loss))]


def test_an_epoch_is_there_once_after_a_kill(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="dense")])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    data = np.ones((8, 2), np.float32), np.ones((8, 1), np.float32)
    with runs.open_run(
        tmp_path / "run", "pretrain", {"backbone": Backbone(), "seed": 0}, "hash"
    ) as run:
        for known, epochs in ((0, 5), (3, 6)):  # a process that was killed, saved at epoch 3
            rows = [{"phase": "pretrain", "epoch": epoch} for epoch in range(1, known + 1)]
            details = epoch_details.EpochDetails(run, "pretrain", rows, 6)
            model.fit(*data, initial_epoch=known, epochs=epochs, verbose=0, callbacks=[details])
    for values in board(run, "pretrain/details").values():
        assert [step for step, _ in values] == [1, 5, 6]
    steps = [event.step for event in event_file.read(run / "tensorboard" / "pretrain" / "details")]
    assert steps == sorted(steps)


def test_a_confusion_matrix_is_drawn_by_its_shares():
    matrix = np.array([[8, 0], [5, 5]])
    shown = pictures.confusion_matrix(matrix, ["a", "ein sehr langer Name mit Ä und ж"])
    colours = {tuple(int(c) for c in colour) for colour in np.unique(shown.reshape(-1, 3), axis=0)}
    half = tuple(int(c) for c in np.rint(255 + 0.5 * (pictures.FULL - 255)))
    assert {tuple(int(c) for c in pictures.FULL), half, (255, 255, 255)} <= colours
    many = pictures.confusion_matrix(np.eye(40, dtype=int), [f"class {k}" for k in range(40)])
    assert 40 * pictures.NARROW < len(many) < 40 * pictures.CELL
