"""Photos that are packed into one file: archives and arrays, and what to do with them."""

from __future__ import annotations

from pathlib import Path

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
DEPTH = 1  # folders below the root in which packed files are looked for
# What else may hold photos -> how they become files.
HDF5 = "write each of its photos to a file, NAME.jpg (h5py)"
NPZ = "write each of its photos to CLASS/NUMBER.png (numpy.load, PIL.Image.fromarray)"
ARRAYS = {".hdf5": HDF5, ".h5": HDF5, ".npz": NPZ}


def way_out(root: Path) -> str:
    """What is packed in a folder and how to unpack it; "" where nothing is.

    Args:
        root: the data folder.
    """
    files = sorted(
        file for depth in range(DEPTH + 1) for file in root.glob("*/" * depth + "*")
        if file.is_file() and not file.name.startswith((".", "._"))
    )  # fmt: skip
    named = {ending: [file for file in files if file.name.lower().endswith(ending)]
             for ending in (*ARCHIVES, *ARRAYS)}  # fmt: skip
    zipped = dict.fromkeys(file for ending in ARCHIVES for file in named[ending])
    if zipped:
        return f"{', '.join(str(file.relative_to(root)) for file in zipped)} is packed; unpack it"
    for ending, how in ARRAYS.items():
        if named[ending]:
            names = ", ".join(str(file.relative_to(root)) for file in named[ending])
            return f"{names} is packed; {how}"
    return ""
