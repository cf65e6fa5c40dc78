"""From the command to the end of the first step: `dermssl.pretrain`, now and before.

    python benchmarks/first_step.py                       # EfficientNetB1, 96 px: 6 minutes
    python benchmarks/first_step.py --quick               # the CNN, one round
    python benchmarks/first_step.py --check --json first.json

Each turn is a fresh process that runs the whole command on the same drawn photos, and ends where
Keras says that the first batch is done. Both sides take turns. CPU counts all threads: it is what
the goal is about, as other work on the machine disturbs it less than the clock.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench
import numpy as np
from step_sides import BEFORE, checked_out

ROOT = Path(__file__).parents[1]
GOAL = 2.0  # times less CPU than before
PHOTOS = 500

# Runs the command, and ends it after its first batch: as soon as Keras has its callbacks, the end
# of a batch says how much time went by, and leaves.
RUNNER = """
import os, resource, runpy, sys, threading, time

def watch():
    while (module := sys.modules.get("keras.src.callbacks.callback_list")) is None or not hasattr(
        module, "CallbackList"
    ):
        time.sleep(0.05)
    module.CallbackList.on_train_batch_end = ended

def ended(*_, **__):
    used = resource.getrusage(resource.RUSAGE_SELF)
    print("first step", used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, flush=True)
    os._exit(0)

threading.Thread(target=watch, daemon=True).start()
runpy.run_module("dermssl.pretrain", run_name="__main__", alter_sys=True)
"""


def parser():
    """The command line."""
    made = bench.parser(__doc__, "the CNN at 32 px, one round")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--backbone", default="efficientnetb1")
    made.add_argument("--image-size", type=int, default=96)
    made.add_argument("--batch-size", type=int, default=32)
    return made


def turn(args, path, photos, output):
    """dict of seconds, CPU seconds and MiB at the peak, till the first step is done."""
    flags = {
        "--data": photos, "--output": output, "--backbone": args.backbone,
        "--image-size": args.image_size, "--batch-size": args.batch_size,
    }  # fmt: skip
    words = [str(word) for pair in flags.items() for word in pair]
    environment = {**os.environ, "PYTHONPATH": str(path)}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, *words], env=environment, cwd=output.parent,
        capture_output=True, text=True,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("first step")]
    if not lines:
        sys.exit(f"{path}: no first step\n{done.stderr[-2000:]}")
    return {"seconds": seconds, "cpu": float(lines[0][2]), "peak_mib": float(lines[0][3])}


def main(argv=None):
    """Run it; returns the exit code."""
    args = parser().parse_args(argv)
    if args.quick:
        args.rounds, args.backbone, args.image_size, args.batch_size = 1, "cnn", 32, 16
    print(f"{args.backbone}, {args.image_size} px, batches of {args.batch_size}, "
          f"{os.cpu_count()} cores; before: {BEFORE}")  # fmt: skip
    from dermssl.data.synthetic import dataset

    with tempfile.TemporaryDirectory() as name:
        folder, before = Path(name), checked_out(Path(name) / "before")
        photos = dataset.write(folder / "photos", n=PHOTOS, size=128, seed=1)
        sides = {"ours": ROOT} | ({"before": before} if before else {})
        found = {side: [] for side in sides}
        for number in range(args.rounds):
            for side in sorted(sides, reverse=number % 2 == 1):
                output = folder / f"{side}{number}"
                found[side].append(turn(args, sides[side], photos, output))
            line = ", ".join(f"{k} {v[-1]['cpu']:.1f} s of CPU" for k, v in found.items())
            print(f"round {number + 1}: {line}", flush=True)
    return report(args, found)


def report(args, found):
    """Print the table and the goal; returns the exit code."""
    print("\n| side | CPU s, median | lowest | highest | s, median | peak MiB |\n"
          "| :-- | --: | --: | --: | --: | --: |")  # fmt: skip
    cpu = {side: np.array([each["cpu"] for each in turns]) for side, turns in found.items()}
    for side, turns in found.items():
        seconds = np.median([each["seconds"] for each in turns])
        print(f"| {side} | {np.median(cpu[side]):.1f} | {cpu[side].min():.1f} "
              f"| {cpu[side].max():.1f} | {seconds:.1f} "
              f"| {max(each['peak_mib'] for each in turns):.0f} |")  # fmt: skip
    ratio = float(np.median(cpu["before"] / cpu["ours"])) if "before" in cpu else None
    missed = ratio is not None and ratio < GOAL
    if missed:
        print(f"missed: {ratio:.2f} times less CPU, under {GOAL}")
    if args.json:
        kept = {"settings": vars(args), "cores": os.cpu_count(), "turns": found, "ratio": ratio}
        Path(args.json).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    than = f", {ratio:.2f} times less than at {BEFORE}" if ratio else ""
    print(f"\nours: {np.median(cpu['ours']):.1f} s of CPU to the end of the first step{than}")
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
