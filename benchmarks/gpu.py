"""SimCLR on a GPU: photos a second by network, batch and precision, beside lightly on PyTorch.

    python benchmarks/gpu.py --json gpu.json        # EfficientNetB1 and ResNet50, 224 px: 8 minutes
    python benchmarks/gpu.py --torch-python PATH    # with lightly, of another environment
    python benchmarks/gpu.py --quick                # tiny, on the CPU: that it works, no figures

Prints a Markdown table for docs/results.md. A photo is two views. "Step" trains on views that lie
in memory, the ceiling; "end to end" makes them from photos on the host, and shows its share of
that. First step is from building the network to the end of its first step. Peak memory is the
GPU's, as TensorFlow or PyTorch counts what it has given out. A batch that the memory is too small
for is a row. What doesn't fit into the time (`--minutes`) is left out and named.
"""

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import bench

from dermssl.core import cli

ROOT = Path(__file__).parents[1]
NETWORKS = ("efficientnetb1", "resnet50")
BATCHES = (64, 128, 256)
START = 30.0  # seconds that a process may take to start and to end, beside its cases


def parser():
    """The command line."""
    made = bench.parser(__doc__, "a small network at 32 px, on whatever there is")
    made.add_argument("--networks", nargs="+", default=list(NETWORKS))
    made.add_argument("--batch-sizes", nargs="+", type=int, default=list(BATCHES))
    made.add_argument("--image-size", type=int, default=224)
    made.add_argument("--minutes", type=float, default=7.5)
    bench.add_torch_python(made)
    return made


def plan(args):
    """list of (side, network, cases, share of the time), the most important cases first."""
    from dermssl.models import precision

    batches, first = args.batch_sizes, args.batch_sizes[:1]
    best = precision.choose("auto")
    other = "float32" if best != "float32" else "mixed_bfloat16"

    def case(batches, precision=best, jit=False, remat=False, source="synthetic"):
        return {"network": network, "size": args.image_size, "batches": batches,
                "precision": precision, "jit": jit, "remat": remat, "input": source}  # fmt: skip

    tasks = []
    for network in args.networks:
        cases = [case(batches), case(first, source="photos"), case(first, other)]
        cases += [case(batches[-1:], remat=True)]
        cases += [] if args.quick else [case(first, jit=True)]  # on a CPU XLA takes half a minute
        tasks.append(("ours", network, cases, 3))
    for network in args.networks:
        if args.torch_python or importlib.util.find_spec("lightly"):
            tasks.append(("lightly", network, [case(batches), case(first, other)], 1))
    return tasks


def run(side, cases, seconds, python):
    """The rows of some cases, one for each batch: what processes answer till the time is over."""
    rows, end = [], time.monotonic() + seconds
    todo = [(number, batch) for number, case in enumerate(cases) for batch in case["batches"]]
    while todo:
        left = sorted({number for number, _ in todo})
        task = {"side": side, "seconds": end - time.monotonic(), "cases": [cases[k] for k in left]}
        answers, error = ([], "") if task["seconds"] <= 0 else _process(task, python)
        rows, todo = rows + answers, todo[len(answers) :]
        if task["seconds"] <= 0:
            rows += [{**cases[k], "batch": batch, "left_out": True} for k, batch in todo]
            break
        if todo:  # it died there; the next process goes on with the next case
            died = todo[0][0]
            rows += [{**cases[k], "batch": b, "failed": error} for k, b in todo if k == died]
            todo = [(k, batch) for k, batch in todo if k != died]
    return [{**row, "side": side} for row in rows]


def _process(task, python):
    """(Answers of a process, why it ended)."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [python, str(Path(__file__).with_name("gpu_sides.py")), json.dumps(task)]
    process = subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    alarm = threading.Timer(task["seconds"] + START, process.kill)
    alarm.start()
    try:
        out, errors = process.communicate()
    finally:
        in_time = alarm.is_alive()
        alarm.cancel()
    answers = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    said = errors.lower()
    if "out of memory" in said or "resource_exhausted" in said:
        return answers, "out of memory"
    last = (errors.strip().splitlines() or [""])[-1]
    return answers, f"exit code {process.returncode}: {last}" if in_time else "not done in time"


def table(rows):
    """The lines of a Markdown table."""
    ceilings = {
        (row["side"], row["network"], row["batch"], row["precision"]): row["photos_per_second"]
        for row in reversed(rows)
        if row["input"] == "synthetic" and "photos_per_second" in row and not row["remat"]
        and not row["jit"]
    }  # fmt: skip
    lines = [
        "| network | side | precision | batch | photos/s | of step | first step, s | peak, MiB |",
        "| :-- | :-- | :-- | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        if row.get("left_out"):
            continue
        side = "lightly" if row["side"] == "lightly" else "step"
        side = "end to end" if row["input"] == "photos" else side
        side += ", remat" * row["remat"] + ", XLA" * row["jit"]
        start = f"| {row['network']} | {side} | {row['precision']} | {row['batch']} |"
        if "failed" in row:
            lines.append(f"{start} {row['failed']} | | | |")
            continue
        ceiling = ceilings.get((row["side"], row["network"], row["batch"], row["precision"]))
        share = f"{row['photos_per_second'] / ceiling:.2f}" if ceiling else ""
        first = row["first_step_seconds"]
        lines.append(
            f"{start} {row['photos_per_second']:.1f} | {share} | "
            f"{'' if first is None else format(first, '.1f')} | {row['peak_mib']:.0f} |"
        )
    return lines


def device(quick):
    """What is measured, in words; None where there is no GPU and one is needed."""
    cli.quiet_tensorflow()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return f"CPU, {os.cpu_count()} cores: no figures of a GPU" if quick else None
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"{details.get('device_name', 'GPU')}, {os.cpu_count()} CPU cores"


def main(argv=None):
    """Run it; returns the exit code."""
    args = parser().parse_args(argv)
    began = time.monotonic()
    if args.quick:
        args.networks, args.batch_sizes, args.image_size = ["cnn"], [4, 8], 32
    where = device(args.quick)
    if where is None:
        print("TensorFlow sees no GPU here; --quick tries the benchmark out on the CPU")
        return 2
    print(f"{where}; SimCLR, {args.image_size} px, two views a photo", flush=True)
    tasks, rows = plan(args), []
    for number, (side, network, cases, share) in enumerate(tasks):
        python = args.torch_python or sys.executable if side == "lightly" else sys.executable
        left = 60 * args.minutes - (time.monotonic() - began) - START
        seconds = max(0.0, left * share / sum(task[3] for task in tasks[number:]))
        rows += run(side, cases, seconds, python)
        print(f"{side}, {network}: {time.monotonic() - began:.0f} s", flush=True)
    seconds = time.monotonic() - began
    print("\n" + "\n".join(table(rows)))
    return report(args, rows, where, seconds)


def report(args, rows, where, seconds):
    """Say what is missing, keep the numbers; returns the exit code."""
    for row in rows:
        if row.get("left_out"):
            what = ", remat" * row["remat"] + ", XLA" * row["jit"]
            what += ", end to end" * (row["input"] == "photos")
            print(f"left out for lack of time: {row['side']}, {row['network']}, batch "
                  f"{row['batch']}, {row['precision']}{what}")  # fmt: skip
    if not any(row["side"] == "lightly" for row in rows):
        print("without lightly: not installed here; --torch-python names a Python that has it")
    if args.json:
        kept = {"settings": vars(args), "device": where, "seconds": seconds, "rows": rows}
        Path(args.json).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    odd = [row for row in rows if row.get("failed", "out of memory") != "out of memory"]
    odd += [row for row in rows if not row.get("finite", True)]
    ours = [row for row in rows if row["side"] == "ours" and "photos_per_second" in row]
    print(f"\n{len(ours)} rows of ours in {seconds:.0f} s, {len(odd)} with an error")
    return 1 if args.check and (odd or not ours or seconds > 480) else 0


if __name__ == "__main__":
    sys.exit(main())
