"""Two workers with a core each, against one process with both cores: SimCLR, photos to update.

    python benchmarks/scaling.py --quick          # a small CNN, seconds a side
    python benchmarks/scaling.py --json speed.json
    python benchmarks/scaling.py --check          # exit 1 under the stated ratio

Both sides make the same steps of the same global batch from the same photos (synthetic, in memory
once decoded), the workers over loopback. All processes are started once and have traced their
step; then the sides take turns while the other one waits. Each process is bound to its cores.
The headline is the photos a second of two workers over those of one process, medians of wall time.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import bench

from dermssl.core import cli

GOAL = 0.85
SIDES = {"one process": ("one",), "two workers": ("worker 0", "worker 1")}


def parser():
    """The command line."""
    made = bench.parser(__doc__, "a small CNN, three short rounds")
    made.add_argument("--backbone", default="efficientnetb1")
    made.add_argument("--image-size", type=int, default=96)
    made.add_argument("--batch-size", type=int, default=32, help="photos a step, of all workers")
    made.add_argument("--steps", type=int, default=16, help="steps a turn")
    made.add_argument("--rounds", type=int, default=4)
    made.add_argument("--process", help=argparse.SUPPRESS)
    made.add_argument("--photos", help=argparse.SUPPRESS)
    return made


def process(args):
    """One side, or half of one: a turn of steps for each line of standard input."""
    cli.quiet_tensorflow()
    import keras
    import numpy as np

    from dermssl.core.settings import Backbone
    from dermssl.data import pipeline
    from dermssl.data.augmentation.policies import AUGMENTATIONS
    from dermssl.data.photos import Photos
    from dermssl.models import backbones
    from dermssl.models.simclr import SimCLR
    from dermssl.training import distribution
    from dermssl.training.adam import Adam

    chosen = distribution.choose("none" if args.process == "one" else "multiworker")
    files = sorted(map(str, (Path(args.photos) / "images").iterdir()))
    photos = Photos(files, args.image_size)
    with chosen.scope():
        model = SimCLR(backbones.build(Backbone(args.backbone, args.image_size)), seed=0)
        model.compile(Adam(1e-4), jit_compile=False)
        model.optimizer.build(model.trainable_variables)

    def data(first, last):
        return pipeline.two_view_data(
            photos, AUGMENTATIONS["simclr"], 0, args.batch_size, args.image_size, last, first,
            **chosen.parts,
        )  # fmt: skip

    if chosen.replicas > 1:
        chosen.build(model, data(0, 1))

    marks = []
    mark = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_, **__: marks.append(bench.now())
    )

    def turn(first):
        """(wall, CPU) seconds of the steps after the first: without what begins and ends a fit."""
        marks.clear()
        batches = chosen.data(data(first, first + args.steps + 1))
        model.fit(
            batches, steps_per_epoch=args.steps + 1, shuffle=False, verbose=0, callbacks=[mark]
        )
        return np.subtract(marks[-1], marks[0])

    turn(0)  # traces the step, and decodes photos
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin, start=1):
        print(*turn(number * (args.steps + 1)), flush=True)


def start(args, photos):
    """dict of name -> running process, all ready."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    made = {}
    for name in ("one", "worker 0", "worker 1"):
        words = [sys.executable, __file__, "--process", name, "--photos", str(photos)]
        for option in ("backbone", "image_size", "batch_size", "steps"):
            words += [f"--{option.replace('_', '-')}", str(getattr(args, option))]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        own = cores
        if name != "one":
            number = int(name[-1])
            task = {"type": "worker", "index": number}
            environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
            own = [cores[number]]
        made[name] = subprocess.Popen(
            words, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        os.sched_setaffinity(made[name].pid, own)  # before TensorFlow counts its cores
    for name, each in made.items():
        if each.stdout.readline() != "ready\n":
            raise SystemExit(f"scaling: the process '{name}' ended before its first turn")
    return made


def one_turn(processes):
    """(wall, CPU) seconds: of the slowest, and of all together."""
    for each in processes:
        each.stdin.write("go\n")
        each.stdin.flush()
    walls, cpus = zip(*(map(float, each.stdout.readline().split()) for each in processes))
    return max(walls), sum(cpus)


def main(argv=None):
    """Run it; returns the exit code."""
    args = parser().parse_args(argv)
    if args.process:
        return process(args)
    if args.quick:
        args.backbone, args.image_size, args.steps, args.rounds = "cnn", 64, 5, 3
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("scaling: needs two cores")
    from dermssl.data.synthetic import dataset

    seconds = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as name:
        photos = dataset.write(Path(name) / "photos", n=4 * args.batch_size, size=128, seed=1)
        processes = start(args, photos)
        try:
            for _ in range(args.rounds):
                for side, names in SIDES.items():
                    seconds[side].append(one_turn([processes[each] for each in names]))
        finally:
            for each in processes.values():
                each.kill()
                each.wait()
    photos_a_turn = args.steps * args.batch_size
    print(f"{args.backbone} at {args.image_size} px, batch {args.batch_size}, {args.steps} steps a "
          f"turn, {args.rounds} rounds\n")  # fmt: skip
    print("| side | wall s a step | CPU s a step | photos/s |\n| :-- | --: | --: | --: |")
    medians = {}
    for side, rounds in seconds.items():
        wall, cpu = (statistics.median(column) for column in zip(*rounds))
        medians[side] = (wall, cpu)
        print(f"| {side} | {wall / args.steps:.3f} | {cpu / args.steps:.3f} | "
              f"{photos_a_turn / wall:.0f} |")  # fmt: skip
    ratios = [one / two for one, two in zip(*(medians[side] for side in SIDES))]
    print(f"\nin CPU time: {ratios[1]:.2f}")
    if args.json:
        numbers = {"settings": vars(args), "seconds": seconds, "ratio": ratios[0],
                   "cpu_ratio": ratios[1]}  # fmt: skip
        Path(args.json).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    print(f"scaling: two workers with a core each reach {ratios[0]:.2f} of one process with two")
    return 1 if args.check and ratios[0] < GOAL else 0


if __name__ == "__main__":
    raise SystemExit(main())
