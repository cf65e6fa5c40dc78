"""TensorBoard's command: a page on localhost with all runs, one line where there can't be one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import tiny

from dermssl import evaluate, tensorboard
from dermssl.core import event_file, ports


@pytest.fixture
def port():
    """A port that is free."""
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def refused(capsys, *argv):
    assert tiny.call(tensorboard, *argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_folder_without_events_and_none_at_all(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    assert f"{tmp_path}: no events of TensorBoard in it" in refused(capsys, tmp_path)
    assert "unless --tensorboard is none" in refused(capsys, tmp_path)
    assert "nowhere: no such folder; give" in refused(capsys, tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "file: a file; give a folder that holds runs" in refused(capsys, tmp_path / "file")


def test_a_port_in_use_and_the_one_to_take(tmp_path, capsys):
    with event_file.EventFile(tmp_path) as events:
        events.scalar("loss", 1.0)
    with socket.create_server(("localhost", 0)) as server:
        taken = server.getsockname()[1]
        line = refused(capsys, tmp_path, "--port", taken)
    assert f"--port {taken} of 127.0.0.1: can't be used (address already in use); use" in line
    other = int(line.split("use --port ")[1])
    assert taken < other <= taken + ports.OTHERS
    socket.create_server(("localhost", other)).close()


def answer(address, path, **question):
    """What the page's server says, from JSON; `question` is posted."""
    data = json.dumps(question).encode() if question else None
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


@pytest.mark.slow
def test_the_page_shows_the_runs_until_ctrl_c(own_run, port):
    command = [sys.executable, "-m", "dermssl.tensorboard", own_run.parent, "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(tiny.ROOT)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            address = f"http://localhost:{port}/"
            assert line == f"TensorBoard of {own_run.parent}: {address} (Ctrl-C ends it)\n"
            shown, until = [], time.monotonic() + 60
            while len(shown) < 7 and time.monotonic() < until:
                shown = answer(address, "data/runs")
                time.sleep(0.2)
            parts = ("details", "heat_maps", "train", "validation")
            names = {f"{phase}/{part}" for phase in ("frozen", "unfrozen") for part in parts}
            assert {f"run/tensorboard/{name}" for name in (*names, "scores")} <= set(shown)
            trials = answer(address, "data/plugin/hparams/experiment", experimentName="")
            assert "finetune.batch_size" in {info["name"] for info in trials["hparamInfos"]}
            tags = {info["name"]["tag"] for info in trials["metricInfos"]}
            assert {"test/balanced_accuracy", "validation/log_loss"} <= tags
            pictures = answer(address, "data/plugin/images/tags")
            assert set(pictures["run/tensorboard/frozen/details"]) == {
                "confusion_matrix", "validation_photos",
            }  # fmt: skip
        finally:
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert said[0] == "ended\n"


def test_the_report_is_a_text_without_pictures(own_run):
    assert tiny.call(evaluate, own_run, "--n-resamples", 100) == 0
    _, event = event_file.read(own_run / "tensorboard" / "report_test")
    (value,) = event.summary.value
    text = value.tensor.string_val[0].decode()
    written = (own_run / "evaluation_test" / "report.md").read_text()
    assert "![" in written
    assert "![" not in text
    kept = [line for line in written.splitlines() if line and not line.startswith("![")]
    assert [line for line in text.splitlines() if line] == kept
