"""Shards: what a record costs at 1,000,000 records over what it costs at 10,000.

    python benchmarks/shards.py                 # about 3 minutes on two cores
    python benchmarks/shards.py --quick         # to 100,000 records, half a minute
    python benchmarks/shards.py --check --json shards.json

Both sides are folders of shards as `dermssl.shards` writes them, with labels, lesions and patients,
and 50,000 bytes a photo. The photos are empty and the shards sparse files, so that a million take
no room on the disk; what is done with their bytes doesn't depend on them. CPU time of all threads,
in turns, with nothing kept between the turns:

- table: the index is read, records are made of it and checked, and split by patient and lesion;
- hash: `data_hash`, which knows a run's data;
- order: where the photos lie, and the order of one epoch;
- bytes: photos are read in that order, and checked (some of them; this is a cost a photo, with
  the files in the system's memory).

An epoch that begins with all of it costs their sum a record; its ratio is the goal. Memory is the
peak of a fresh process that does it, over that of one that only imports the modules.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import bench
import numpy as np
import pandas as pd

from dermssl.core import taxonomy
from dermssl.core.settings import Data
from dermssl.data import photo_bytes, photos, pipeline, readers, records, shard_files, splits
from dermssl.data.shard_files import HEAD, TAIL

GROWTH = 1.10
BYTES, A_SHARD = 50_000, 5000  # of a photo; photos
READ = 4000  # photos whose bytes are read in a turn
STEPS = ("table", "hash", "order", "bytes")


def write(folder, n, seed=0):
    """A folder of shards with n photos: two of a lesion, four of a patient, seven classes."""
    rng, classes = np.random.default_rng(seed), taxonomy.load("ham10000")
    place = rng.permutation(n)  # the order in the shards is random
    lesion = np.arange(n) // 2
    fine = rng.choice(classes.fine, n, p=[0.11, 0.67, 0.11, 0.05, 0.03, 0.02, 0.01])[lesion]
    table = pd.DataFrame({
        "id": [f"images/ISIC_{k:07d}.jpg" for k in range(n)],
        "shard": place // A_SHARD,
        "at": place % A_SHARD * (HEAD + BYTES + TAIL) + HEAD,
        "bytes": BYTES,
        "sha256": hashlib.sha256(bytes(BYTES)).digest(),
        "is_mask": False,
        "age": 5 * rng.integers(4, 17, n)[lesion // 2],
        "fine": fine,
        "coarse": pd.Series(fine).map(dict(zip(classes.fine, classes.parents))),
        "lesion_id": [f"HAM_{k:07d}" for k in lesion],
        "patient_id": [f"IP_{k:07d}" for k in lesion // 2],
        "split": "", "skin_tone": "", "source": "", "mask": "",
        "site": rng.choice(["back", "lower extremity", "trunk", "face"], n),
        "sex": np.array(["female", "male"])[rng.integers(0, 2, n)[lesion // 2]],
    })  # fmt: skip
    folder.mkdir()
    sizes = (np.bincount(place // A_SHARD) * (HEAD + BYTES + TAIL)).tolist()
    for number, size in enumerate(sizes):
        with open(folder / shard_files.shard_name(number, len(sizes)), "wb") as file:
            file.truncate(size)
    (folder / shard_files.MARKER).write_text("{}")
    shard_files.write_index(str(folder), table, sizes, classes)


def forget():
    """Nothing of an earlier turn is kept."""
    photo_bytes._listing.cache_clear()
    shard_files._load.cache_clear()
    pipeline.epoch_order.cache_clear()


def turn(folder, parts=None):
    """dict of step -> (wall, CPU) seconds, and the records."""
    forget()
    kept, took = {}, {}
    data = Data(path=str(folder))

    def table():
        dataset, _ = readers.checked(readers.read(data), "error", "data.path")
        kept["dataset"] = splits.assign(dataset)

    def order():
        some = photos.Photos(kept["dataset"].files, 224)
        kept["rows"] = pipeline.epoch_order(len(some), 0, 0, some.pages)
        kept["photos"] = some

    def read():
        for row in kept["rows"][:READ]:
            photo_bytes.read(kept["photos"].files[row])

    took["table"] = bench.timed(table)
    took["hash"] = bench.timed(lambda: records.data_hash(kept["dataset"]))
    took["order"] = bench.timed(order)
    read()  # so that the disk has no part in it
    took["bytes"] = bench.timed(read)
    return took, len(kept["dataset"].index)


def a_record(took, n):
    """CPU microseconds a record of each step, and of all."""
    read = min(READ, n)
    found = {name: 1e6 * cpu / (read if name == "bytes" else n) for name, (_, cpu) in took.items()}
    return found | {"all": sum(found.values())}


def memory(folder=None):
    """Peak MiB of a fresh process that does all of it, or only imports."""
    words = [sys.executable, __file__, "--memory-of", str(folder or "")]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def main(argv=None):
    parser = bench.parser(__doc__, "100,000 records at most, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.memory_of is not None:
        if args.memory_of:
            turn(args.memory_of)
        # getrusage would give the peak of the process that started this one, too.
        print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
        return 0
    few, many = 10_000, 100_000 if args.quick else 1_000_000
    rounds = 1 if args.quick else args.rounds
    costs = {few: [], many: []}
    with tempfile.TemporaryDirectory() as work:
        folders = {n: Path(work) / str(n) for n in (few, many)}
        for n, folder in folders.items():
            write(folder, n)
        turn(folders[few])  # imports and first calls
        for number in range(rounds):
            order = [few, few, many, few, few] if number % 2 else [many, few, few, few, few]
            for n in order:
                took, count = turn(folders[n])
                assert count == n
                costs[n].append(a_record(took, n))
            line = ", ".join(f"{n:,}: {costs[n][-1]['all']:.1f}" for n in costs)
            print(f"round {number + 1}, CPU microseconds a record: {line}", flush=True)
        took, _ = turn(folders[many])
        base = memory()
        peak = {n: memory(folder) - base for n, folder in folders.items()}
        index = {n: (folder / shard_files.INDEX).stat().st_size / 2**20
                 for n, folder in folders.items()}  # fmt: skip
    found = {n: {k: float(np.median([c[k] for c in costs[n]])) for k in (*STEPS, "all")}
             for n in costs}  # fmt: skip
    ratio = {k: found[many][k] / found[few][k] for k in (*STEPS, "all")}
    print(
        f"\n| CPU a record, microseconds | {few:,} | {many:,} | ratio |\n| --- | --- | --- | --- |"
    )
    for name in (*STEPS, "all"):
        print(f"| {name} | {found[few][name]:.1f} | {found[many][name]:.1f} | {ratio[name]:.2f} |")
    print(f"| memory, MiB | {peak[few]} | {peak[many]} | |")
    print(f"| index.parquet, MiB | {index[few]:.1f} | {index[many]:.1f} | |")
    seconds = {name: took[name][0] for name in STEPS[:3]}
    print(f"{many:,} records, seconds: {', '.join(f'{k} {v:.1f}' for k, v in seconds.items())}")
    if args.json:
        result = {"cost": found, "ratio": ratio, "memory_mib": peak, "seconds": seconds}
        Path(args.json).write_text(json.dumps(result, indent=2))
    if args.check and ratio["all"] > GROWTH:
        print(f"missed: {ratio['all']:.2f}, at most {GROWTH}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
