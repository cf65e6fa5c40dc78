"""A hundred kills at random moments: every run ends as one that was never killed, bit for bit.

A chain is one run, killed up to a few times. Half of the kills are SIGKILLs from outside at a
random moment, half come just before or after a file is synced or renamed: checkpoints, model,
predictions, tables, status.
"""

import random
import time

import kills
import pytest
import tiny

pytestmark = [pytest.mark.soak, pytest.mark.slow]
SEED = 20
KILLS = {"pretrain": 35, "finetune": 45, "grid": 20}
CHAIN = 6  # kills a chain, at most


def pretraining(photos):
    def argv(output, rng):
        return ["--data", photos, *tiny.SMALL, "--backbone", "cnn", "--epochs", 3,
                "--projection", 16, 8, "--checkpoint-steps", rng.randint(1, 6),
                "--output", output]  # fmt: skip

    return argv


def fine_tuning(photos):
    def argv(output, rng):
        return ["--data", photos, *tiny.SMALL, "--backbone", "cnn", "--frozen-epochs", 1,
                "--unfrozen-epochs", 3, "--unfrozen-learning-rate", 0.003, "--patience", 2,
                "--checkpoint-steps", rng.randint(1, 8), "--output", output]  # fmt: skip

    return argv


def grid(photos):
    def argv(output, rng):
        return ["--data", photos, "--models", "cnn", "--image-size", 32, "--depths", 1, 4,
                "--augmentations", "none", "skin", "--seeds", 0, 1, "--epochs", 2,
                "--batch-size", 16, "--classes", "mel", "nv", "--dropout", 0.2,
                "--n-resamples", 100, "--output", output]  # fmt: skip

    return argv


@pytest.mark.parametrize("command", KILLS)
def test_every_kill_is_survived(command, photos, tmp_path):
    argv = {"pretrain": pretraining, "finetune": fine_tuning, "grid": grid}[command](photos)
    attempts = kills.Attempts(tmp_path / "attempts.log")
    chain = kills.Chain(attempts, command, argv, tmp_path / "reference")
    rng, hits, began = random.Random(f"{command} {SEED}"), 0, time.time()
    number = 0
    while hits < KILLS[command]:
        number += 1
        hits += chain.run(tmp_path / f"chain{number}", min(CHAIN, KILLS[command] - hits), rng)
        print(f"{command}: {hits} of {KILLS[command]} kills, {number} runs bit-equal, "
              f"{time.time() - began:.0f} s", flush=True)  # fmt: skip
    print(f"{command}: killed {', '.join(f'{n} {where}' for where, n in chain.places.items())}")
