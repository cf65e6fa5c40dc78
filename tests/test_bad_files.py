"""Bad and hostile files: one line, exit code 2, nothing run, nothing left behind, little memory."""

import ast
import csv
import json
import logging
import os
import shutil
import zipfile
from dataclasses import asdict
from pathlib import Path

import bad_inputs
import h5py
import keras
import numpy as np
import pandas as pd
import pytest
import tiny

import dermssl
from dermssl import evaluate, finetune, model_comparison, predict
from dermssl.core.settings import Backbone, Data, Finetune
from dermssl.evaluation import predictions


def snapshot(folder):
    """What lies under a folder, links and sizes included; reads no content."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.lstat().st_size)
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """The folder that the table spoils copies of."""
    return bad_inputs.made(tmp_path_factory.mktemp("bad") / "clean")


@pytest.fixture
def says(capfd, tmp_path, monkeypatch):
    """Calls a command that must refuse; returns its one line, checks that nothing was written."""
    monkeypatch.chdir(tmp_path)

    def check(command, *argv, code=2):
        before = snapshot(tmp_path)
        found = tiny.call(command, *argv)
        said = capfd.readouterr()
        assert found == code, said.err
        assert said.err.count("\n") == 1, said.err
        assert said.err.startswith("dermssl: error: ")
        assert "Traceback" not in said.err
        assert len(said.err) < 1200
        assert said.out == ""
        assert snapshot(tmp_path) == before
        return said.err

    return check


def test_the_table_is_long_enough():
    assert len(bad_inputs.ROWS) >= 50


@pytest.mark.parametrize("name", bad_inputs.ROWS)
def test_refused(name, clean, tmp_path, says):
    spoil, words = bad_inputs.ROWS[name]
    folder = shutil.copytree(clean, tmp_path / "data")
    spoil(folder)
    said = says(finetune, "--data", folder, *tiny.SMALL)
    for word in words:
        assert word in said
    assert "; " in said  # the way out


def test_the_clean_folder_is_no_bad_one(clean):
    from dermssl.data.splits import prepare

    assert len(prepare(Data(path=str(clean))).index) == 24


LIMITED = """
import json, resource, shutil, sys
from dataclasses import asdict
from pathlib import Path
import bad_inputs
from dermssl.core.settings import Data
from dermssl.data.splits import prepare
from dermssl.core.errors import UserError

clean, work = Path(sys.argv[1]), Path(sys.argv[2])
prepare(Data(path=str(clean)))  # all that is imported late
resource.setrlimit(resource.RLIMIT_DATA, (2**31, 2**31))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
start, refused, grew = peak(), 0, {}
for name, (spoil, words) in bad_inputs.ROWS.items():
    folder = shutil.copytree(clean, work / "data")
    spoil(folder)
    before = peak()
    try:
        prepare(Data(path=str(folder)))
    except UserError as error:
        refused += "not enough memory" not in str(error)
    grew[name] = round(peak() - before, 1)
    shutil.rmtree(folder)
worst = max(grew, key=grew.get)
print(json.dumps({"refused": refused, "grew": peak() - start, "worst": [worst, grew[worst]]}))
"""


def test_memory_is_bounded(clean, tmp_path):
    """The whole table in one process: its peak grows by no more than a few photos."""
    script = tmp_path / "limited.py"
    script.write_text(f"import sys\nsys.path[:0] = [{os.path.dirname(__file__)!r}]\n{LIMITED}")
    process = tiny.python(script, clean, tmp_path)
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout.splitlines()[-1])
    assert found["refused"] == len(bad_inputs.ROWS)
    assert found["grew"] < 32, found  # MiB; measured: 3


# -- Bad photos left out on request, and a class that a spreadsheet would run.


@pytest.fixture(scope="module")
def formula_run(tmp_path_factory):
    """A run on a folder with a class named =1+1, odd but legal text, and three bad photos."""
    folder = bad_inputs.made(tmp_path_factory.mktemp("formula") / "data")
    rows = [[row[0], {"nv": "=1+1", "mel": "NA"}.get(row[1], row[1]), row[2]] for row in
            bad_inputs.clean_rows()]  # fmt: skip
    rows[1][1] += "  "  # a trailing space is no other class
    rows[6][1] = ""  # unlabelled
    rows[7][2] = "@SUM(A1)"  # a lesion's id
    rows.append(["images/gone.jpg", "NA", ""])
    bad_inputs.table(folder, rows, "utf-8-sig", ";")
    for name, kind in (("p03.jpg", "no byte"), ("p04.jpg", "HTML"), ("p10.jpg", "half a PNG")):
        (folder / "images" / name).write_bytes(bad_inputs.PHOTOS[kind][0])
    output = folder.parent / "run"
    argv = ["--data", folder, *tiny.SMALL[:-1], 4, "--frozen-epochs", 1, "--unfrozen-epochs", 0]
    said, handler = [], logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("dermssl").addHandler(handler)
    assert tiny.call(finetune, *argv, "--on-bad", "skip", "--output", output) == 0
    logging.getLogger("dermssl").removeHandler(handler)
    return folder, output, said


def test_skip_counts_lists_and_goes_on(formula_run):
    _, output, said = formula_run
    assert sum("skipped: 3 of 24 photos" in line for line in said) == 1
    listed = pd.read_csv(output / "left_out.csv").values.tolist()
    for name, why in (("p03", "0 bytes"), ("p04", "HTML"), ("p10", "damaged"), ("gone", "not f")):
        assert sum(name in path and why in reason for path, reason in listed) == 1
    kept = pd.read_csv(output / "predictions.csv", dtype=str, keep_default_na=False)
    assert len(kept) == 21
    assert set(kept["fine"]) == {"'=1+1", "NA", ""}


def test_no_csv_of_ours_holds_a_formula(formula_run, tmp_path):
    folder, output, _ = formula_run
    assert tiny.call(evaluate, output, "--n-resamples", 100) == 0
    assert (
        tiny.call(predict, output, folder / "images/p00.jpg", "--output", tmp_path / "n.csv") == 0
    )
    compared = tmp_path / "compared"
    model_comparison([output], output=compared, n_resamples=20, one_is_enough=True)
    files = [*output.rglob("*.csv"), *compared.rglob("*.csv"), tmp_path / "n.csv"]
    assert len(files) >= 6
    escaped = 0
    for file in files:
        with open(file, encoding="utf-8", newline="") as text:
            for row in csv.reader(text):
                for cell in row:
                    number = cell.lstrip("+-").replace(".", "", 1)[:1].isdigit()
                    assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), file
                    escaped += cell in ("'=1+1", "'@SUM(A1)")
    assert escaped > 10
    assert predictions.read(output).taxonomy.fine == ("=1+1", "NA")  # and given back on reading


# -- Strangers' weights and runs.


def trap(folder):
    """A model whose Lambda would make a file when it is built, called or loaded.

    Returns the path that must never exist.
    """
    mark = folder / "ran"

    code = eval(f"lambda x: (open({str(mark)!r}, 'w').close(), x)[1]")  # without a closure
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Resizing(16, 16, name="thumbnail")(inputs)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(256, "relu", name="dense1")(x)
    x = keras.layers.Lambda(code, output_shape=(256,), name="harmless")(x)
    model = keras.Model(inputs, keras.layers.Dense(256, "relu", name="dense2")(x))
    for name in ("model.keras", "model.h5"):
        model.save(folder / name)
        # It does go off where a file's code is trusted.
        keras.saving.load_model(folder / name, safe_mode=False)(np.zeros((1, 32, 32, 3)))
        mark.unlink()
    return mark


def h5(path, change=lambda store: None):
    """A legacy weights file of an mlp, changed."""
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense1")(inputs))
    model.save(path)
    with h5py.File(path, "a") as store:
        change(store)
    return path


def _elsewhere(store):
    del store["model_weights/dense1/dense1/kernel"]
    store["model_weights/dense1/dense1/kernel"] = h5py.ExternalLink("/etc/hosts", "/")


def _kept_elsewhere(store):
    group = store["model_weights/dense1/dense1"]
    del group["kernel"]
    group.create_dataset("kernel", (3, 2), "f4", external=[("/etc/hosts", 0, 24)])


def _huge(store):
    group = store["model_weights/dense1/dense1"]
    del group["kernel"]
    group.create_dataset("kernel", (2**20, 2**20), "f4", chunks=(1024, 1024))


def _endless(store):
    store["model_weights/dense1/again"] = store["model_weights"]


@pytest.mark.filterwarnings("ignore:.*HDF5 file via")
def test_code_in_a_weights_file_is_not_run(clean, tmp_path):
    mark = trap(tmp_path)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
        weights = archive.read("model.weights.h5")
    for layer in config["config"]["layers"]:  # CVE-2025-1550: any callable of any module
        if layer["class_name"] == "Lambda":
            layer |= {"module": "os", "class_name": "function", "config": "system"}
    with zipfile.ZipFile(tmp_path / "module.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    argv = ["--data", clean, *tiny.SMALL, "--frozen-epochs", 1, "--unfrozen-epochs", 0]
    for name in ("model.keras", "model.h5", "module.keras"):
        start = ["--weights", tmp_path / name, "--output", tmp_path / f"{name}_run"]
        assert tiny.call(finetune, *argv, *start) == 0  # its dense layers fit
        assert not mark.exists()


@pytest.mark.filterwarnings("ignore:.*HDF5 file via")
def test_a_run_with_code_does_not_run_it(formula_run, tmp_path, says):
    folder, output, _ = formula_run
    mark = trap(tmp_path)
    run = shutil.copytree(output, tmp_path / "run")
    for name in ("model.keras", "model.h5"):  # an h5 under the name of the other, too
        shutil.copy(tmp_path / name, run / "model.keras")
        said = says(predict, run, folder / "images/p00.jpg", "--output", tmp_path / "new.csv")
        assert "does not hold the weights of this run" in said
        assert not mark.exists()


@pytest.mark.filterwarnings("ignore:.*HDF5 file via")
@pytest.mark.parametrize(
    ("name", "make", "word"),
    [
        ("w.h5", lambda path: h5(path, _elsewhere), "refused, 'kernel' in it is a link"),
        ("w.h5", lambda path: h5(path, _kept_elsewhere), "is kept in another file"),
        ("w.h5", lambda path: h5(path, _endless), "'again' in it stands in two places"),
        ("w.h5", lambda path: h5(path, _huge), "it claims 4,398,046,511,"),
        ("w.h5", lambda path: path.write_bytes(bad_inputs.JPEG), "does not hold weights of mlp"),
        ("w.h5", lambda path: path.write_bytes(b"\x80\x04cos\nsystem\n."), "does not hold weights"),
        ("w.keras", lambda path: path.write_bytes(bad_inputs.zipped()), "does not hold weights"),
        ("w.keras", lambda path: path.write_bytes(b""), "does not hold weights of mlp"),
        ("w.npz", lambda path: path.write_bytes(bad_inputs.zipped()), "not a weights file; give"),
        ("w.pkl", lambda path: path.write_bytes(b"\x80\x04."), "not a weights file"),
        ("w.weights.json", lambda path: path.write_text("{}"), "not a weights file"),
    ],
)  # fmt: skip
def test_hostile_weights(clean, tmp_path, says, name, make, word):
    make(tmp_path / name)
    start = ["--weights", tmp_path / name]
    assert word in says(finetune, "--data", clean, *tiny.SMALL, *start)


def test_another_architecture_names_both(clean, formula_run, tmp_path, says):
    from dermssl.models import backbones

    other = backbones.build(Backbone(name="mobilenet", image_size=32))
    for name in ("w.weights.h5", "w.keras", "w.h5"):
        (other.save_weights if name == "w.weights.h5" else other.save)(tmp_path / name)
        start = ["--weights", tmp_path / name]
        said = says(finetune, "--data", clean, *tiny.SMALL, *start)
        assert "does not hold weights of mlp (it holds mobilenet (" in said
    folder, output, _ = formula_run
    run = shutil.copytree(output, tmp_path / "run")
    shutil.copy(tmp_path / "w.keras", run / "model.keras")
    said = says(predict, run, folder / "images/p00.jpg")
    assert "the weights of this run, a mlp (it holds mobilenet (" in said


STATUS = {
    "no JSON": ("{", "not valid JSON"),
    "a list": ("[]", "holds no JSON object"),
    "100,000 lists deep": ("[" * 100_000, "not valid JSON"),
    "no status": ("{}", "this run is None"),
    "no settings": ('{"status": "FINISHED", "command": "COMMAND"}', "no settings [backbone]"),
    "settings of lists": (
        '{"status": "FINISHED", "command": "COMMAND", "config": {"backbone": []}}', "[backbone]",
    ),
    "a wrong type": (
        json.dumps({"status": "FINISHED", "command": "COMMAND", "config": {
            "backbone": {**asdict(Backbone()), "image_size": "x"}, "finetune": asdict(Finetune()),
            "data": asdict(Data()),
        }}), "it must be of type int",
    ),
    "another version": (
        '{"status": "FINISHED", "command": "COMMAND", "config": '
        '{"backbone": {}, "finetune": {}, "data": {}}}', "a run of another version of dermssl",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STATUS)
def test_hostile_runs(formula_run, tmp_path, says, name):
    text, word = STATUS[name]
    folder, output, _ = formula_run
    run = shutil.copytree(output, tmp_path / "run")
    (run / "status.json").write_text(text.replace("COMMAND", "finetune"))
    assert word in says(predict, run, folder / "images/p00.jpg")
    (run / "status.json").write_text(text.replace("COMMAND", "pretrain"))
    start = ["--weights", run]
    assert word in says(finetune, "--data", folder, *tiny.SMALL, *start)


def test_no_source_can_run_what_it_reads():
    """No pickle, no `eval`, no deserialised model; what serves is told to stay on this machine."""
    for path in sorted(Path(dermssl.__file__).parent.rglob("*.*")):
        if path.suffix not in (".py", ".md", ".html", ".toml"):
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(text)):
                name = getattr(node, "attr", getattr(node, "id", getattr(node, "arg", None)))
                barred = {"pickle", "load_model", "safe_mode", "eval", "exec"}
                if path.name == "use_exported.py":  # loads what was written a moment before
                    barred -= {"load_model"}
                assert name not in barred, path
                assert name != "enable_unsafe_deserialization", path
                if name == "allow_pickle":
                    assert getattr(node.value, "value", None) is False, path
                if path.name not in ("atomic_files.py", "prediction_files.py", "dataset.py"):
                    assert name != "to_csv", f"{path}: atomic_files.write_csv makes cells harmless"
        for line in text.splitlines():
            assert "bind_all" not in line
            assert '"--logdir"' not in line or '"--host", "localhost"' in line, path
