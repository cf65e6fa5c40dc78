"""A tiny data set and tiny runs, made once for all tests.

pytest puts the folder of a conftest.py on the path, so the helpers beside this file
(`import fake_runs`, `import tiny`) can be imported from every folder of tests.
"""

import gc
import os
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
import tiny


@pytest.fixture(scope="module", autouse=True)
def small_heap():
    """What a module leaves alive is not searched again by the garbage collections of the next.

    Keras collects at every clear_session, and a process that has run a thousand tests
    holds millions of objects: without this a grid of 4 s takes 120 s there.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Folder of 160 synthetic photos of 32 px; the smallest that has every class thrice."""
    from dermssl.data.synthetic import dataset

    return dataset.write(tmp_path_factory.mktemp("tiny") / "photos", n=160, size=32, seed=2)


@pytest.fixture(scope="session")
def pretrained(photos, tmp_path_factory):
    """A finished pretraining run of two epochs."""
    from dermssl import pretrain

    return pretrain.run(tiny.pretraining(photos, tmp_path_factory.mktemp("runs") / "pretrained"))


@pytest.fixture(scope="session")
def finetuned(photos, pretrained, tmp_path_factory):
    """A finished fine-tuning run from `pretrained`, one epoch a phase."""
    from dermssl import finetune

    output = tmp_path_factory.mktemp("runs") / "finetuned"
    return finetune.run(tiny.finetuning(photos, output, weights=str(pretrained)))


@pytest.fixture(scope="module")
def own_run(finetuned, tmp_path_factory):
    """A copy of `finetuned` that a module may write into."""
    return shutil.copytree(finetuned, tmp_path_factory.mktemp("own") / "run")


@pytest.fixture
def restored_policy():
    """Keras's global precision, put back after the test."""
    import keras

    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)
