"""What the package computed and said before its redesign, which it must go on to compute and say.

`python tests/golden/road.py FOLDER` makes all of it, to the bit, for two checkouts side by side.
Here is the cheap part, against files that are kept: numbers with room for another machine's
rounding, reports to the word. After a change that is meant, run this file as a script.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import road  # noqa: E402

NUMBERS = HERE / "numbers.json"
REPORTS = ("comparison/ssl_analysis_report.md", "evaluation/report.md")


def test_reports_of_simulated_runs_are_the_same_to_the_word(tmp_path):
    road.fake_reports(tmp_path / "fake")
    road.collect(tmp_path, tmp_path / "texts")
    for name in REPORTS:
        made = (tmp_path / "texts" / "fake" / name).read_text(encoding="utf-8")
        assert made == (HERE / Path(name).name).read_text(encoding="utf-8"), name


@pytest.mark.slow
def test_training_computes_the_same_numbers(tmp_path):
    road.trained_runs(tmp_path)
    made, kept = road.numbers(tmp_path), json.loads(NUMBERS.read_text())
    assert made.keys() == kept.keys()
    for name, values in kept.items():
        np.testing.assert_allclose(
            np.array(made[name], float), np.array(values, float), rtol=1e-3, atol=1e-4, err_msg=name
        )


def keep(folder):
    """Write what the tests compare with, from a FOLDER of `road.py`."""
    values = road.numbers(Path(folder) / "work")
    NUMBERS.write_text(json.dumps(values, indent=0) + "\n")
    for name in REPORTS:
        text = (Path(folder) / "texts" / "fake" / name).read_text(encoding="utf-8")
        (HERE / Path(name).name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    keep(sys.argv[1])
