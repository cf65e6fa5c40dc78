"""SimCLR from JPEG files to updates: photos a second, ours and lightly on PyTorch.

    python benchmarks/end_to_end.py --torch-python PATH --data PHOTOS  # 96 px, batch 32: 8 minutes
    python benchmarks/end_to_end.py --quick                            # 1 minute, without PyTorch
    python benchmarks/end_to_end.py --check --json end.json

The steps of `simclr_step.py`, each with its own input: ours from the files at every step, and with
decoded photos in memory as `dermssl.pretrain` keeps them; lightly's transform and loader with 0, 1
and 2 workers, of which the best counts. Both crop, flip both ways, turn by any angle, change
colours and blur; ours also shears and adds noise. The sides take turns. Before a turn is timed,
its side uses up the batches that it had ready. CPU is that of a side's process and its workers.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import bench
import numpy as np
from pipeline_speed import photos_in
from simclr_step import ROOT, Side
from step_sides import FROM_FILES

GOAL = 1.1
AHEAD = 6  # steps that a loader may have ready: two of two workers, and two of ours


def parser():
    """The command line."""
    made = bench.parser(__doc__, "64 px, batch 8, fewer rounds")
    made.add_argument("--data", metavar="FOLDER", help="JPEG photos; without it they are drawn")
    made.add_argument("--sides", nargs="+", default=list(FROM_FILES), choices=list(FROM_FILES))
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--steps", type=int, default=8, help="of each side in each round")
    made.add_argument("--image-size", type=int, default=96)
    made.add_argument("--batch-size", type=int, default=32)
    bench.add_torch_python(made)
    return made


def turn(side, args):
    """(photos a second, CPU ms a photo) of one side; it stands still when it isn't its turn."""
    for process in bench.family(side.process.pid):
        process.resume()
    side.steps(AHEAD)
    before = bench.cpu_of(side.process.pid)
    seconds = side.steps(args.steps)["seconds"]
    cpu = (bench.cpu_of(side.process.pid) - before) / args.steps
    for process in bench.family(side.process.pid):
        process.suspend()
    return args.batch_size / seconds, 1000 * cpu / args.batch_size


def compared(args, folder):
    """dict of side -> list of what `turn` gives, one a round; the order turns with the round."""
    sides = {}
    try:
        for name in args.sides:
            python = args.torch_python if name.startswith("lightly") else None
            side = Side(
                name, python or sys.executable, ROOT, args.image_size, args.batch_size, folder
            )
            answer = side.started()
            if answer == "ready":
                sides[name] = side
                for process in bench.family(side.process.pid):
                    process.suspend()
            else:
                side.close()
                print(f"without {name}: {answer.removeprefix('missing: ')}", flush=True)
        found = {name: [] for name in sides}
        for number in range(args.rounds):
            for name in bench.turned(sides, number):
                found[name].append(turn(sides[name], args))
            line = ", ".join(f"{k} {v[-1][0]:.0f} photos/s" for k, v in found.items())
            print(f"round {number + 1}: {line}", flush=True)
    finally:
        for side in sides.values():
            for process in bench.family(side.process.pid):
                process.resume()
            side.close()
    return found


def main(argv=None):
    """Run it; returns the exit code."""
    args = parser().parse_args(argv)
    if args.quick:
        args.rounds, args.steps, args.image_size, args.batch_size = 2, 4, 64, 8
    with tempfile.TemporaryDirectory() as drawn:
        files = photos_in(args.data, drawn)
        print(f"EfficientNetB1, {args.image_size} px, {len(files)} photos, 2 x {args.batch_size} "
              f"views, {os.cpu_count()} cores")  # fmt: skip
        return report(args, compared(args, args.data or drawn))


def report(args, found):
    """Print the table and the goal; returns the exit code."""
    if "ours" not in found:
        print("ours did not start: nothing to compare")
        return 1
    speeds, cpu = ({k: np.array([turn[i] for turn in v]) for k, v in found.items()} for i in (0, 1))
    print("\n| side | photos/s, median | lowest | highest | CPU ms a photo | ours is faster by "
          "| by CPU |\n| :-- | --: | --: | --: | --: | --: | --: |")  # fmt: skip
    ratios, by_cpu = {}, {}
    for name, speed in speeds.items():
        ratios[name] = float(np.median(speeds["ours"] / speed))
        by_cpu[name] = float(np.median(cpu[name] / cpu["ours"]))
        values = np.median(speed), speed.min(), speed.max(), np.median(cpu[name])
        shown = " | ".join(f"{value:.1f}" for value in values)
        print(f"| {name} | {shown} | {ratios[name]:.2f} | {by_cpu[name]:.2f} |")
    if args.json:
        kept = {"settings": vars(args), "cores": os.cpu_count(), "turns": found,
                "ratios": ratios, "ratios_by_cpu": by_cpu}  # fmt: skip
        Path(args.json).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    peers = [name for name in ratios if name.startswith("lightly")]
    if not peers:
        print(f"\nours: {np.median(speeds['ours']):.1f} photos/s; no lightly to compare with")
        return 0
    best = min(peers, key=ratios.get)
    print(f"\nours: {np.median(speeds['ours']):.1f} photos/s from JPEG to update, "
          f"{ratios[best]:.2f} times {best}, its best ({by_cpu[best]:.2f} by CPU)")  # fmt: skip
    return 1 if args.check and ratios[best] < GOAL else 0


if __name__ == "__main__":
    sys.exit(main())
