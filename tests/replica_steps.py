"""Some steps of training, the same for any number of replicas; prints what came out, as JSON.

    python tests/replica_steps.py PHOTOS STRATEGY

With STRATEGY mirrored the CPU is two devices; with multiworker TF_CONFIG says who this is.
"""

import json
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

SIZE, BATCH, STEPS = 16, 6, 3


def network(norm):
    """A small backbone, with BatchNorm or without."""
    import keras
    from keras import layers

    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(8, 3, strides=2, kernel_initializer=keras.initializers.HeNormal(1))(
        layers.Rescaling(1 / 127.5, -1.0)(image)
    )
    x = layers.BatchNormalization(momentum=0.5)(x) if norm else x
    return keras.Model(image, layers.GlobalAveragePooling2D()(layers.ReLU()(x)))


def photos(folder, n):
    from dermssl.data.photos import Photos

    return Photos([str(file) for file in sorted((Path(folder) / "images").iterdir())[:n]], SIZE)


def simclr(folder, distribution, norm):
    """SimCLR; with BatchNorm its statistics are those of all replicas."""
    import keras

    from dermssl.data import pipeline
    from dermssl.data.augmentation.policies import AUGMENTATIONS
    from dermssl.models import batchnorm
    from dermssl.models.simclr import SimCLR

    with distribution.scope():
        model = SimCLR(network(norm), projection=(16, 8) if norm else (8,), seed=2)
        if norm:
            batchnorm.synchronise(model)
        model.compile(keras.optimizers.SGD(0.05))
    data = pipeline.two_view_data(
        photos(folder, 2 * BATCH), AUGMENTATIONS["simclr"], 0, BATCH, SIZE, STEPS,
        **distribution.parts,
    )  # fmt: skip
    return fitted(model, data, distribution)


def classifier(folder, distribution):
    """A classifier on batches of 6 and of 5 photos: two replicas have unequal parts of these."""
    import keras

    from dermssl.core import taxonomy
    from dermssl.data import pipeline
    from dermssl.data.augmentation.policies import AUGMENTATIONS
    from dermssl.losses.focal import SparseFocalLoss
    from dermssl.models.classifier import LesionClassifier
    from dermssl.training import metrics

    n, rng = 2 * BATCH - 1, np.random.default_rng(0)
    with distribution.scope():
        model = LesionClassifier(network(False), taxonomy.load("ham10000"), dropout=0.0, seed=2)
        balanced_accuracy = metrics.BalancedAccuracy(7)
        model.compile(
            keras.optimizers.SGD(0.05),
            loss={"fine": SparseFocalLoss(2.0), "coarse": SparseFocalLoss(2.0)},
            metrics={"fine": [metrics.KnownAccuracy(), balanced_accuracy]},
        )
    few, records = photos(folder, n), np.arange(n)
    targets = {"fine": rng.integers(-1, 7, n), "coarse": rng.integers(0, 2, n)}
    weights = {name: rng.uniform(0, 2, n) for name in targets}
    data = pipeline.supervised_data(
        few, records, targets, weights, AUGMENTATIONS["skin"], 0, BATCH, SIZE, STEPS,
        **distribution.parts,
    )  # fmt: skip
    held_out = pipeline.evaluation_data(few, BATCH, SIZE, targets, weights)
    found = fitted(model, data, distribution, distribution.held_out(held_out))
    # Shown only: Keras's means of losses in training, and of each output's loss, take parts of
    # unequal size as equal. What updates are made of and epochs are chosen by is exact.
    exact = ("val_loss", "val_fine_balanced_accuracy", "val_fine_known_accuracy")
    found["logs"] = {name: found["logs"][name] for name in exact if name in found["logs"]}
    assert len(found["logs"]) > 1
    counts = keras.ops.convert_to_numpy(balanced_accuracy.confusion)
    found["confusion"] = (counts / distribution.parts["workers"]).tolist()
    assert np.sum(found["confusion"]) == (targets["fine"] >= 0).sum()
    with distribution.scope():
        model.compile(keras.optimizers.Adam())
        model.optimizer.build(model.trainable_variables)
        model.optimizer.iterations.assign(1)
    found["shown"] = shown(model, balanced_accuracy, distribution)
    return found


def shown(model, metric, distribution):
    """The tags of what TensorBoard gets of an epoch."""
    from dermssl.core import event_file, runs
    from dermssl.training.epoch_details import EpochDetails

    with tempfile.TemporaryDirectory() as folder:
        workers = distribution.parts["workers"]
        details = EpochDetails(runs.Run(folder), "phase", [], 1, None, metric, workers)
        details.set_model(model)
        details.on_train_begin()
        details.on_epoch_end(0)
        details.on_train_end()
        return [value.tag for event in event_file.read(details.folder)
                for value in event.summary.value]  # fmt: skip


def fitted(model, data, distribution, held_out=None):
    """All variables after some steps, and the logs."""
    import keras

    if distribution.replicas > 1:
        distribution.build(model, data)
    history = model.fit(
        distribution.data(data), steps_per_epoch=STEPS, validation_data=held_out, shuffle=False,
        verbose=0,
    ).history  # fmt: skip
    values = [keras.ops.convert_to_numpy(variable) for variable in model.variables]
    return {
        "variables": [np.ravel(value).astype(float).tolist() for value in values],
        "logs": {name: float(column[-1]) for name, column in history.items()},
    }


def results(folder, distribution):
    """dict of case -> variables and logs."""
    return {
        "simclr": simclr(folder, distribution, False),
        "simclr, synchronised BatchNorm": simclr(folder, distribution, True),
        "classifier": classifier(folder, distribution),
    }


def talk(distribution):
    """What workers tell each other."""
    from dermssl.core.errors import UserError

    worker = distribution.parts["worker"]
    said = distribution.from_chief(b"from worker 0" if worker == 0 else None)
    try:
        distribution.check_alike(photos="same", settings=f"of worker {worker}")
    except UserError as error:
        return [distribution.agree(5 * worker), said.decode(), str(error)]


def cleared_pages():
    """Pages that the system clears for a block of 64 MiB, freed and asked for again."""
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        b"1" * 2**26
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def main(folder, strategy):
    """Print the results as JSON."""
    import tensorflow as tf

    from dermssl.training import distribution

    if strategy == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
    chosen = distribution.choose(strategy)
    found = {"replicas": chosen.replicas, "talk": talk(chosen) if chosen.cluster else None}
    found["cleared_pages"] = cleared_pages()
    print(json.dumps(found | results(folder, chosen)))


if __name__ == "__main__":
    main(*sys.argv[1:])
