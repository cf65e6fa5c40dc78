"""`dermssl.predict` on a folder, against decoding and the network apart.

    python benchmarks/predict_speed.py --quick            # 300 photos
    python benchmarks/predict_speed.py --json speed.json  # 2,000 photos
    python benchmarks/predict_speed.py --check            # exit 1 under the stated ratio

Three sides, in turns: the whole (decode, network, calibration, likeness, CSV), decoding alone (the
same photos through the same decoder and threads), and the network alone (the same graph on batches
that lie in memory). The headline is (decoding + network) / whole, in wall time. Then fresh
processes predict a quarter of the photos and all of them; their peak memory must not differ by more
than the stated megabytes. Synthetic photos of HAM10000's 600 x 450 px.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import bench

from dermssl.core import cli

GOAL, MORE_MIB = 0.8, 100
PEAK = """
import resource, sys
from dermssl import predict
predict.main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def parser():
    """The command line."""
    made = bench.parser(__doc__, "300 photos, one round")
    made.add_argument("--photos", type=int, default=2000)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--backbone", default="mobilenet")
    made.add_argument("--image-size", type=int, default=224)
    made.add_argument("--batch-size", type=int, default=32)
    return made


def trained(folder, args):
    """A run of one epoch: its weights don't matter, its network and likeness do."""
    from dermssl import finetune
    from dermssl.core.settings import Backbone, Data, Finetune
    from dermssl.data.synthetic import dataset

    dataset.write(folder / "small", n=160, size=64, seed=1)
    return finetune.run({
        "data": Data(path=str(folder / "small")), "seed": 0, "output": str(folder / "run"),
        "backbone": Backbone(args.backbone, image_size=args.image_size, weights="none"),
        "finetune": Finetune(frozen_epochs=1, unfrozen_epochs=0),
    })  # fmt: skip


def photo_folders(folder, n):
    """A folder of n photos and one of a quarter of them, 600 x 450 px, by 50 patterns."""
    import cv2
    import numpy as np

    from dermssl.data.synthetic import dataset

    made = dataset.write(folder / "drawn", n=50, size=450, seed=3)
    drawn = [cv2.imread(str(file)) for file in sorted((made / "images").iterdir())]
    whole, quarter = folder / "whole", folder / "quarter"
    whole.mkdir(), quarter.mkdir()
    for number in range(n):
        photo = np.roll(cv2.resize(drawn[number % 50], (600, 450)), number, axis=1)
        name = f"{number:06d}.jpg"
        cv2.imwrite(str(whole / name), photo, [cv2.IMWRITE_JPEG_QUALITY, 95])
        if number % 4 == 0:
            os.link(whole / name, quarter / name)
    return whole, quarter


def sides(run_folder, folder, args, output):
    """The three sides as functions without arguments."""
    import numpy as np

    from dermssl import predict
    from dermssl.core import config, threads
    from dermssl.data.augmentation import opencv
    from dermssl.data.photos import Photos
    from dermssl.inference import finished_run, outputs

    settings = {"predict": {"batch_size": args.batch_size, "run": str(run_folder),
                            "source": [str(folder)]}}  # fmt: skip
    made = config.configure("predict", settings, output=str(output))
    run = finished_run.load(run_folder, "finetune")
    model, size = run.model(), run.image_size
    files = sorted(map(str, folder.iterdir()))
    batch = np.zeros((args.batch_size, size, size, 3), np.uint8)

    def decoding():
        photos = Photos(files, size, 0, strict=True)
        squares = threads.map_in_order(
            lambda number: opencv.center_square(photos[number], size), range(len(files)),
            os.cpu_count() or 1, 2 * args.batch_size,
        )  # fmt: skip
        for _ in squares:
            pass

    def network():
        for _ in range(-(-len(files) // args.batch_size)):
            outputs.predict_and_embed(model, [batch])

    return {"whole": lambda: predict.run(made), "decoding": decoding, "network": network}


def peak(run_folder, folder, output):
    """Peak memory of a fresh process that predicts a folder, MiB."""
    words = [sys.executable, "-c", PEAK, run_folder, folder, "--output", output]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def main(argv=None):
    """Run it; returns the exit code."""
    args = parser().parse_args(argv)
    if args.quick:
        args.photos, args.rounds = 300, 1
    cli.quiet_tensorflow()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_folder = trained(folder, args)
        whole, quarter = photo_folders(folder, args.photos)
        functions = sides(run_folder, whole, args, folder / "new.csv")
        functions["network"]()  # traced once, by each side in any long use
        seconds = {side: [] for side in functions}
        for _ in range(args.rounds):
            for side, function in functions.items():
                seconds[side].append(bench.timed(function))
        memory = [peak(run_folder, part, folder / "m.csv") for part in (quarter, whole)]
    print(f"{args.photos} photos of 600 x 450 px, {args.backbone} at {args.image_size} px, batches "
          f"of {args.batch_size}, {args.rounds} round(s)\n")  # fmt: skip
    print("| side | wall s | CPU s | photos/s |\n| :-- | --: | --: | --: |")
    medians = {}
    for side, rounds in seconds.items():
        wall, cpu = (statistics.median(column) for column in zip(*rounds))
        medians[side] = (wall, cpu)
        print(f"| {side} | {wall:.2f} | {cpu:.2f} | {args.photos / wall:.0f} |")
    ratios = [
        (d + n) / w for d, n, w in zip(*(medians[s] for s in ("decoding", "network", "whole")))
    ]
    print(f"\npeak memory: {memory[0]} MiB for a quarter of the photos, {memory[1]} MiB for all")
    print(f"in CPU time: {ratios[1]:.2f}")
    if args.json:
        numbers = {"settings": vars(args), "seconds": seconds, "ratio": ratios[0],
                   "cpu_ratio": ratios[1], "peak_mib": memory}  # fmt: skip
        Path(args.json).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    print(f"predict: {ratios[0]:.2f} of the speed of decoding and network apart")
    missed = ratios[0] < GOAL or memory[1] - memory[0] > MORE_MIB
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
