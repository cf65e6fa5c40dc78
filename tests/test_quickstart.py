"""dermssl.quickstart: the whole road, its sentence at the end, and that nothing is made twice."""

import shutil

import tiny

from dermssl import quickstart

EXPERIMENT = """
[backbone]
name = "mlp"
image_size = 32
[pretrain]
epochs = 1
batch_size = 16
projection = [16, 8]
probe_every = 0
[finetune]
frozen_epochs = 1
unfrozen_epochs = 1
batch_size = 7
steps_per_epoch = 2
predict = "held_out"
[experiment]
seeds = [0, 1]
labels = [1]
[arms.random]
weights = "none"
[arms.ssl]
weights = "none"
pretrain = true
"""


def test_it_ends_with_the_report_s_sentences_and_makes_nothing_twice(photos, tmp_path, capfd):
    (tmp_path / "c.toml").write_text(EXPERIMENT)
    output = tmp_path / "out"
    argv = ["--config", tmp_path / "c.toml", "--data", photos, "--output", output]
    assert tiny.call(quickstart, *argv) == 0
    first = capfd.readouterr().out
    report = (output / "model_comparison" / "ssl_analysis_report.md").read_text()
    (verdict,) = (line for line in first.splitlines() if "SimCLR" in line and line[:2] == "- ")
    assert "random init" in verdict
    assert verdict in report
    # Two epochs on seven photos decide nothing, whichever sentence it is.
    assert "not told apart" in verdict or "beats" in verdict
    assert f"report:      {output}/model_comparison/ssl_analysis_report.md" in first

    shutil.rmtree(output / "model_comparison")
    assert tiny.call(quickstart, *argv) == 0
    again = capfd.readouterr()
    assert verdict in again.out
    assert (again.out + again.err).count("(finished before)") == 5
