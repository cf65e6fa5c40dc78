"""JPEG files to batches of two augmented views: photos a second, ours and four others.

    python benchmarks/pipeline_speed.py --data PHOTOS     # about 6 minutes on two cores
    python benchmarks/pipeline_speed.py --quick           # 1 minute, generated photos
    python benchmarks/pipeline_speed.py --check --json speed.json

Same photos, same operations (random resized crop, rotation, both flips, shear; brightness,
contrast, saturation and hue with p = .8; grey .2; blur .5; noise .5), same output: float32
(2, batch, 224, 224, 3) in [0, 255]. Each is written as its own guide writes it:

- ours: `dermssl.data.pipeline.two_view_data`, nothing cached, then
  from the cache of decoded photos;
- torchvision: its transforms v2 on tensors, a loader with two workers (`--torch-python`);
- albumentations: two processes that fill shared memory, OpenCV's decoder, one thread each;
- keras-cv and Keras 3 layers: tf.data, decoded and resized to 448 px, layers on batches.

The sides take turns within a round, so that a busy machine slows all of them; ratios are medians
over the rounds. CPU is the time of all threads and processes, which other work disturbs less. The
cost of a photo at 1,000, 10,000 and 100,000 records is that of ours on hard
links to the same photos, in turns too. Memory is the peak of a fresh process that runs ours alone.
The Python share is what is left of a photo's time when OpenCV's functions do nothing: about what
holds the GIL, and so what no thread can share.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench
import numpy as np
from pipeline_sides import (
    BATCH,
    SIZE,
    Albumentations,
    Torchvision,
    keras_cv,
    keras_layers,
    ours,
)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

GOALS = {"albumentations": 2.0, "torchvision": 2.0, "keras-cv": 8.0}
GROWTH = 1.10  # cost a photo at the most records over that at the fewest
RECORDS = (1_000, 10_000, 100_000)


def parser():
    """The command line."""
    made = bench.parser(__doc__, "fewer rounds, to 10,000 records")
    made.add_argument("--data", metavar="FOLDER", help="JPEG photos; without it they are drawn")
    made.add_argument("--rounds", type=int, default=7)
    made.add_argument("--seconds", type=float, default=4.0, help="of each side in each round")
    bench.add_torch_python(made)
    made.add_argument("--memory-of", metavar="FOLDER", help=argparse.SUPPRESS)
    return made


def photos_in(folder, drawn_into):
    """JPEG paths in a folder, or of 200 photos of 600 x 450 px that are drawn now."""
    if folder:
        found = sorted(str(p) for p in Path(folder).rglob("*.jpg"))
        if not found:
            sys.exit(f"--data {folder}: no .jpg file there")
        return found
    import cv2
    from PIL import Image

    rng, files = np.random.default_rng(0), []
    y, x = np.mgrid[:450, :600]
    for k in range(200):
        a, b = rng.uniform(-60, 60, 2)
        inside = np.hypot(x - 300 - a, y - 225 - b)[..., None] < rng.uniform(60, 160)
        image = np.where(inside, [120, 70, 50], [205, 160, 140]).astype(np.float32)
        image += cv2.GaussianBlur(rng.normal(0, 60, image.shape), (0, 0), 2)
        files.append(str(Path(drawn_into) / f"{k}.jpg"))
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(files[-1], quality=90)
    return files


def settled(limit_s=30.0):
    """Wait until this process rests: other sides have filled the batches they keep ahead."""
    end = time.perf_counter() + limit_s
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(0.25)
        if time.process_time() - before < 0.03:
            return


def turn(batches, seconds, ahead=10):
    """(photos a second, CPU ms a photo) of one side, once the batches it had ready are used up."""
    settled()
    for _ in range(ahead):
        next(batches)
    of_workers = getattr(batches, "cpu", lambda: 0.0)
    count, began, cpu = 0, time.perf_counter(), time.process_time() + of_workers()
    while time.perf_counter() - began < seconds or count < 3:
        next(batches)
        count += 1
    took, cpu = time.perf_counter() - began, time.process_time() + of_workers() - cpu
    getattr(batches, "rest", lambda: None)()
    return count * BATCH / took, 1000 * cpu / (count * BATCH)


def compared(sides, rounds, seconds):
    """dict of name -> list of what `turn` gives, one a round; the order turns with the round."""
    found = {name: [] for name in sides}
    for number in range(rounds):
        for name in bench.turned(sides, number):
            ahead = 2 if str(name).startswith("keras") else 10
            found[name].append(turn(sides[name], seconds, ahead))
        line = ", ".join(f"{k} {v[-1][0]:.0f} ({v[-1][1]:.2f} ms)" for k, v in found.items())
        print(f"round {number + 1}: {line}", flush=True)
    return found


def grown(files, counts, rounds, seconds, folder):
    """dict of records -> list of milliseconds a photo, in turns, on hard links."""
    import shutil

    here = [shutil.copy(file, Path(folder) / f"base{k}.jpg") for k, file in enumerate(files[:500])]
    sides = {}
    for count in counts:
        (Path(folder) / str(count)).mkdir()
        links = [str(Path(folder) / str(count) / f"{k}.jpg") for k in range(count)]
        for k, link in enumerate(links):
            os.link(here[k % len(here)], link)
        sides[count] = ours(links)
    found = compared(sides, rounds, seconds)
    sides.clear()  # TensorFlow aborts at exit where iterators still run Python
    return found


def python_share(files, rounds=5):
    """(ms of Python, ms) a photo: two views with OpenCV's functions doing nothing, and as it is."""
    from unittest import mock

    import cv2

    from dermssl.data import photos
    from dermssl.data.augmentation import opencv
    from dermssl.data.augmentation.policies import AUGMENTATIONS

    policy, some = AUGMENTATIONS["simclr"], photos.Photos(files[:1] * 64, SIZE, 0)
    out, read = np.empty((SIZE, SIZE, 3), np.float32), some[0]
    view = opencv.center_square(read, SIZE)

    def seconds():
        began = time.thread_time()
        for number in range(len(some)):
            photo = some[number]
            for which in (0, 1):
                made = opencv.view(photo, policy, 0, 0, number, which, SIZE)
                if made is not view:
                    out[:] = made
        return (time.thread_time() - began) / len(some)

    idle = {name: lambda *_, **__: view for name in
            ("warpAffine", "cvtColor", "transform", "GaussianBlur", "addWeighted")}  # fmt: skip
    found = []
    for _ in range(rounds):
        whole = seconds()
        with mock.patch.multiple(cv2, imdecode=lambda *_: read, **idle):
            found.append((1000 * seconds(), 1000 * whole))
    return tuple(min(column) for column in zip(*found))


def memory(folder):
    """MiB at the peak of a fresh process: imports and one batch, 40 batches, and a full cache."""
    asked = [sys.executable, __file__, "--memory-of", folder]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def print_memory(folder):
    """What `memory` reads; runs in its process."""

    def peak():  # Linux; getrusage's peak may be that of the process this one was forked from
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    files = photos_in(folder, None)
    found, batches = {}, ours(files)
    next(batches)
    found["first batch"] = peak()
    for _ in range(40):
        next(batches)
    found["40 batches"] = peak()
    del batches
    batches = ours(files, cache_mb=256)
    for _ in range(40):
        next(batches)
    found["with a cache of 256 MiB"] = peak()
    print(json.dumps(found))


# Name of a side -> the package that it needs, and what makes it.
PEERS = {
    "albumentations": ("albumentations", Albumentations),
    "keras-cv": ("keras_cv", keras_cv),
    "keras layers": ("keras", keras_layers),
}


def main(argv=None):
    """Run it; returns the exit code."""
    args = parser().parse_args(argv)
    if args.memory_of:
        print_memory(args.memory_of)
        return 0
    if args.quick:
        args.rounds, args.seconds = 3, 2.0
    counts = RECORDS[:2] if args.quick else RECORDS
    with tempfile.TemporaryDirectory() as folder:
        files = photos_in(args.data, folder)
        print(f"{len(files)} photos, {SIZE} px, batches of {BATCH}, {os.cpu_count()} cores")
        sides = {"ours": ours(files), "ours, cached": ours(files, cache_mb=2048)}
        for name, (package, side) in PEERS.items():
            if importlib.util.find_spec(package):
                sides[name] = side(files)
            else:
                print(f"without {name}: {package} isn't installed")
        try:
            sides["torchvision"] = Torchvision(files, args.torch_python or sys.executable)
        except RuntimeError as error:
            print(f"without torchvision: {error}")
        speeds = compared(sides, args.rounds, args.seconds)
        for side in sides.values():
            getattr(side, "close", lambda: None)()
        sides.clear()
        with tempfile.TemporaryDirectory() as links:
            costs = grown(files, counts, args.rounds, args.seconds, links)
        peaks, python = memory(args.data or folder), python_share(files)
    return report(args, speeds, costs, peaks, python)


def report(args, speeds, costs, peaks, python):
    """Print the tables and the goals; returns the exit code."""
    cpu = {name: float(np.median([each for _, each in found])) for name, found in speeds.items()}
    speeds = {name: [each for each, _ in found] for name, found in speeds.items()}
    medians = {name: float(np.median(found)) for name, found in speeds.items()}
    print("\n| pipeline | photos/s, median | lowest | highest | CPU ms a photo "
          "| ours is faster by | by CPU |")  # fmt: skip
    print("| :-- | --: | --: | --: | --: | --: | --: |")
    ratios = {}
    for name, found in speeds.items():
        ratios[name] = float(np.median(np.divide(speeds["ours"], found)))
        by_cpu = cpu[name] / cpu["ours"]
        print(f"| {name} | {medians[name]:.0f} | {min(found):.0f} | {max(found):.0f} | "
              f"{cpu[name]:.2f} | {ratios[name]:.2f} | {by_cpu:.2f} |")  # fmt: skip
    print("\n| records | ms a photo, median | CPU ms |\n| --: | --: | --: |")
    walls = {count: [1000 / speed for speed, _ in found] for count, found in costs.items()}
    for count, found in costs.items():
        used = np.median([each for _, each in found])
        print(f"| {count:,} | {np.median(walls[count]):.2f} | {used:.2f} |")
    first, *_, last = costs
    growth = float(np.median(np.divide(walls[last], walls[first])))
    print(f"\ncost at {last:,} records over that at {first:,}: {growth:.3f}")
    print(f"Python alone: {python[0]:.2f} of {python[1]:.2f} ms a photo, so that threads can fill "
          f"{python[1] / python[0]:.0f} cores at most")  # fmt: skip
    print("peak memory: " + ", ".join(f"{name} {mib:.0f} MiB" for name, mib in peaks.items()))
    missed = [
        f"{name}: {ratios[name]:.2f} times, under {goal:.0f}"
        for name, goal in GOALS.items()
        if name in ratios and ratios[name] < goal
    ]
    if growth > GROWTH:
        missed.append(f"cost grows by {100 * (growth - 1):.0f}%, over {100 * (GROWTH - 1):.0f}%")
    for line in missed:
        print(f"missed: {line}")
    if args.json:
        found = {
            "settings": vars(args), "cores": os.cpu_count(), "photos_per_second": speeds,
            "cpu_ms": cpu, "ratios": ratios, "records": costs, "growth": growth,
            "peak_mib": peaks, "python_ms": python,
        }  # fmt: skip
        Path(args.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    peers = [f"{ratios[name]:.2f} times {name}" for name in ratios if name[:4] != "ours"]
    print(f"\nours: {medians['ours']:.0f} photos/s from JPEG, {', '.join(peers)}")
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
