"""`dermssl COMMAND ...`, the same as `python -m dermssl.COMMAND ...`."""

import importlib
import sys

COMMANDS = {
    "quickstart": "the whole road: data, pretraining, fine-tuning, comparison, report",
    "pretrain": "pretrain a backbone with SimCLR on photos without labels",
    "finetune": "fine-tune a classifier from a backbone",
    "grid": "transfer-learning grid: models x unfrozen layers x augmentations",
    "evaluate": "metrics with intervals and figures of one run",
    "model_comparison": "compare runs and report",
    "explain": "heat maps: where a run looks",
    "embeddings": "a run's embeddings in a plane and in TensorBoard's projector",
    "stress_test": "score a run under artefacts and without the lesion",
    "label_efficiency": "how many labels until pretraining stops paying: arms x labels x seeds",
    "predict": "probabilities for new photos",
    "check_data": "duplicates, leaks and contradictions of a data set",
    "leakage": "how much a leaky split inflates the score",
}


def main(argv=None):
    """Run a command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        return importlib.import_module(f"dermssl.{argv[0]}").main(argv[1:])
    listed = "\n".join(f"  {name:18}{what}" for name, what in COMMANDS.items())
    usage = f"usage: dermssl COMMAND ...\n\n{listed}\n\ndermssl COMMAND --help shows its options."
    if argv and argv[0] in ("-h", "--help"):
        print(usage)
        return 0
    found = f"unknown command '{argv[0]}'" if argv else "no command given"
    print(f"dermssl: error: {found}; choose one of: {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
