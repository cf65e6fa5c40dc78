"""The Slurm script, with commands of the same names in Slurm's place."""

import json
import os
import subprocess

import pytest
import tiny

SCRIPT = tiny.ROOT / "experiments" / "pretrain_multiworker.slurm"


@pytest.fixture
def slurm(tmp_path):
    """Run the script as task 1 of two; what it called, by name."""
    called = tmp_path / "called"
    commands = {
        "scontrol": f'[ "$1" = show ] && printf "node7\\nnode8\\n" || echo "$@" >> {called}',
        "srun": 'shift; SLURM_PROCID=1 exec "$@"',
        "python": f'cd {tmp_path}; echo "$TF_CONFIG" > cluster; echo "$@" > words; exit $END',
    }
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)

    def run(code, restarts=0):
        called.unlink(missing_ok=True)
        environment = os.environ | {
            "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "120007", "END": str(code),
            "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_RESTART_COUNT": str(restarts),
        }  # fmt: skip
        words = ["bash", str(SCRIPT), "my photos", "out"]
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
        assert ended.returncode == code, ended.stderr
        return called.read_text().strip() if called.exists() else ""

    return run


def test_the_cluster_and_the_command(slurm, tmp_path):
    assert slurm(0) == ""
    assert json.loads((tmp_path / "cluster").read_text()) == {
        "cluster": {"worker": ["node7:20007", "node8:20007"]},
        "task": {"type": "worker", "index": 1},
    }
    words = (tmp_path / "words").read_text()
    assert words.startswith("-m dermssl.pretrain --data my photos --output out --strategy multi")


@pytest.mark.parametrize(
    ("code", "restarts", "requeued"),
    [(143, 0, True), (1, 2, True), (1, 3, False), (2, 0, False)],
)
def test_a_stopped_job_is_queued_again_but_not_for_ever(slurm, code, restarts, requeued):
    assert slurm(code, restarts) == ("requeue 120007" if requeued else "")
