"""Each check of the doctor with its failure made, and a whole look at this machine."""

import ctypes
import dataclasses
import errno
import os
import shutil
import socket
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

import dermssl
from dermssl import doctor, pretrain
from dermssl.core import file_locks
from dermssl.core import memory as memories
from dermssl.data import decode, other_formats
from dermssl.models import backbones, weights
from dermssl.reporting import fonts
from dermssl.studies.doctor import check as checks
from dermssl.studies.doctor import devices, photos, software, storage, training
from dermssl.studies.doctor.check import Check, guarded
from dermssl.studies.doctor.devices import Driver, why_none


def returning(value):
    return lambda *arguments, **keywords: value


def raising(error):
    def function(*arguments, **keywords):
        raise error

    return function


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", raising(OSError("the network was used")))
    monkeypatch.setattr(socket, "getaddrinfo", raising(OSError("the network was used")))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder and a working folder in it, of a user and a machine with names."""
    (tmp_path / "janedoe" / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "janedoe"))
    monkeypatch.setenv("USER", "janedoe")
    monkeypatch.setenv("LOGNAME", "janedoe")
    monkeypatch.setattr(checks.platform, "node", returning("ward7.hospital.example"))
    monkeypatch.chdir(tmp_path / "janedoe" / "work")
    return tmp_path / "janedoe"


def test_a_whole_look_fits_on_a_screen_and_leaves_nothing(home, no_network, capsys, monkeypatch):
    (home / "tmp").mkdir()
    monkeypatch.setattr(training.tempfile, "tempdir", str(home / "tmp"))
    assert tiny.call(doctor, "--output", home / "work" / "outputs") == 0
    shown, said = capsys.readouterr()
    lines = shown.splitlines()
    assert len(lines) < 45
    assert max(map(len, lines)) <= checks.COLUMNS
    assert lines[-1].endswith("For help, paste this into an issue.")
    assert " 0 broken" in lines[-1]
    assert said == ""
    names = {line[6:20].strip() for line in lines if line[:4].strip() in ("ok", "note", "BAD")}
    assert names == {
        "dermssl", "system", "Python", "packages", "extras", "CPU", "memory", "disk", "outputs",
        "decoders", "fonts", "TensorFlow", "GPU", "ImageNet", "training",
    }  # fmt: skip
    assert "~/work/outputs can be written and locked (it will be made)" in shown
    assert "janedoe" not in shown
    assert "ward7" not in shown
    assert not list((home / "work").iterdir())
    assert not list((home / "tmp").glob("*dermssl*"))  # TensorFlow deletes its own at its end


def test_in_python_it_is_a_table():
    table = dermssl.doctor(quick=True)
    assert list(table.columns) == ["what", "state", "value", "advice"]
    assert "training" not in set(table["what"])
    assert set(table["state"]) <= {"ok", "note"}


def test_what_is_broken_is_exit_code_1_and_shown_before_the_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    (tmp_path / "file").touch()
    assert tiny.call(doctor, "--output", tmp_path / "file" / "outputs") == 1
    shown, said = capsys.readouterr()
    lines = shown.splitlines()
    assert "BAD   outputs" in {line[:13] for line in lines}
    assert "/file is a file" in " ".join(shown.split())
    assert "BAD   TensorFlow    ModuleNotFoundError" in shown
    assert "GPU" not in shown
    assert "2 broken" in shown
    assert "broken here: outputs, TensorFlow" in said


def test_outputs_on_another_file_system_are_refused_as_every_run_is(home, capsys):
    for command, words in ((doctor, ()), (pretrain, ("--data", home))):
        assert tiny.call(command, *words, "--output", "gs://bucket/runs") == 2
        shown, said = capsys.readouterr()
        assert shown == ""
        assert "--output gs://bucket/runs: no folder of this machine; only shards go els" in said
        assert said.count("\n") == 1
    assert not list((home / "work").iterdir())


def test_an_error_nobody_foresaw_is_a_finding():
    check = guarded("disk", raising(ValueError(300 * "x")))
    assert (check.what, check.state) == ("disk", "BAD")
    assert check.value.startswith("ValueError: xxx")
    assert "(test_checks.py:" in check.value
    assert len(check.value) < 250
    assert all(len(line) <= checks.COLUMNS for line in check.lines())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{home}/runs", "~/runs"),
        ("{home}: no space", "~: no space"),
        ("{home}2/runs", "{home}2/runs"),
        ("{home}-old/runs", "{elsewhere}/USER-old/runs"),
        ("/data/janedoe/outputs is full", "/data/USER/outputs is full"),
        ("/data/janedoe-old/x, /tmp/of_janedoe", "/data/USER-old/x, /tmp/of_USER"),
        ("/data/janedoes; janedoe", "/data/janedoes; janedoe"),
        ("on ward7.hospital.example, or ward7:", "on HOST, or HOST:"),
        ("ward70", "ward70"),
    ],
)
def test_names_of_people_and_machines_are_taken_out(home, text, shown):
    assert checks.without_names(text.format(home=home)) == shown.format(
        home=home, elsewhere=home.parent
    )


def test_a_user_without_a_name_or_home(monkeypatch):
    monkeypatch.setattr(checks.getpass, "getuser", raising(KeyError("uid not found: 1234")))
    monkeypatch.setattr(checks.Path, "home", raising(RuntimeError("no home")))
    assert checks.without_names("/work/outputs") == "/work/outputs"


# What is installed.


def test_packages_of_other_versions_and_missing_ones(monkeypatch):
    asked = ["numpy<1", "nowhere-to-be-found>=2", "h5py", "pillow-heif==9; extra == 'heic'"]
    monkeypatch.setattr(software.metadata, "requires", returning(asked))
    check = software.packages()
    assert check.broken
    assert check.advice == "pip install 'numpy<1' 'nowhere-to-be-found>=2'"
    assert "nowhere-to-be-found missing" in check.value
    assert "heif" not in check.value


def test_extras_there_missing_and_of_another_version(monkeypatch):
    asked = ["numpy", "h5py<1; extra == 'old'", "pandas; extra == 'fine'", "nono; extra == 'gone'"]
    monkeypatch.setattr(software.metadata, "requires", returning(asked))
    monkeypatch.setattr(software, "_extras", returning(["old", "fine", "gone"]))
    check = software.extras()
    assert check.state == "note"
    assert check.advice == "pip install 'h5py<1'"
    assert check.value.startswith("old (h5py ")
    assert check.value.endswith("; not installed: gone")


def test_not_installed_at_all(monkeypatch):
    missing = raising(software.metadata.PackageNotFoundError("dermssl"))
    for name in ("version", "requires", "metadata"):
        monkeypatch.setattr(software.metadata, name, missing)
    assert software.dermssl().state == "note"
    assert software.packages().value == "not known, as dermssl isn't installed"
    assert software.extras().value == "none"


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(software, "OLDEST_PYTHON", (99, 1))
    assert software.python().broken
    assert "use Python 99.1 or newer" in software.python().advice


def test_a_processor_without_avx_is_told_before_tensorflow_ends_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(software, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(software.platform, "machine", returning("x86_64"))
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # it must not be imported
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu sse4_2\n")
    check = software.tensorflow()
    assert check.broken
    assert "no AVX" in check.value


@pytest.mark.parametrize(
    ("module", "name", "value", "told"),
    [
        (keras.backend, "backend", "jax", "Keras uses jax"),
        (keras.config, "image_data_format", "channels_first", "channels first"),
    ],
)
def test_a_keras_that_is_set_up_for_another_program(monkeypatch, module, name, value, told):
    monkeypatch.setattr(module, name, returning(value))
    check = software.tensorflow()
    assert check.broken
    assert told in check.value


# Memory, disk, outputs.


@pytest.mark.parametrize(
    ("free", "limit", "state", "told"),
    [
        (8e9, None, "ok", "16.0 GB, 8.0 GB free"),
        (2e9, None, "note", "train with a small batch"),
        (2e9, 2.5e9, "note", "may have 2.5 GB"),
        (0.5e9, None, "BAD", "end other programs"),
        (0.5e9, 0.6e9, "BAD", "raise the limit of the container"),
    ],
)
def test_memory(monkeypatch, free, limit, state, told):
    for name, value in (("total", 16e9), ("available", free), ("limit", limit)):
        monkeypatch.setattr(memories, name, returning(value))
    check = storage.memory()
    assert check.state == state
    assert told in f"{check.value}; {check.advice}"


@pytest.mark.parametrize(("free", "state"), [(9e9, "ok"), (1e9, "note"), (1e8, "BAD")])
def test_disk(tmp_path, monkeypatch, free, state):
    usage = shutil._ntuple_diskusage(10e9, 10e9 - free, free)
    monkeypatch.setattr(storage.shutil, "disk_usage", returning(usage))
    assert storage.disk(tmp_path / "not" / "there").state == state


def test_a_disk_with_no_file_left(tmp_path, monkeypatch):
    full = os.statvfs_result((4096, 4096, 9, 9, 9, 1000, 0, 0, 0, 255))
    monkeypatch.setattr(storage.os, "statvfs", returning(full))
    assert "no file more" in storage.disk(tmp_path).value
    assert storage.disk(tmp_path).broken


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that root can't write")
def test_outputs_that_can_t_be_written():
    check = storage.writing(storage.Path("/proc/self/outputs"))
    assert check.broken
    assert "can't be written" in check.value


def test_outputs_on_a_full_disk(tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "fsync", raising(full))
    check = storage.writing(tmp_path)
    assert check.broken
    assert "No space left" in check.value
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("lock", "told"),
    [
        (raising(OSError(errno.ENOLCK, "No locks available")), "can't lock (No locks available)"),
        (returning(None), "locks don't hold there"),
    ],
)
def test_outputs_without_locks(tmp_path, monkeypatch, lock, told):
    assert storage.writing(tmp_path).value == f"{tmp_path} can be written and locked"
    monkeypatch.setattr(file_locks, "lock", lock)
    check = storage.writing(tmp_path)
    assert check.state == "note"
    assert told in check.value
    assert not list(tmp_path.iterdir())


# Photos and fonts.


@pytest.fixture
def fresh_formats():
    other_formats.missing.cache_clear()
    yield
    other_formats.missing.cache_clear()


def test_a_format_whose_extra_is_missing(monkeypatch, fresh_formats):
    monkeypatch.setitem(other_formats.EXTRAS, other_formats.HEIF, ("no_such_module", "heic"))
    check = photos.decoders()
    assert check.state == "note"
    assert "; not there: HEIC" in check.value
    assert "pip install 'dermssl[heic]'" in check.advice


def test_a_decoder_that_fails(monkeypatch):
    def broken(path, **options):
        if "PNG" in path:
            raise OSError("decoder zip not available")
        return decode_really(path, **options)

    decode_really = decode.decode
    monkeypatch.setattr(decode, "decode", broken)
    check = photos.decoders()
    assert check.broken
    assert "BROKEN: PNG (decoder zip not available)" in check.value
    assert check.value.startswith("JPEG, BMP, WEBP, TIFF")


def test_a_decoder_that_swaps_colours(monkeypatch):
    fast = decode.pixels
    monkeypatch.setattr(decode, "pixels", lambda data: fast(data)[..., ::-1])
    check = photos.decoders()
    assert check.broken
    assert "BROKEN: JPEG (wrong pixels, by " in check.value


def test_scripts_without_a_font(monkeypatch):
    monkeypatch.setattr(fonts, "families_with", lambda characters: ((), characters))
    check = photos.fonts()
    assert check.state == "note"
    assert check.value.startswith("figures can show Latin, Greek, Cyrillic")
    assert "not Devanagari, Bengali, Thai, Chinese, Japanese, Korean" in check.value
    monkeypatch.setattr(fonts, "families_with", lambda characters: (("All",), frozenset()))
    assert photos.fonts() == Check("fonts", f"figures can show {', '.join(photos.SCRIPTS)}")


# Devices.


def test_cores_and_what_a_container_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(devices.os, "cpu_count", returning(64))
    monkeypatch.setattr(devices.os, "sched_getaffinity", returning(set(range(8))), raising=False)
    assert devices.cpu().value == "8 of 64 cores"
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert devices.cpu().value.endswith("the container may use the time of 1.5")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert devices.cpu().value == "8 of 64 cores"


WORKS = Driver(there=True, cuda=12.4, gpus=(("NVIDIA A100", 8.0),))


@pytest.mark.parametrize(
    ("changes", "value", "advice"),
    [
        ({"there": False}, "no NVIDIA driver here", ""),
        ({"cuda_build": ""}, "built without CUDA", "tensorflow[and-cuda]=="),
        ({"hidden": ""}, 'CUDA_VISIBLE_DEVICES is ""', "unset"),
        ({"device": None}, "no device", "--gpus all"),
        ({"may_open": False}, "no permission to open /dev/nvidia0", "group"),
        ({"error": "can't be loaded"}, "libcuda.so.1", "NVIDIA_DRIVER_CAPABILITIES"),
        ({"cuda": 11.4, "error": "CUDA_ERROR_X"}, "for CUDA 11.4, TensorFlow for 12.5.1", "newer"),
        (
            {"error": "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "tool": "version mismatch"},
            "(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH; nvidia-smi: version mismatch)", "restart",
        ),
        ({"gpus": (("Tesla M60", 5.2),)}, "Tesla M60 (5.2) is older", "newer GPU"),
        ({"missing": ("nvidia-cudnn-cu12",)}, "lacks nvidia-cudnn-cu12", "tensorflow[and-cuda]=="),
        ({"log": "Cannot dlopen some libraries"}, "says: Cannot dlopen", "tensorflow[and-cuda]=="),
        ({"log": ""}, "says: nothing", "ask in an issue"),
    ],
)  # fmt: skip
def test_why_there_is_no_gpu(changes, value, advice):
    found, told = why_none(dataclasses.replace(WORKS, **changes))
    assert found.startswith("none")
    assert value in found
    assert advice in told


class Library:
    """A driver's library that can't start."""

    def cuDriverGetVersion(self, pointer):
        pointer._obj.value = 12040
        return 0

    def cuInit(self, flags):
        return 100

    def cuGetErrorName(self, code, pointer):
        pointer._obj.value = b"CUDA_ERROR_NO_DEVICE"
        return 0


def test_a_driver_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.look(tmp_path, {}) == Driver()
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA A100, 8.0'\n")
    tool.chmod(0o755)
    monkeypatch.setattr(devices.ctypes, "CDLL", returning(Library()))
    driver = devices.look(tmp_path, {"CUDA_VISIBLE_DEVICES": "-1"})
    assert (driver.there, driver.device, driver.hidden) == (True, None, "-1")
    assert driver.gpus == (("NVIDIA A100", 8.0),)
    assert (driver.error, driver.cuda) == ("CUDA_ERROR_NO_DEVICE", 12.4)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    tool.write_text("#!/bin/sh\necho 'Driver/library version mismatch'\nexit 18\n")
    driver = devices.look(tmp_path, {"CUDA_VISIBLE_DEVICES": "1,0"})
    assert (driver.hidden, driver.may_open) == (None, True)
    assert driver.device == str(tmp_path / "dev" / "nvidia0")
    assert driver.tool == "Driver/library version mismatch"
    monkeypatch.setattr(devices.ctypes, "CDLL", raising(OSError("not found")))
    assert "libcuda.so.1 can't be loaded" in why_none(devices.look(tmp_path, {}))[0]


def test_the_packages_that_tensorflow_asks_for_are_those_that_are_looked_for(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", returning(None))
    monkeypatch.setattr(
        devices.metadata, "version", raising(devices.metadata.PackageNotFoundError("nvidia"))
    )
    assert set(devices._missing_packages()) == {
        "nvidia-cuda-runtime-cu12", "nvidia-cublas-cu12", "nvidia-cudnn-cu12", "nvidia-cufft-cu12",
        "nvidia-cusolver-cu12", "nvidia-cusparse-cu12",
    }  # fmt: skip
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"lib{name}.so")
    assert devices._missing_packages() == ()


@pytest.mark.slow
def test_what_tensorflow_says_of_no_gpu_is_taken_from_its_log(monkeypatch):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees a GPU here")
    said = devices._log()
    assert "cuda" in said.lower()
    assert "\n" not in said


def test_gpus_with_their_memory(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA A100, 81920'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{i}", "GPU") for i in range(2)]
    monkeypatch.setattr(tf.config, "list_physical_devices", returning(gpus))
    details = {"device_name": "NVIDIA A100", "compute_capability": (8, 0)}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", returning(details))
    assert devices.gpu().value == "2: NVIDIA A100, 85.9 GB; NVIDIA A100, 85.9 GB"
    tool.unlink()
    assert devices.gpu().value == "2: NVIDIA A100; NVIDIA A100"


# Weights and training.


def test_weights_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert training.imagenet().value.startswith("downloaded: none; on first use")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mobilenet_1_0_160_tf_no_top.h5").touch()
    (tmp_path / "models" / "efficientnetb1_notop.h5").touch()
    value = training.imagenet().value
    assert value.startswith("downloaded: mobilenet, efficientnetb1; on first use")
    assert value.endswith("mobilenetv2, resnet50, inceptionv3, densenet121, efficientnetb0, "
                          "efficientnetv2b0")  # fmt: skip


@pytest.mark.parametrize("writable", [True, False])
def test_the_cache_is_where_keras_looks(monkeypatch, writable):
    from keras.src.utils import file_utils

    exists = os.path.exists

    def there(path):
        return str(path).endswith("weights.h5") or exists(path)

    monkeypatch.setattr(os, "access", returning(writable))
    monkeypatch.setattr(os, "makedirs", returning(None))
    monkeypatch.setattr(os.path, "exists", there)
    path = file_utils.get_file("weights.h5", "http://nowhere.example", cache_subdir="models")
    assert weights.cache() == storage.Path(path).parent


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [*((name, 224) for name in weights.IMAGENET_FILES), ("mobilenet", 128), ("mobilenetv2", 128)],
)
def test_keras_downloads_into_the_files_that_are_looked_for(name, size, tmp_path, monkeypatch):
    from keras.src.utils import file_utils

    from dermssl.core.errors import UserError
    from dermssl.core.settings import Backbone

    asked = []

    def get_file(fname, *arguments, **keywords):
        asked.append((fname, keywords.get("cache_subdir")))
        raise OSError("no network")

    monkeypatch.setattr(file_utils, "get_file", get_file)
    with pytest.raises(UserError, match="can't be downloaded"):
        backbones.build(Backbone(name=name, image_size=size, weights="imagenet"))
    ((file, folder),) = asked
    assert folder == "models"
    assert weights.downloaded(tmp_path) == []
    (tmp_path / file).touch()
    assert weights.downloaded(tmp_path) == [name]


def test_every_backbone_with_imagenet_weights_is_looked_for():
    released = [name for name, spec in backbones.BACKBONES.items() if not spec.from_scratch]
    assert list(weights.IMAGENET_FILES) == released


def test_a_training_that_gives_no_numbers_is_broken(monkeypatch):
    build = backbones.Backbone

    def without_numbers(*arguments, **options):
        model = build(*arguments, **options)
        model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
        return model

    monkeypatch.setattr(backbones, "Backbone", without_numbers)
    check = guarded("training", training.two_steps)
    assert check.broken
    assert "2 steps gave weights that are no numbers" in check.value


def test_a_training_that_changes_nothing_is_broken(monkeypatch):
    from dermssl.training import adam

    monkeypatch.setattr(adam.Adam, "update_step", returning(None))
    check = guarded("training", training.two_steps)
    assert check.broken
    assert "2 steps changed no weight" in check.value
