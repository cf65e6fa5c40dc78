"""A step of 2,048 photos in chunks of 64, against plain steps of 64: peak memory, time a photo.

    python benchmarks/gradient_cache.py --quick          # a small CNN at 32 px, batch 256, chunk 32
    python benchmarks/gradient_cache.py --json cache.json  # EfficientNetB1 at 96 px
    python benchmarks/gradient_cache.py --check          # exit 1 over the stated ratios

Beside them plain steps that forget their activations (`--remat`), and chunks that do. The steps
alone, on views that lie in memory. Peak memory is that of a fresh process after as many photos:
TensorFlow, the graph, the views and all else included; what it held before its first step stands
beside it. It is the median of three processes a side: whether TensorFlow's pool finds room in what
it has, or takes a fifth more, is luck. Time is taken in one process, the sides in
turns, as many photos each; medians of the rounds. The headline is in CPU time where the machine
is shared: `--clock cpu`.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import bench

from dermssl.core import cli

MEMORY_GOAL, TIME_GOAL = 1.2, 1.5
SIDES = ("plain", "chunks", "remat", "chunks, remat")


def parser():
    """The command line."""
    made = bench.parser(__doc__, "a small network and batch, one round")
    made.add_argument("--backbone", default="efficientnetb1")
    made.add_argument("--image-size", type=int, default=96)
    made.add_argument("--batch-size", type=int, default=2048)
    made.add_argument("--chunk-size", type=int, default=64)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--processes", type=int, default=3, help="a side, whose peaks are taken")
    made.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    made.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="of the headline")
    made.add_argument("--peak-of", choices=SIDES, help=argparse.SUPPRESS)
    return made


def steps(args, sides):
    """dict of side -> (function of one step, photos a step), all of one network."""
    import tensorflow as tf

    import dermssl

    backbone = dermssl.Backbone(args.backbone, image_size=args.image_size)
    functions = {}
    for side in sides:
        chunked = side.startswith("chunks")
        photos = args.batch_size if chunked else args.chunk_size
        model = dermssl.SimCLR(
            backbone, chunk_size=args.chunk_size if chunked else 0, remat="remat" in side
        )
        model.compile("adam", jit_compile=False)
        model.optimizer.build(model.trainable_variables)
        shape = (photos, args.image_size, args.image_size, 3)
        views = tuple(
            tf.random.stateless_uniform(shape, seed=(0, view), maxval=255.0) for view in range(2)
        )
        traced = tf.function(model.train_step)

        def step(traced=traced, views=views):
            return float(traced(views)["loss"])

        functions[side] = step, photos
    return functions


def peak_mib():
    """Peak memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peak_of(args):
    """In a process of its own: print the peak before and after as many photos as a batch has."""
    ((step, photos),) = steps(args, [args.peak_of]).values()
    before = peak_mib()
    for _ in range(args.batch_size // photos):
        step()
    print(json.dumps([before, peak_mib()]))


def main(argv=None):
    """Run it; returns the exit code."""
    args = parser().parse_args(argv)
    if args.quick:
        args.backbone, args.image_size, args.rounds = "cnn", 32, 1
        args.batch_size, args.chunk_size, args.processes = 256, 32, 1
    if {"plain", "chunks"} - {*args.sides}:
        raise SystemExit("gradient_cache: --sides needs plain and chunks, which are compared")
    cli.quiet_tensorflow()
    if args.peak_of:
        peak_of(args)
        return 0
    own = ["--backbone", args.backbone]
    for name in ("image_size", "batch_size", "chunk_size"):
        own += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    every: dict[str, list] = {side: [] for side in args.sides}
    for _ in range(args.processes):
        for side in args.sides:
            words = [sys.executable, __file__, *own, "--peak-of", side]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            every[side].append(json.loads(done.stdout.splitlines()[-1]))
    peaks = {side: [statistics.median(column) for column in zip(*every[side])] for side in every}
    functions = steps(args, args.sides)
    for step, _ in functions.values():
        step()  # traced
    seconds = {side: [] for side in args.sides}
    for _ in range(args.rounds):
        for side, (step, photos) in functions.items():
            seconds[side].append(bench.timed(step, args.batch_size // photos))
    print(f"{args.backbone} at {args.image_size} px, {args.batch_size} photos a round by "
          f"{args.chunk_size}, {args.rounds} round(s)\n")  # fmt: skip
    print("| side | wall ms a photo | CPU ms a photo | MiB before the step | peak MiB |")
    print("| :-- | --: | --: | --: | --: |")
    medians = {}
    for side, rounds in seconds.items():
        medians[side] = [statistics.median(column) for column in zip(*rounds)]
        wall, cpu = (1000 * value / args.batch_size for value in medians[side])
        before, peak = peaks[side]
        print(f"| {side} | {wall:.2f} | {cpu:.2f} | {before:.0f} | {peak:.0f} |")
    print()
    for side in args.sides[1:]:
        memory = peaks[side][1] / peaks["plain"][1]
        wall, cpu = (own / plain for own, plain in zip(medians[side], medians["plain"]))
        print(f"{side}: {memory:.2f} of the memory and {wall:.2f} of the time of plain steps, "
              f"{cpu:.2f} in CPU time")  # fmt: skip
    memory = peaks["chunks"][1] / peaks["plain"][1]
    wall, cpu = (chunks / plain for chunks, plain in zip(medians["chunks"], medians["plain"]))
    ratio = cpu if args.clock == "cpu" else wall
    if args.json:
        numbers = {"settings": vars(args), "seconds": seconds, "peak_mib": every,
                   "memory_ratio": memory, "time_ratio": wall, "cpu_ratio": cpu}  # fmt: skip
        Path(args.json).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    print(f"\ngradient cache: {memory:.2f} of the memory and {ratio:.2f} of the time a photo of "
          f"plain steps of {args.chunk_size}")  # fmt: skip
    return 1 if args.check and (memory > MEMORY_GOAL or ratio > TIME_GOAL) else 0


if __name__ == "__main__":
    raise SystemExit(main())
