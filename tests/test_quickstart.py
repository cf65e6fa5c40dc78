"""dermssl.quickstart: the whole road, its sentence at the end, and that nothing is made twice."""

import shutil

import pytest
import tiny

from dermssl import quickstart

pytestmark = pytest.mark.slow

ARMS = """
[backbone]
name = "mlp"
image_size = 32
[experiment]
seeds = [0, 1]
labels = ["100%"]
[arms.random]
weights = "none"
[arms.ssl]
weights = "none"
pretrain = true
"""


def test_it_ends_with_the_report_s_sentences_and_makes_nothing_twice(photos, tmp_path, capfd):
    (tmp_path / "c.toml").write_text(tiny.EXPERIMENT + ARMS)
    output = tmp_path / "out"
    argv = ["--config", tmp_path / "c.toml", "--data", photos, "--output", output]
    assert tiny.call(quickstart, *argv) == 0
    first = capfd.readouterr().out
    report = (output / "model_comparison" / "ssl_analysis_report.md").read_text()
    (verdict,) = (line for line in first.splitlines() if "SimCLR" in line and line[:2] == "- ")
    assert "random init" in verdict
    assert verdict in report
    # Two epochs decide nothing, whichever sentence it is.
    assert "not told apart" in verdict or "beats" in verdict
    assert f"report:      {output}/model_comparison/ssl_analysis_report.md" in first
    # How a run would be shorter is for who trains one: a study has none of its flags.
    assert "time: measuring" in first
    assert "shorter:" not in first

    shutil.rmtree(output / "model_comparison")
    assert tiny.call(quickstart, *argv) == 0
    again = capfd.readouterr()
    assert verdict in again.out
    assert (again.out + again.err).count("(finished before)") == 5
