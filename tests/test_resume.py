"""A run that was killed, by SIGKILL, ends as one that never was: bit for bit.

`make soak` does the same at a hundred random moments (tests/soak/test_kills.py).
"""

import kills
import pytest
import tiny


@pytest.fixture(scope="module")
def attempts(tmp_path_factory):
    return kills.Attempts(tmp_path_factory.mktemp("log") / "attempts.log")


@pytest.mark.slow
def test_pretraining_killed_in_a_checkpoint_and_in_the_last_save(attempts, photos, tmp_path):
    def argv(output, rng):
        return ["--data", photos, *tiny.SMALL, "--epochs", 2, "--projection", 16, 8,
                "--checkpoint-steps", 2, "--output", output]  # fmt: skip

    chain = kills.Chain(attempts, "pretrain", argv, tmp_path / "reference")
    fuses = [("replace", ".ckpt", 2, False), ("replace", "backbone.weights", 1, False)]
    chain.run_with_fuses(tmp_path / "killed", fuses)


@pytest.mark.slow
def test_pretraining_in_chunks_killed_in_a_checkpoint(attempts, photos, tmp_path):
    # The MLP has no state but its weights, so the CNN, with the BatchNorm that moves by chunk.
    def argv(output, rng):
        return ["--data", photos, *tiny.SMALL, "--backbone", "cnn", "--epochs", 2, "--projection",
                16, 8, "--chunk-size", 4, "--checkpoint-steps", 2, "--output", output]  # fmt: skip

    chain = kills.Chain(attempts, "pretrain", argv, tmp_path / "reference")
    chain.run_with_fuses(tmp_path / "killed", [("replace", ".ckpt", 2, False)])


@pytest.mark.slow
def test_fine_tuning_killed_in_an_epoch_and_in_its_predictions(attempts, photos, tmp_path):
    def argv(output, rng):
        return ["--data", photos, *tiny.SMALL, "--frozen-epochs", 1, "--unfrozen-epochs", 2,
                "--checkpoint-steps", 4, "--output", output]  # fmt: skip

    chain = kills.Chain(attempts, "finetune", argv, tmp_path / "reference")
    # Step 10 is the fourth of the unfrozen phase's first epoch, which has six.
    fuses = [("replace", "000000010.ckpt", 1, True), ("replace", "predictions.csv", 1, False)]
    fuses += [("rmdir", "checkpoints", 1, False)]  # finished, and only to be cleared up
    chain.run_with_fuses(tmp_path / "killed", fuses)
    assert "unfrozen: resumes after step 4 of 12" in attempts.log.read_text()
