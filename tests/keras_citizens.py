"""Every Keras class of the package with an example of it, and what each must be able to do.

`tests/test_keras_citizens.py` holds the examples against the classes that it finds in the
package. As a script, this file runs in a process of its own: `FOLDER` has what `save` left.

    python tests/keras_citizens.py FOLDER
"""

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import numpy as np

import dermssl

SIZE = 8
KINDS = ("Model", "Layer", "Loss", "Metric")


def classes():
    """dict of name -> class: all models, layers, losses and metrics that the package defines."""
    import keras

    bases = (keras.Layer, keras.losses.Loss, keras.metrics.Metric)  # a model is a layer
    found = {}
    for module in pkgutil.walk_packages(dermssl.__path__, "dermssl."):
        if module.name != "dermssl.__main__":
            for value in vars(importlib.import_module(module.name)).values():
                own = isinstance(value, type) and value.__module__ == module.name
                if own and issubclass(value, bases):
                    found[value.__name__] = value
    return found


def backbone():
    """A network of a few weights: (n, 8, 8, 3) -> (n, 6)."""
    import keras

    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(6, 3, kernel_initializer=keras.initializers.HeNormal(0))(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="backbone")


# (chunk_size, remat) of the steps that several replicas do.
STEPS = ((0, False), (2, False), (0, True), (2, True))


def examples():
    """dict of class name -> an object with settings that aren't the defaults."""
    from dermssl.core import taxonomy

    ham = taxonomy.load("ham10000")
    return {
        "SimCLR": dermssl.SimCLR(
            backbone(), projection=(5, 4), temperature=0.3, seed=2, chunk_size=4, remat=True
        ),
        "LesionClassifier": dermssl.LesionClassifier(
            backbone(), ham, head="independent", dropout=0.1, seed=3
        ),
        "CoarseFromFine": dermssl.CoarseFromFine([0, 1, 0], name="groups"),
        "NTXent": dermssl.NTXent(temperature=0.7, name="contrast"),
        "SparseFocalLoss": dermssl.SparseFocalLoss(1.5, alpha=[1, 2, 3]),
        "KnownAccuracy": dermssl.KnownAccuracy(name="known"),
        "BalancedAccuracy": dermssl.BalancedAccuracy(3, name="balanced"),
    }


def images(n=8, seed=0):
    """float32 (n, 8, 8, 3) in [0, 255]."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, size=(n, SIZE, SIZE, 3)).astype(np.float32)


def data(name, n=8):
    """(x, y) that the model of this name fits."""
    fine = np.arange(n) % 7
    targets = {"fine": fine, "coarse": fine % 4}
    return (images(n), targets if name == "LesionClassifier" else images(n, seed=1))


def compile_model(name, model):
    """Compile it as its users do; with a metric of Keras's own."""
    if name == "SimCLR":
        model.compile("adam", metrics=["cosine_similarity"])
    else:
        losses = {level: dermssl.SparseFocalLoss() for level in ("fine", "coarse")}
        metrics = {"fine": [dermssl.KnownAccuracy(), dermssl.BalancedAccuracy(7)]}
        model.compile("adam", loss=losses, metrics=metrics, weighted_metrics=[])


def outputs(citizen):
    """What an object gives for fixed inputs, as a list of numbers."""
    import keras

    scores, labels = np.eye(4, 3, dtype=np.float32), np.array([0, 1, 1, -1])
    if isinstance(citizen, keras.Model):
        given = citizen.predict(images(), verbose=0)
    elif isinstance(citizen, keras.Layer):
        given = citizen(scores)
    elif isinstance(citizen, keras.losses.Loss):
        pair = citizen.name == "contrast"
        given = citizen(scores + 1 if pair else labels, scores)
    else:
        citizen.reset_state()
        citizen.update_state(labels, scores)
        given = citizen.result()
    return [float(number) for part in keras.tree.flatten(given) for number in np.ravel(part)]


def save(folder):
    """Write every example into FOLDER, models after a step of training; and what each gives."""
    import keras

    given, configs = {}, {}
    for name, citizen in examples().items():
        if isinstance(citizen, keras.Model):
            compile_model(name, citizen)
            citizen.fit(*data(name), verbose=0)
            citizen.save(folder / f"{name}.keras")
        else:
            configs[name] = keras.saving.serialize_keras_object(citizen)
        given[name] = outputs(citizen)
    (folder / "configs.json").write_text(json.dumps(configs))
    return given


def load(folder):
    """What the objects in FOLDER give here; nothing but `import dermssl` went before."""
    import keras

    given = {}
    for file in sorted(folder.glob("*.keras")):
        model = keras.saving.load_model(file)
        given[file.stem] = outputs(model)
        model.evaluate(*data(file.stem), verbose=0)  # it is compiled, too
    for name, config in json.loads((folder / "configs.json").read_text()).items():
        given[name] = outputs(keras.saving.deserialize_keras_object(config))
    return given


def distributed(name, strategy):
    """Losses of training, validation and evaluation under a strategy, and prediction's shapes."""
    import tensorflow as tf

    with strategy.scope():
        model = examples()[name]
        compile_model(name, model)
    x, y = data(name)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(len(x))
    history = model.fit(batches, validation_data=batches, epochs=2, verbose=0).history
    scores = model.evaluate(batches, return_dict=True, verbose=0)
    return {
        "losses": history["loss"], "validation": history["val_loss"][-1], "score": scores["loss"],
        "shapes": [list(np.shape(part)) for part in tf.nest.flatten(model.predict(x, verbose=0))],
    }  # fmt: skip


def one_step(strategy=None, chunk_size=0, remat=False):
    """Weights of SimCLR's projection head after one step of SGD, as a list of numbers."""
    import contextlib

    import keras
    import tensorflow as tf

    with strategy.scope() if strategy else contextlib.nullcontext():
        model = examples()["SimCLR"]
        model.chunk_size, model.remat = chunk_size, remat
        model.compile(keras.optimizers.SGD(0.1))
    batches = tf.data.Dataset.from_tensor_slices(data("SimCLR")).batch(8)
    if strategy:
        model.fit(batches, verbose=0)
    else:  # by hand what two replicas do: BatchNorm sees half of the batch, the loss all of it
        weights = model.trainable_variables
        with tf.GradientTape() as tape:
            parts = batches.unbatch().batch(chunk_size or 4)
            projections = [model.project(part, training=True) for part in parts]
            whole = tuple(tf.concat(views, axis=0) for views in zip(*projections, strict=True))
            loss = model.compute_loss(y_pred=whole)
        model.optimizer.apply(tape.gradient(loss, weights), weights)
    return np.ravel(model.projection_head.get_weights()[-1]).astype(float).tolist()


def main():
    """Print what `load` and `distributed` find, as JSON."""
    given = load(Path(sys.argv[1]))
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    steps = [one_step(strategy, *case) for case in STEPS]
    names = [file.stem for file in Path(sys.argv[1]).glob("*.keras")]
    spread = {name: distributed(name, strategy) for name in names}
    print(json.dumps({"given": given, "distributed": spread, "steps": steps}))


if __name__ == "__main__":
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    main()
