"""Every command on tiny photos and fake runs, and the text that each leaves.

    python tests/golden/road.py FOLDER [--reports]

Two checkouts that compute and say the same leave equal folders: `diff -r` shows what differs.
Paths, seconds and versions are taken out, since they differ between two runs of one checkout.
"""

import argparse
import csv
import importlib
import io
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

MLP = ("--backbone", "mlp", "--image-size", "32", "--batch-size", "16")
CNN = ("--backbone", "cnn", "--image-size", "32", "--batch-size", "16")
TUNED = ("--frozen-epochs", "1", "--unfrozen-epochs", "2")
KEPT = (".md", ".csv", ".json", ".txt")
LEFT_OUT = ("status.json", "seconds", "photos_per_second", "wall_seconds")


def call(command, *argv):
    """Run a command in this process; a failure is an error."""
    module = importlib.import_module(f"dermssl.{command}")
    code = module.main([str(word) for word in argv])
    assert not code, f"{command} {argv}: exit code {code}"


def fake_reports(folder):
    """The reports on simulated runs: no training, the same on every machine."""
    import fake_runs

    table = fake_runs.records(n=240)
    fake_runs.experiment(folder / "runs", {"random": 0.5, "ssl": 1.5}, seeds=(0, 1), table=table)
    call("model_comparison", folder / "runs", "--output", folder / "comparison",
         "--n-resamples", 200)  # fmt: skip
    call("evaluate", folder / "runs" / "ssl_70_0", "--output", folder / "evaluation",
         "--n-resamples", 200)  # fmt: skip


def trained_runs(folder):
    """A pretraining, fine-tuning with both heads and MixUp, a grid on a shared trunk."""
    from dermssl.data.synthetic import dataset

    photos = dataset.write(folder / "photos", n=160, size=32, seed=2)
    data = ("--data", photos)
    ssl = folder / "pretrained"
    call("pretrain", *data, *CNN, "--epochs", 2, "--projection", 32, 16, "--output", ssl)
    start = ("--weights", ssl)
    call("finetune", *data, *CNN, *TUNED, *start, "--output", folder / "tuned")
    call("finetune", *data, *CNN, *TUNED, *start, "--head", "independent", "--class-balance",
         "sample_weights", "--output", folder / "tuned_independent")  # fmt: skip
    call("finetune", *data, *MLP, *TUNED, "--augmentation", "skin_mixup", "--output",
         folder / "tuned_mixup")  # fmt: skip
    call("grid", *data, "--models", "cnn", "mlp", "--depths", 1, 4, "--augmentations", "none",
         "flip_hv", "--image-size", 32, "--epochs", 2, "--batch-size", 16, "--seeds", 0, 1,
         "--n-resamples", 100, "--weights", f"cnn={ssl}", "mlp=none",
         "--output", folder / "grid")  # fmt: skip


def derived(folder):
    """What the other commands make of `trained_runs`."""
    run, photos = folder / "tuned", folder / "photos"
    data = ("--data", photos)
    call("check_data", *data, "--output", folder / "check_data")
    call("evaluate", run, "--n-resamples", 100)
    call("predict", run, photos / "images", "--output", folder / "predicted.csv")
    call("explain", run)
    call("embeddings", run, "--n-resamples", 100)
    call("stress_test", run, "--n-resamples", 100)
    call("leakage", *data, *MLP[:4], "--n-resamples", 100, "--output", folder / "leakage")
    call("label_efficiency", *data, *MLP[:4], "--config", _config(folder), "--labels", 1, "100%",
         "--seeds", 0, "--n-resamples", 100, "--output", folder / "label_efficiency")  # fmt: skip


def _config(folder):
    file = folder / "road.toml"
    file.write_text(
        "[pretrain]\nepochs = 1\nbatch_size = 16\nprojection = [16, 8]\nprobe_every = 0\n"
        "[finetune]\nfrozen_epochs = 1\nunfrozen_epochs = 1\nbatch_size = 16\n"
        'steps_per_epoch = 2\npredict = "held_out"\n'
    )
    return file


def collect(folder, out):
    """Copy what the commands wrote, without what differs between two runs of the same."""
    for path in sorted(folder.rglob("*")):
        if path.suffix not in KEPT or path.name in LEFT_OUT or "tensorboard" in path.parts:
            continue
        target = out / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            text = without_seconds(text)
        target.write_text(without_accidents(text, folder), encoding="utf-8")


def without_seconds(text):
    """A CSV file without its columns of wall times."""
    rows = list(csv.reader(io.StringIO(text)))
    kept = [k for k, name in enumerate(rows[0]) if "seconds" not in name and name != "input_share"]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[row[k] for k in kept] for row in rows])
    return out.getvalue()


def without_accidents(text, folder):
    """`text` without paths, times and versions."""
    text = text.replace(str(folder), "FOLDER").replace(str(ROOT), "ROOT")
    text = re.sub(r'"(\w*seconds\w*|photos_per_second|input_share)": [^,\n}]+', r'"\1": 0', text)
    text = re.sub(r"\b\d+(\.\d+)? (s|min|h|ms)\b", r"0 \2", text)
    text = re.sub(r'"seconds": \{.*?\n  \}', '"seconds": {}', text, flags=re.DOTALL)
    text = re.sub(r'"versions": \{[^}]*\}', '"versions": {}', text)
    text = re.sub(r"\b[0-9a-f]{12}\b", "HASH", text)  # some hold a path
    return re.sub(r"(python|dermssl|tensorflow|keras|numpy|pandas|scikit-learn|pillow) "
                  r"\d+(\.\w+)+", r"\1", text)  # fmt: skip


def numbers(folder):
    """What `trained_runs` computed, as a dict of short lists: histories, predictions, scores."""
    import pandas as pd

    found = {}
    for path in sorted(folder.glob("*/history.csv")):
        table = pd.read_csv(path).select_dtypes("number")
        table = table.drop(columns=["epoch", "seconds", "input_share"], errors="ignore")
        found[f"{path.parent.name} history"] = table.to_numpy().ravel().tolist()
    for path in sorted(folder.glob("*/predictions.csv")):
        table = pd.read_csv(path).filter(regex="^p_")
        found[f"{path.parent.name} predictions"] = table.iloc[::16].to_numpy().ravel().tolist()
    table = pd.read_csv(folder / "grid" / "results.csv").sort_values("cell")
    for name in ("fine_accuracy", "log_loss", "log_loss_low", "log_loss_high"):
        found[f"grid {name}"] = table[name].tolist()
    return found


def main():
    """Make everything in FOLDER/work and the texts in FOLDER/texts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reports", action="store_true", help="only what needs no training")
    args = parser.parse_args()
    work = args.folder.resolve() / "work"
    work.mkdir(parents=True)
    fake_reports(work / "fake")
    if not args.reports:
        trained_runs(work)
        derived(work)
    collect(work, args.folder.resolve() / "texts")


if __name__ == "__main__":
    main()
