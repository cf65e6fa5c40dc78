"""Fine-tuning in phases: weights of the classes, fresh optimizers, the best epoch."""

import keras
import numpy as np
import pandas as pd
import pytest
import tiny

from dermssl import finetune
from dermssl.core import runs, taxonomy
from dermssl.core.errors import RunFailed, UserError
from dermssl.core.settings import Backbone, Data, Finetune, Logging
from dermssl.data.splits import prepare
from dermssl.losses import focal
from dermssl.models import backbones, classifier
from dermssl.training import finetuning

pytestmark = pytest.mark.slow

HAM = taxonomy.load("ham10000")


def labels(seed, n=80, unknown=0.2):
    """`Labels` without photos: skewed classes, some records with only a coarse label, or none."""
    rng = np.random.default_rng(seed)
    share = np.array([1, 2, 3, 4, 5, 6, 20.0])
    fine = np.concatenate([np.arange(7), rng.choice(7, size=n - 7, p=share / share.sum())])
    coarse = HAM.parent_index[fine]
    fine[7:][rng.uniform(size=n - 7) < unknown] = -1
    coarse[7:][(rng.uniform(size=n - 7) < 0.3) & (fine[7:] < 0)] = -1
    return finetuning.LabelledPhotos(None, np.arange(n), {"fine": fine, "coarse": coarse}, [""] * n)


def class_sums(per_record, target, alpha=None):
    factor = np.ones(len(target)) if alpha is None else np.array(alpha)[np.maximum(target, 0)]
    size = target.max() + 1
    return np.array([(per_record * factor)[target == k].sum() for k in range(size)])


@pytest.mark.parametrize("balance", ["alpha", "sample_weights", "none"])
@pytest.mark.parametrize("level", ["fine", "coarse"])
def test_class_weights(balance, level):
    train, held_out = labels(0), labels(1)
    config = Finetune(class_balance=balance)
    alpha, weights, equal = finetuning.class_weights(config, train, held_out, HAM)
    target, held = train.targets[level], held_out.targets[level]
    assert (weights[level][target < 0] == 0).all()
    assert (equal[level][held < 0] == 0).all()
    in_train = class_sums(weights[level], target, alpha[level])
    in_held_out = class_sums(equal[level], held, alpha[level])
    assert (alpha[level] is not None) is (balance == "alpha")
    if balance == "none":
        np.testing.assert_array_equal(in_train, np.bincount(target[target >= 0]))
        np.testing.assert_array_equal(in_held_out, np.bincount(held[held >= 0]))
    else:  # every class counts equally, once, and a known record counts 1 on average
        np.testing.assert_allclose(in_train, in_train[0])
        np.testing.assert_allclose(in_held_out, in_held_out[0])
        assert in_train.sum() == pytest.approx((target >= 0).sum())
        assert in_held_out.sum() == pytest.approx((held >= 0).sum())


def test_alpha_and_sample_weights_are_the_same_loss():
    train = labels(0)
    logits = np.random.default_rng(2).normal(size=(80, 7)).astype(np.float32)
    found = []
    for balance in ("alpha", "sample_weights"):
        config = Finetune(class_balance=balance)
        alpha, weights, _ = finetuning.class_weights(config, train, train, HAM)
        loss = focal.SparseFocalLoss(2.0, alpha["fine"])
        found.append(float(loss(train.targets["fine"], logits, sample_weight=weights["fine"])))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_class_without_a_training_label_does_not_spoil_validation():
    train, held_out = labels(0), labels(1)
    train.targets["fine"][train.targets["fine"] == 3] = -1
    _, _, equal = finetuning.class_weights(Finetune(), train, held_out, HAM)
    assert np.isfinite(equal["fine"]).all()
    assert (equal["fine"][held_out.targets["fine"] == 3] == 0).all()


def test_plan():
    found = finetuning.plan(Finetune())
    assert [(p.name, p.epochs, p.depth) for p in found] == [("frozen", 10, 0), ("unfrozen", 20, -1)]
    assert found[0].learning_rate == 1e-3
    assert found[1].learning_rate == 1e-4
    (only,) = finetuning.plan(Finetune(frozen_epochs=0, depth=5))
    assert (only.name, only.depth) == ("unfrozen", 5)


def test_check_names_what_is_wrong():
    with pytest.raises(UserError, match=r"finetune\.augmentation 'no'; choose one of: none, "):
        finetuning.check(Finetune(augmentation="no"))
    with pytest.raises(UserError, match="both 0"):
        finetuning.check(Finetune(frozen_epochs=0, unfrozen_epochs=0))


def small_model(seed=0, classes=HAM, name="mlp"):
    keras.utils.set_random_seed(seed)
    backbone = backbones.build(Backbone(name=name, image_size=32))
    return classifier.LesionClassifier(backbone, classes, seed=seed)


def test_each_phase_has_a_fresh_optimizer_whose_rate_ends_at_0():
    model, config = small_model(), Finetune(weight_decay=0.01)
    optimizers = []
    for phase in finetuning.plan(config):
        alpha = {"fine": None, "coarse": None}
        finetuning.compile_phase(model, phase, 7, alpha, config)
        optimizer = model.optimizer
        total = 7 * phase.epochs
        rate = [float(optimizer._learning_rate(step)) for step in range(total + 1)]
        assert max(rate) == pytest.approx(phase.learning_rate)
        assert np.argmax(rate) == round(finetuning.WARMUP * total)
        assert rate[-1] == pytest.approx(0, abs=1e-9)
        optimizers.append(optimizer)
    assert optimizers[0] is not optimizers[1]
    optimizer.build(model.trainable_variables)
    decayed = [v.path for v in model.trainable_variables if optimizer._use_weight_decay(v)]
    assert decayed
    assert all(path.endswith("kernel") for path in decayed)


def test_the_coarse_loss_counts_once_where_there_is_no_hierarchy():
    config = Finetune(coarse_weight=0.5)
    phase = finetuning.plan(config)[0]
    for classes, expected in ((HAM, 0.5), (taxonomy.flat(HAM.fine), 0.0)):
        alpha, model = {"fine": None, "coarse": None}, small_model(classes=classes)
        finetuning.compile_phase(model, phase, 1, alpha, config)
        assert model._compile_loss._user_loss_weights == {"fine": 1.0, "coarse": expected}


class Recorder:
    """Runs `run_phases` on the tiny data set with an MLP."""

    def __init__(self, photos, folder):
        self.photos, self.folder = photos, folder
        self.dataset = prepare(Data(path=str(photos)))

    def __call__(
        self, model=None, wrong_labels=False, coarse_only=False, tensorboard="full", **settings
    ):
        settings = {"frozen_epochs": 2, "unfrozen_epochs": 2, "batch_size": 16} | settings
        config = tiny.finetuning(self.photos, self.folder, name="mlp", **settings)
        parts = [
            finetuning.labelled_photos(
                self.dataset,
                finetuning.labelled_rows(self.dataset, split),
                self.dataset.taxonomy,
                config,
            )
            for split in ("train", "validation")
        ]
        if wrong_labels:
            parts[0].targets["fine"][:] = (parts[0].targets["fine"] + 1) % 7
        if coarse_only:
            for part in parts:
                part.targets["fine"][:] = -1
        self.model = model or small_model()
        self.validation = parts[1]
        with runs.open_run(self.folder, "finetune", config, "hash", overwrite=True) as made:
            return finetuning.run_phases(
                made, self.model, *parts, config["finetune"], 0, "test",
                logging=Logging(tensorboard=tensorboard),
            )  # fmt: skip


@pytest.fixture
def train(photos, tmp_path):
    return Recorder(photos, tmp_path / "run")


def scores(recorder):
    """Validation metrics of the model as it is now."""
    from dermssl.data import pipeline

    found = recorder.validation
    weights = {name: np.ones(len(found.photos)) for name in found.targets}
    data = pipeline.evaluation_data(found.photos, 16, 32, found.targets, weights)
    return recorder.model.evaluate(data, return_dict=True, verbose=0)


def test_history_rows_and_manifests(train):
    rows, manifests = train()
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        ("frozen", 1), ("frozen", 2), ("unfrozen", 1), ("unfrozen", 2),
    ]  # fmt: skip
    table = pd.read_csv(train.folder / "history.csv")
    assert table["phase"].tolist() == [row["phase"] for row in rows]
    assert table["val_loss"].notna().all()
    assert table["learning_rate"].tolist()[1::2] == pytest.approx([0, 0], abs=1e-9)
    assert manifests["frozen"].parameters == 0
    assert manifests["unfrozen"].kernels == ("dense1", "dense2")


def test_the_frozen_phase_leaves_the_backbone_alone(train):
    model = small_model()
    before = model.backbone.get_weights()
    train(model, unfrozen_epochs=0)
    for old, new in zip(before, model.backbone.get_weights()):
        np.testing.assert_array_equal(old, new)
    train(model, frozen_epochs=0, unfrozen_learning_rate=1e-2, select_by="loss")
    after = model.backbone.get_weights()
    assert all((old != new).any() for old, new in zip(before, after))


def test_it_ends_with_the_best_epoch_of_all_phases(train):
    # A rate that ruins the second phase: its epochs are not what should be kept.
    rows, _ = train(select_by="loss", frozen_epochs=3, frozen_learning_rate=3e-3,
                    unfrozen_learning_rate=0.5, coarse_weight=0.0, class_balance="none",
                    )  # fmt: skip
    values = [row["val_fine_loss"] for row in rows]
    assert min(values[:3]) < min(values[3:])
    assert scores(train)["fine_loss"] == pytest.approx(min(values), rel=1e-4)


def test_a_phase_ends_with_its_best_epoch(train):
    # Wrong labels: every epoch of training makes validation worse.
    rows, _ = train(wrong_labels=True, select_by="loss", frozen_epochs=3, unfrozen_epochs=0,
                    frozen_learning_rate=0.1, coarse_weight=0.0, class_balance="none")  # fmt: skip
    values = [row["val_fine_loss"] for row in rows]
    assert min(values) < values[-1], values
    assert scores(train)["fine_loss"] == pytest.approx(min(values), rel=1e-4)


@pytest.mark.parametrize(
    ("select_by", "first", "second", "kept"),
    [
        ("balanced_accuracy", [0.2, 0.5, 0.4], [0.45, 0.3], 0),
        ("balanced_accuracy", [0.2, 0.5, 0.4], [0.3, 0.6], 1),
        ("balanced_accuracy", [0.5], [0.5], 0),  # no better: the earlier stays
        ("loss", [2.0, 1.0], [1.5, 1.4], 0),
        ("loss", [2.0, 1.0], [1.5, 0.9], 1),
    ],
)
def test_the_next_phase_counts_only_if_better(monkeypatch, train, select_by, first, second, kept):
    def fake(run, model, data, state, *rest, **more):
        """Stands for a phase that gives these values on validation, and these weights."""
        best = state.best
        best.set_model(model)
        starts.append(model.get_weights()[0].flat[0])
        for epoch, value in enumerate(values.pop(0)):
            at = 10.0 * len(starts) + epoch
            model.set_weights([np.full_like(weight, at) for weight in model.get_weights()])
            best.on_epoch_end(epoch, {finetuning.MONITORS[select_by][0]: value})

    starts, values = [], [first, second]
    chosen = max if select_by == "balanced_accuracy" else min
    expected = [10.0 * (k + 1) + v.index(chosen(v)) for k, v in enumerate((first, second))]
    monkeypatch.setattr(finetuning.loop, "fit", fake)
    train(select_by=select_by)
    assert starts[1] == expected[0]
    assert train.model.get_weights()[0].flat[0] == expected[kept]


def test_coarse_labels_alone_are_learnt_for_more_than_an_epoch(train, caplog):
    # Balanced accuracy over the fine classes is 0 throughout and would keep the first epoch.
    rows, _ = train(coarse_only=True, frozen_epochs=4, unfrozen_epochs=0,
                    frozen_learning_rate=3e-3)  # fmt: skip
    values = [row["val_loss"] for row in rows]
    assert {row["val_fine_balanced_accuracy"] for row in rows} == {0.0}
    assert min(values) < values[0]
    assert scores(train)["coarse_accuracy"] == pytest.approx(
        rows[int(np.argmin(values))]["val_coarse_accuracy"], abs=1e-4
    )
    assert "the best epoch is chosen by its loss" in caplog.text


def test_patience_ends_a_phase(train):
    rows, _ = train(frozen_epochs=5, unfrozen_epochs=0, patience=1, frozen_learning_rate=0.0)
    assert [row["epoch"] for row in rows] == [1, 2]


def test_steps_per_epoch_and_the_data_go_on_across_phases(train, monkeypatch):
    from dermssl.data import pipeline

    ranges = []
    original = pipeline.supervised_data

    def spy(*args, steps, start, **parts):
        ranges.append((start, steps))
        return original(*args, steps=steps, start=start, **parts)

    monkeypatch.setattr(pipeline, "supervised_data", spy)
    train(steps_per_epoch=3)
    assert ranges == [(0, 6), (6, 12)]


def test_a_loss_that_is_no_number_ends_as_diverged(photos, tmp_path):
    backbone = backbones.build(Backbone(name="mlp", image_size=32))
    backbone.set_weights([1e30 * weight for weight in backbone.get_weights()])
    backbone.save_weights(tmp_path / "huge.weights.h5")
    file = str(tmp_path / "huge.weights.h5")
    config = tiny.finetuning(photos, tmp_path / "run", name="mlp", weights=file)
    with pytest.raises(RunFailed, match="diverged"):
        finetune.run(config)
    status = runs.read_json(tmp_path / "run" / "status.json")
    assert status["status"] == runs.DIVERGED
    assert not (tmp_path / "run" / "model.keras").exists()


def test_a_depth_beyond_the_backbone_is_refused_before_the_frozen_phase(photos, tmp_path):
    config = tiny.finetuning(photos, tmp_path / "run", name="mlp", depth=99)
    with pytest.raises(UserError, match=r"finetune\.depth 99 is beyond the backbone"):
        finetune.run(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_is_a_function_of_its_seed(photos, tmp_path):
    tables = []
    for seed in (0, 0, 1):
        output = tmp_path / str(len(tables))
        finetune.run(tiny.finetuning(photos, output, name="mlp", seed=seed))
        table = pd.read_csv(output / "predictions.csv")
        tables.append(table[[name for name in table if name.startswith("p_")]].to_numpy())
        keras.backend.clear_session()
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-5)
    assert np.abs(tables[0] - tables[2]).max() > 1e-3


def test_what_tensorboard_shows_changes_no_number(train):
    ended = {}
    for tensorboard, folders in (
        ("full", {"details", "heat_maps", "train", "validation"}),
        ("scalars", {"train", "validation"}),
        ("none", set()),
    ):
        rows, _ = train(
            small_model(name="cnn"), tensorboard=tensorboard, frozen_epochs=0, unfrozen_epochs=1,
            steps_per_epoch=2,
        )  # fmt: skip
        shown = {path.parent.name for path in train.folder.rglob("events*")}
        assert shown == folders
        ended[tensorboard] = train.model.get_weights(), [row["val_loss"] for row in rows]
    for weights, losses in ended.values():
        assert losses == ended["full"][1]
        for one, other in zip(weights, ended["full"][0]):
            np.testing.assert_array_equal(one, other)
