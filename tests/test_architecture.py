"""The house rules, read from the source: who imports whom, module sizes, docstrings."""

import ast
import configparser
import re
import sys
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
import tiny

import dermssl

ROOT = Path(dermssl.__file__).parent
HEAVY = ("tensorflow", "keras", "keras_cv")
COMMANDS = (
    "check_data", "embeddings", "evaluate", "explain", "export", "finetune", "grid",
    "label_efficiency", "leakage", "model_comparison", "predict", "pretrain", "quickstart",
    "stress_test",
)  # fmt: skip
MAX_LINES = 400

# Layer -> the layers of dermssl that it may import, besides itself and the foundations.
FOUNDATIONS = {"errors", "settings", "config", "taxonomy", "runs", "stopping", "writing"}
MAY_IMPORT = {
    "losses": set(),
    "data": set(),
    "models": {"losses"},
    "evaluation": {"data"},
    # The health panel measures a model while it trains; evaluation knows nothing of training.
    "training": {"data", "losses", "models", "evaluation"},
    "reporting": {"data", "evaluation"},
}
FOUNDATIONS_MAY_IMPORT = {
    "errors": set(),
    "settings": set(),
    "config": {"errors", "settings"},
    "taxonomy": {"errors"},
    "stopping": set(),
    "writing": {"errors"},
    "runs": {"errors", "config", "stopping", "writing"},
    "cli": {"errors", "stopping"},
}
# Modules that a table, a test or a --help may need without waiting for TensorFlow.
LIGHT = (
    "config", "taxonomy", "runs", "cli", "errors", "data.index", "data.splits", "data.readers",
    "evaluation.*", "reporting.results",
)  # fmt: skip


def modules():
    """dict of dotted name without "dermssl." -> path; the empty __init__.py are left out."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        if path.name == "__init__.py":
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 1, f"{path} does work"
        else:
            found[".".join(path.relative_to(ROOT).with_suffix("").parts)] = path
    return found


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


def layer(name):
    return name.split(".")[0]


def test_the_rules_cover_every_module():
    known = {*MAY_IMPORT, *FOUNDATIONS_MAY_IMPORT, *COMMANDS, "__main__"}
    assert {layer(name) for name in MODULES} <= known


@pytest.mark.parametrize("name", [name for name in MODULES if layer(name) in MAY_IMPORT])
def test_a_layer_imports_only_what_lies_below_it(name):
    allowed = MAY_IMPORT[layer(name)] | FOUNDATIONS | {layer(name)}
    assert {layer(found) for found in own(name)} <= allowed


@pytest.mark.parametrize("name", FOUNDATIONS_MAY_IMPORT)
def test_the_foundations_stand_alone(name):
    assert own(name) <= FOUNDATIONS_MAY_IMPORT[name]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name in MODULES])
def test_commands_do_not_import_one_another(name):
    found = own(name) & set(COMMANDS)
    # These two make whole experiments out of the others' runs.
    assert not found or name in ("quickstart", "label_efficiency")


def test_data_and_models_do_not_know_each_other():
    for name in MODULES:
        found = {layer(other) for other in own(name)}
        if layer(name) == "data":
            assert not found & {"models", "training", "losses"}
        if layer(name) == "models":
            assert not found & {"data", "training"}


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
    """The modules that `LIGHT` stands for, and the commands, whose --help must be quick."""
    found = [name for name in COMMANDS if name in MODULES]
    for entry in LIGHT:
        matches = [name for name in MODULES if fnmatch(name, entry)]
        assert matches, entry
        found += matches
    return found


@pytest.mark.parametrize("name", light())
def test_light_modules_import_no_tensorflow(name):
    heavy = {found for found in reached(name) if found.split(".")[0] in HEAVY}
    assert not heavy


def test_light_modules_import_no_tensorflow_in_earnest():
    names = [f"dermssl.{name}" for name in light()]
    code = f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\n"
    code += f"print([name for name in {HEAVY} if name in sys.modules])"
    process = tiny.python("-c", code)
    assert process.stdout.strip() == "[]", process.stderr


def test_what_is_imported_is_asked_for_at_installation():
    setup = configparser.ConfigParser()
    setup.read(ROOT.parent / "setup.cfg")
    asked = setup["options"]["install_requires"] + setup["options.extras_require"]["umap"]
    asked = {re.split(r"[ <>=!~]", line)[0].lower() for line in asked.split("\n") if line}
    found = {name.split(".")[0] for module in MODULES for name in imports(module)}
    found -= {*sys.stdlib_module_names, "dermssl"}
    sources = metadata.packages_distributions()
    sources |= {"umap": ["umap-learn"], "google": ["tensorboard"]}  # maybe absent; protobuf is its
    missing = {
        name
        for name in found
        if not asked & {source.lower().replace("_", "-") for source in sources[name]}
    }
    assert not missing


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short(name):
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_has_a_docstring(name):
    tree = TREES[name]
    assert ast.get_docstring(tree), f"{name} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{name}.{node.name} has no docstring"


@pytest.mark.parametrize("name", MODULES)
def test_no_work_at_import(name):
    # A call at module level is a registry's or a constant's; a loop or a `with` is work.
    for node in TREES[name].body:
        assert not isinstance(node, ast.For | ast.While | ast.With), f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name in MODULES])
def test_commands_have_the_same_doors(name):
    functions = {node.name for node in TREES[name].body if isinstance(node, ast.FunctionDef)}
    assert {"run", "main", "parser"} <= functions


def test_only_writing_and_the_data_set_write_files():
    # Everything else goes through `writing.replacing`, which leaves no half of a file.
    for name in MODULES:
        if name in ("writing", "data.synthetic"):
            continue
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("write_text", "write_bytes") or (
                    isinstance(node.value, ast.Name) and node.value.id == "writing"
                ), f"{name}:{node.lineno}"
