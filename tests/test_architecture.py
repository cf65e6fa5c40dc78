"""The house rules, read from the source: who imports whom, module sizes, docstrings."""

import ast
import configparser
import re
import sys
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import tiny

import dermssl

ROOT = Path(dermssl.__file__).parent
HEAVY = ("tensorflow", "keras", "keras_cv")
MAX_LINES = 400
DOORS = (
    "adapt", "app", "check_data", "doctor", "embeddings", "evaluate", "explain", "export",
    "finetune", "forms", "grid", "label_efficiency", "leakage", "model_comparison", "predict",
    "pretrain", "quickstart", "report", "sample_size", "shards", "stress_test", "tensorboard",
)  # fmt: skip
# These make runs of other commands on their way.
DOORS_OF_DOORS = ("quickstart", "label_efficiency", "adapt")

# Folder -> the folders that it may import, besides itself and core.
MAY_IMPORT = {
    "core": set(),
    "losses": set(),
    "models": {"losses"},
    "data": set(),
    "evaluation": {"data"},
    "reporting": {"data", "evaluation"},
    "inference": {"data", "models", "evaluation"},
    # The health panel measures a model while it trains.
    "training": {"data", "losses", "models", "inference", "evaluation"},
    "studies": {"data", "losses", "models", "inference", "evaluation", "reporting", "training"},
}
# Modules that a table, a test or a --help may need without waiting for TensorFlow.
LIGHT = ("core.*", "data.records", "data.splits", "data.readers", "evaluation.*", "reporting.*")


def modules():
    """dict of dotted name without "dermssl." -> path, without the `__init__.py` of folders."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in sorted(ROOT.rglob("*.py"))
        if path.name != "__init__.py"
    }


MODULES = modules()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def imports(name, inside=True):
    """Absolute names that a module imports; `inside`: also within functions."""
    tree, found = TREES[name], set()
    nodes = ast.walk(tree) if inside else _at_module_level(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                known = full.removeprefix("dermssl.") in MODULES
                found.add(full if known else node.module)
    return found


def _at_module_level(node):
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _at_module_level(child)


def own(name, inside=True):
    """Names of dermssl's modules that a module imports, without "dermssl."."""
    return {
        found.removeprefix("dermssl.")
        for found in imports(name, inside)
        if found.startswith("dermssl.")
    }


def folder(name):
    return name.split(".")[0]


def test_every_module_has_its_place():
    assert {folder(name) for name in MODULES} == {*MAY_IMPORT, *DOORS, "__main__"}


def test_a_folder_imports_only_what_lies_below_it():
    wrong = {}
    for name in MODULES:
        if folder(name) in MAY_IMPORT:
            allowed = MAY_IMPORT[folder(name)] | {"core", folder(name)}
            if found := {other for other in own(name) if folder(other) not in allowed}:
                wrong[name] = found
    assert not wrong


def test_a_study_imports_no_other_study():
    wrong = {}
    for name in MODULES:
        if folder(name) == "studies":
            allowed = {name.split(".")[1], "experiment"}
            others = {other for other in own(name) if folder(other) == "studies"}
            if found := {other for other in others if other.split(".")[1] not in allowed}:
                wrong[name] = found
    assert not wrong


def test_nothing_imports_a_door():
    wrong = {name: own(name) & set(DOORS) for name in MODULES if name not in DOORS_OF_DOORS}
    wrong.pop("__main__")
    assert not {name: found for name, found in wrong.items() if found}


def reached(name, inside=False):
    """Every module, own or foreign, that importing `name` imports in turn."""
    seen, waiting = set(), [name]
    while waiting:
        for found in imports(waiting.pop(), inside):
            local = found.removeprefix("dermssl.")
            if found not in seen:
                seen.add(found)
                if local in MODULES and found != local:
                    waiting.append(local)
    return seen


def light():
    """The modules that `LIGHT` stands for, and the doors, whose --help must be quick."""
    found = list(DOORS)
    for entry in LIGHT:
        matches = [name for name in MODULES if fnmatch(name, entry)]
        assert matches, entry
        found += matches
    return found


def test_light_modules_import_no_tensorflow():
    names = [f"dermssl.{name}" for name in light()]
    wrong = {
        name: [found for found in reached(name) if found.split(".")[0] in HEAVY] for name in light()
    }
    assert not {name: found for name, found in wrong.items() if found}
    code = f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\n"
    code += f"print([name for name in {HEAVY} if name in sys.modules])"
    process = tiny.python("-c", code)
    assert process.stdout.strip() == "[]", process.stderr


def test_what_is_imported_is_asked_for_at_installation_and_nothing_else():
    setup = configparser.ConfigParser()
    setup.read(ROOT.parent / "setup.cfg")

    def names(text):
        return {re.split(r"[ <>=!~]", line)[0].lower() for line in text.split("\n") if line}

    asked, extras = names(setup["options"]["install_requires"]), setup["options.extras_require"]
    named = (
        "umap", "keras-cv", "heic", "dicom", "excel", "parquet", "onnx", "ray", "app", "mlflow",
    )  # fmt: skip
    optional = set().union(*(names(extras[name]) for name in named))
    sources = metadata.packages_distributions()
    # Maybe absent; protobuf is TensorBoard's.
    sources |= {"umap": ["umap-learn"], "keras_cv": ["keras-cv"], "google": ["tensorboard"]}
    sources |= {"pillow_heif": ["pillow-heif"], "pydicom": ["pydicom"], "openpyxl": ["openpyxl"]}
    sources |= {"mlflow": ["mlflow-skinny"]}
    sources |= {
        name: [name]
        for name in ("tf2onnx", "onnx", "onnxruntime", "ray", "fastapi", "starlette", "uvicorn")
    }
    imported = {name.split(".")[0] for module in MODULES for name in imports(module)}
    imported -= {*sys.stdlib_module_names, "dermssl"}
    of = {name: {s.lower().replace("_", "-") for s in sources[name]} for name in imported}
    assert not {name for name in imported if not (asked | optional) & of[name]}
    unused = asked - set().union(*of.values())
    assert unused <= {"seaborn"}


def test_modules_are_short():
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert not {name: n for name, n in lengths.items() if n > MAX_LINES}


def test_what_is_public_has_a_docstring():
    wrong = [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    for name, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                wrong += [] if ast.get_docstring(node) else [f"{name}.{node.name}"]
    assert not wrong


def test_no_module_only_passes_on_another():
    for name, tree in TREES.items():
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert "__all__" not in names, name


def test_no_work_at_import():
    # A call at module level is a registry's or a constant's; a loop or a `with` is work.
    work = ast.For | ast.While | ast.With
    wrong = [f"{k}:{node.lineno}" for k, t in TREES.items() for node in t.body
             if isinstance(node, work)]  # fmt: skip
    assert not wrong


def test_no_flag_below_the_doors():
    """A library names settings; `core.cli.with_flags` makes flags of them."""
    wrong = []
    for name, tree in TREES.items():
        if name in DOORS or name.startswith("core."):  # which make flags and their help
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", node.value))
                # TensorBoard's, every command's, and Docker's.
                if flags - {"--host", "--logdir", "--help", "--gpus"}:
                    wrong.append(f"{name}:{node.lineno} {flags}")
    assert not wrong


def test_doors_have_the_same_functions():
    for name in DOORS:
        functions = {node.name for node in TREES[name].body if isinstance(node, ast.FunctionDef)}
        assert {"run", "main", "tell"} <= functions, name


def test_only_atomic_files_and_the_drawn_data_set_write_files():
    # Everything else goes through `atomic_files.atomic_write`, which leaves no half of a file.
    wrong = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in ("write_text", "write_bytes"):
                by_it = isinstance(node.value, ast.Name) and node.value.id == "atomic_files"
                wrong += [] if by_it else [f"{name}:{node.lineno}"]
    allowed = ("core.atomic_files:", "data.synthetic.dataset:")
    assert not [place for place in wrong if not place.startswith(allowed)]
