"""What a weights file holds, read before Keras sees it: names of layers, and sizes within bounds.

Weights are only ever loaded into networks built in code: a model's description in the file is
never read, so a Lambda in it never runs.
"""

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import h5py

from dermssl.core.errors import UserError

SUFFIXES = (".weights.h5", ".h5", ".hdf5", ".keras")
MAX_BYTES = 2**31  # of all arrays; EfficientNetB1 with its optimizer takes 0.1 GB

# What h5py, zipfile and Keras raise on damaged bytes, from fuzzing (tests/soak).
ERRORS = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RuntimeError, MemoryError, AssertionError, zipfile.BadZipFile, zlib.error),
)

# Backbone -> (a layer that it has, one that only its larger or other relatives have).
MARKS = {
    "mobilenet": ("conv_pw_13", ""),
    "mobilenetv2": ("block_16_project", ""),
    "resnet50": ("conv5_block3_3_conv", "conv4_block7_3_conv"),
    "densenet121": ("conv5_block16_2_conv", "conv5_block17_2_conv"),
    "efficientnetb0": ("block7a_project_conv", "block7b_project_conv"),
    "efficientnetb1": ("block7b_project_conv", "block5e_project_conv"),
    "efficientnetv2b0": ("block6h_project_conv", "block6i_project_conv"),
    "cnn": ("stage4b_conv", ""),
    "mlp": ("dense2", "stage4b_conv"),
}
INCEPTION_CONVOLUTIONS = 94  # its layers have no names of their own


def check(path: Path | str, option: str) -> list[str]:
    """Refuse a file that points to other files or claims absurd sizes.

    Args:
        path: of a `.h5`, `.hdf5`, `.weights.h5` or `.keras` file.
        option: what named it, for the message.

    Returns:
        Names of its layers with weights, in the file's order; none where the file can't be read
        at all, which Keras's own error tells better.

    Raises:
        UserError: the file is of another kind, or refused.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise UserError(f"{option}: not a weights file; give one of {', '.join(SUFFIXES)}")
    try:
        with open(path, "rb") as file:
            if path.suffix == ".keras":
                return _of_archive(file, option)
            return _of_h5(file, option)
    except ERRORS:
        return []


def looks_like(names: Sequence[str]) -> str:
    """The backbone whose layers these are, or "" where none is known."""
    layers = set(names)
    convolutions = [name for name in layers if name.split("_")[0] == "conv2d"]
    if len(convolutions) == INCEPTION_CONVOLUTIONS:
        return "inceptionv3"
    for backbone, (own, other) in MARKS.items():
        if own in layers and other not in layers:
            return backbone
    return ""


def described(names: Sequence[str]) -> str:
    """What a file holds, for a message: its backbone, or some of its layers."""
    if not names:
        return "no layer with weights"
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{looks_like(names) or 'no backbone known here'} ({len(names)} layers: {some})"


def _of_archive(file, option):
    with zipfile.ZipFile(file) as archive:
        if archive.getinfo("model.weights.h5").file_size > MAX_BYTES:
            raise _refused(option, f"its weights are over {MAX_BYTES >> 30} GiB")
        return _of_h5(io.BytesIO(archive.read("model.weights.h5")), option)


def _of_h5(file, option):
    with h5py.File(file, "r") as store:
        names, total, met = {}, 0, set()
        waiting = [store]
        while waiting:
            group = waiting.pop(0)
            for key in group:
                link = group.get(key, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    raise _refused(option, f"'{key}' in it is a link to elsewhere")
                item = group[key]
                place = h5py.h5o.get_info(item.id).addr
                if place in met:  # a group within itself has no end
                    raise _refused(option, f"'{key}' in it stands in two places")
                met.add(place)
                if isinstance(item, h5py.Group):
                    waiting.append(item)
                    continue
                if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
                    raise _refused(option, f"'{key}' in it is kept in another file")
                total += item.nbytes
                names.setdefault(_layer_of(item.parent, key), None)
        if total > MAX_BYTES:
            raise _refused(option, f"it claims {total:,} bytes of weights")
        weights = store.get("model_weights", store)
        legacy = [_text(name) for name in weights.attrs.get("layer_names", [])]
        return [name for name in legacy if len(weights[name])] or list(names)


def _layer_of(group, key):
    """Keras 3 writes the layer's name beside its variables, older files as a folder."""
    return _text(group.attrs.get("name", group.name.split("/")[-1] or key))


def _text(name):
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _refused(option, found):
    return UserError(
        f"{option}: refused, {found}; ask for a file of plain weights (model.save_weights)"
    )
