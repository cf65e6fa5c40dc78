"""A SimCLR step of EfficientNetB1: ours, ours before the fused kernels, and other recipes.

    python benchmarks/simclr_step.py --torch-python PATH  # 96 px, batch 32: 10 minutes, 15 GB
    python benchmarks/simclr_step.py --quick              # 2 minutes, without PyTorch
    python benchmarks/simclr_step.py --check --json step.json

The sides are those of `step_sides.py`: ours; ours at commit 758ff66; the recipe of keras.io, one
pass a view; keras-cv's trainer; lightly on PyTorch with torchvision's network, channels last, as
its example has it and with both views in one pass. Each has a process of its own; they take turns,
and rest between. Ratios are medians over the rounds. CPU is the time of all threads, which other
work on the machine disturbs less. PyTorch is another environment's: give its Python.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import bench
import numpy as np
from step_sides import BEFORE, SIDES, checked_out

ROOT = Path(__file__).parents[1]
GOALS = {"before": 1.3, "lightly": 1.0, "lightly, one pass": 1.0}
START_SECONDS = 900  # until a side has done its first steps


def parser():
    """The command line."""
    made = bench.parser(__doc__, "64 px, batch 8, fewer rounds")
    made.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES))
    made.add_argument("--rounds", type=int, default=9)
    made.add_argument("--steps", type=int, default=3, help="of each side in each round")
    made.add_argument("--image-size", type=int, default=96)
    made.add_argument("--batch-size", type=int, default=32)
    bench.add_torch_python(made)
    return made


class Side:
    """A process that does steps when asked."""

    def __init__(self, name, python, path, size, batch, *folder):
        script = Path(__file__).with_name("step_sides.py")
        environment = {**os.environ, "PYTHONPATH": str(path), "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment["KERAS_BACKEND"] = "tensorflow"
        self.process = subprocess.Popen(
            [python, str(script), name, str(size), str(batch), *folder], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def started(self):
        """ "ready", or why it can't."""
        import select

        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline().strip() if ready else "missing: no answer in time"
        return line or "missing: its process ended"

    def steps(self, count):
        """dict of seconds, CPU seconds and MiB at the peak, of one step."""
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        """End the process."""
        self.process.kill()
        self.process.wait()


def compared(args, before):
    """dict of side -> list of what `Side.steps` gives, one a round; the order turns."""
    sides, found = {}, {}
    try:
        for name in args.sides:
            if name == "before" and before is None:
                continue
            other = name.startswith("lightly") and args.torch_python
            side = Side(
                name, other or sys.executable, before if name == "before" else ROOT,
                args.image_size, args.batch_size,
            )  # fmt: skip
            answer = side.started()
            if answer == "ready":
                sides[name], found[name] = side, []
            else:
                side.close()
                print(f"without {name}: {answer.removeprefix('missing: ')}", flush=True)
        for number in range(args.rounds):
            for name in bench.turned(sides, number):
                found[name].append(sides[name].steps(args.steps))
            line = ", ".join(f"{k} {v[-1]['seconds']:.2f} s" for k, v in found.items())
            print(f"round {number + 1}: {line}", flush=True)
    finally:
        for side in sides.values():
            side.close()
    return found


def main(argv=None):
    """Run it; returns the exit code."""
    args = parser().parse_args(argv)
    if args.quick:
        args.rounds, args.steps, args.image_size, args.batch_size = 3, 2, 64, 8
    print(f"EfficientNetB1, {args.image_size} px, 2 x {args.batch_size} views, "
          f"{os.cpu_count()} cores; before: {BEFORE}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        return report(args, compared(args, checked_out(folder)))


def report(args, found):
    """Print the table and the goals; returns the exit code."""
    if "ours" not in found:
        print("ours did not start: nothing to compare")
        return 1
    values = {
        name: {key: np.array([turn[key] for turn in turns]) for key in turns[0]}
        for name, turns in found.items()
    }
    print("\n| side | s a step, median | lowest | highest | CPU s | peak MiB | ours is faster by "
          "| by CPU |\n| :-- | --: | --: | --: | --: | --: | --: | --: |")  # fmt: skip
    ratios, by_cpu = {}, {}
    for name, value in values.items():
        seconds, cpu = value["seconds"], value["cpu"]
        ratios[name] = float(np.median(seconds / values["ours"]["seconds"]))
        by_cpu[name] = float(np.median(cpu / values["ours"]["cpu"]))
        print(f"| {name} | {np.median(seconds):.2f} | {seconds.min():.2f} | {seconds.max():.2f} "
              f"| {np.median(cpu):.2f} | {value['peak_mib'].max():.0f} | {ratios[name]:.2f} "
              f"| {by_cpu[name]:.2f} |")  # fmt: skip
    missed = [
        f"{name}: {ratios[name]:.2f} times, under {goal}"
        for name, goal in GOALS.items()
        if name in ratios and ratios[name] < goal
    ]
    for line in missed:
        print(f"missed: {line}")
    if args.json:
        kept = {"settings": vars(args), "cores": os.cpu_count(), "turns": found,
                "ratios": ratios, "ratios_by_cpu": by_cpu}  # fmt: skip
        Path(args.json).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    peers = [f"{ratios[n]:.2f} times {n} ({by_cpu[n]:.2f} by CPU)" for n in ratios if n != "ours"]
    print(f"\nours: {np.median(values['ours']['seconds']):.2f} s a step, {', '.join(peers)}")
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
