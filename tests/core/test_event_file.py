"""TensorBoard's event files: read back by TensorBoard, cut at a step, mended after a kill."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from dermssl.core import event_file
from dermssl.core.errors import RunFailed
from dermssl.core.event_file import EventFile


def steps(folder):
    return [event.step for event in event_file.read(folder) if event.HasField("summary")]


def test_tensorboard_reads_every_kind_back(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    values = np.r_[np.zeros(10), np.ones(20)]
    with EventFile(tmp_path) as events:
        events.hparams({"rate": 0.1, "name": "x", "on": True}, "trial")
        events.scalar("loss", 0.25, 1)
        events.text("table", "| a |\n| --- |\n| ä |", 2)
        events.histogram("weights", values, 3, "of a layer")
        events.image("photo", picture, 4, "a photo")
    seen = event_accumulator.EventAccumulator(str(tmp_path))
    seen.Reload()
    found = {
        tag: (event.step, tensor_util.make_ndarray(event.tensor_proto))
        for tag in seen.Tags()["tensors"]
        for event in seen.Tensors(tag)
    }
    assert found["loss"] == (1, 0.25)
    assert found["table"][1].item().decode() == "| a |\n| --- |\n| ä |"
    step, bins = found["weights"]
    assert (step, bins.shape) == (3, (30, 3))
    assert (bins[0, 2], bins[-1, 2], bins[:, 2].sum()) == (10, 20, 30)
    width, height, png = found["photo"][1]
    assert (width, height) == (b"7", b"5")
    shown = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(shown[..., ::-1], picture)
    plugins = {tag: seen.SummaryMetadata(tag).plugin_data.plugin_name for tag in found}
    assert plugins["photo"] == "images"
    assert plugins["weights"] == "histograms"
    assert seen.SummaryMetadata("photo").summary_description == "a photo"
    content = seen.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    trial = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert trial.group_name == "trial"
    assert trial.hparams["rate"].number_value == 0.1
    assert trial.hparams["name"].string_value == "x"
    assert trial.hparams["on"].bool_value is True


@pytest.mark.parametrize("left", [b"", b"\x40", b"\x40" + bytes(7) + b"1234half", bytes(64)])
def test_it_goes_on_after_a_step_whatever_a_killed_process_left(tmp_path, left):
    with EventFile(tmp_path) as events:
        for step in (1, 1, 2, 3):
            events.scalar("loss", step, step)
    with open(events.path, "ab") as file:
        file.write(left)
    with EventFile(tmp_path, last=2) as events:
        events.scalar("loss", 3, 3)
    assert steps(tmp_path) == [1, 1, 2, 3]
    with EventFile(tmp_path, last=0):
        assert steps(tmp_path) == []
    with EventFile(tmp_path) as events:
        assert steps(tmp_path) == []


def test_a_folder_that_cant_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFailed, match=r"file/events\S+: can't be written \(File exists\)"):
        EventFile(tmp_path / "file")


def test_it_needs_no_tensorflow(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from dermssl.core.event_file import EventFile\n"
        f"with EventFile({str(tmp_path)!r}) as events:\n"
        "    events.scalar('a', 1), events.text('b', 'c'), events.histogram('d', np.ones(3))\n"
        "    events.image('e', np.ones((2, 2, 3), np.uint8)), events.hparams({'f': 1}, 'g')\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
