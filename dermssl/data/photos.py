"""Decoded photos by number, kept in memory or on disk up to a budget."""

import dataclasses
import functools
import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Sequence

import cv2
import numpy as np

from dermssl.core import atomic_files
from dermssl.core.errors import RunFailed, UserError
from dermssl.core.settings import Data
from dermssl.data import masks, photo_bytes, preprocess
from dermssl.data.decode import MAX_BYTES, decode, pixels, read_header
from dermssl.data.records import Dataset

log = logging.getLogger(__name__)

# Photos are kept at this multiple of the input side: a crop of a quarter of the area
# still has a pixel for each pixel of the view.
OVERSAMPLING = 2
# A photo that is larger by less stays as it is: resizing 450 px to 448 takes three times as long as
# decoding, to save 1% of the memory.
NEAR = 1.1
MIB = 2**20  # bytes
ABANDONED = 3600  # seconds; what is written takes milliseconds, and its writer was killed
HALF = re.compile(r"\.tmp\d+\..+\.npy")  # of `runs.replacing`; other files there are not ours
CACHE_FORMAT = 1  # raise it when the pixels of a photo change: older files are then passed over


@dataclasses.dataclass(frozen=True, eq=False)
class Pages:
    """Which page of its shards each photo lies in.

    Attributes:
        numbers: int64 array (n,), from 0.
        count: of pages.
    """

    numbers: np.ndarray
    count: int


class Photos:
    """Photos by number, uint8 RGB, kept up to a budget and read again beyond it.

    Args:
        files: list of str, paths as of `photo_bytes`.
        image_size: int, side of the network's input; photos are shrunk until their
            shorter side is `OVERSAMPLING` times that, or up to `NEAR` times more (never enlarged).
        cache_mb: int, memory to use, MiB.
        steps: list of str, keys of `preprocess.STEPS`, done to every photo.
        mask_files: list of str, the mask of each photo, "" for none; or None.
        cache_dir: str, folder for decoded photos that outlive the process; "" for none.
        cache_disk_mb: int, what the folder may hold, MiB.
        strict: bool, refuse damaged photos as `decode.verify` does, for files that nobody has
            verified; the fast decoder of plain JPEG files overlooks some damage.

    `photos[i]` is uint8 (h, w, 3) RGB, the same array wherever it came from. A file on disk
    is named by a hash of the photo's own bytes, so that a changed photo is read anew. It is
    written whole or not at all, and never thrown out: delete the folder to start again.
    """

    def __init__(
        self, files: Sequence[str], image_size: int, cache_mb: int = 2048,
        steps: Sequence[str] = (), mask_files: Sequence[str] | None = None,
        cache_dir: str = "", cache_disk_mb: int = 0, strict: bool = False,
    ) -> None:  # fmt: skip
        self._strict = strict
        self.files = list(files)
        self.side = OVERSAMPLING * image_size
        self.steps = preprocess.checked(steps)
        self.mask_files = list(mask_files) if mask_files is not None else [""] * len(self.files)
        self._room = cache_mb * MIB
        self._cache: dict[int, np.ndarray] = {}
        self._boxes: dict[int, masks.Box | None] = {}
        self._focus: dict[int, masks.Box | None] = {}
        self._disk = _disk(cache_dir, cache_disk_mb * MIB) if cache_dir else None

    @functools.cached_property
    def pages(self) -> Pages | None:
        """Where the photos lie, if they should be read page by page; see `pipeline.epoch_order`."""
        numbers = photo_bytes.pages(self.files)
        if numbers is None:
            return None
        known, numbers = np.unique(numbers, return_inverse=True)
        return Pages(numbers, len(known))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> np.ndarray:
        photo = self._cache.get(number)
        if photo is None:
            photo = self._read(number)
            # Two threads may both store a photo; they store equal pixels.
            if photo.nbytes <= self._room:
                self._room -= photo.nbytes
                self._cache[number] = photo
        return photo

    def focus(self, number: int) -> masks.Box | None:
        """Where the lesion lies in `photos[number]`, as `augment.draw` takes it, or `None`.

        Known from the photo's mask, which is read at the first call.
        """
        if not self.mask_files[number]:
            return None
        if number not in self._focus:
            box = self._box(number)
            if box is not None and preprocess.CROP in self.steps:
                header = read_header(self.files[number])
                box = masks.within_crop(box, header.width / header.height)
            self._focus[number] = box
        return self._focus[number]

    def _box(self, number):
        if self.mask_files[number] and number not in self._boxes:
            self._boxes[number] = masks.box(self.mask_files[number])
        return self._boxes.get(number)

    def _read(self, number):
        data = _bytes(self.files[number])
        box = self._box(number) if preprocess.CROP in self.steps else None
        if self._disk is None or data is None:
            return self._made(number, data, box)
        key = self._disk.key(data, CACHE_FORMAT, self.side, self.steps, box)
        photo = self._disk.get(key)
        if photo is None:
            photo = self._made(number, data, box)
            self._disk.put(key, photo)
        return photo

    def _made(self, number, data, box):
        # A crop needs the whole photo's detail, else the decoder may shrink it.
        min_size = self.side if box is None else None
        photo = None if data is None or self._strict else pixels(data, min_size)
        if photo is None:
            photo = decode(self.files[number], min_size, self._strict, data)
        if box is not None:
            photo = masks.cropped(photo, box)
        return preprocess.apply(_shrunk(photo, self.side), self.steps)


def photos_of(dataset: Dataset, data: Data, image_size: int, share: float = 1.0) -> Photos:
    """The photos of a data set as its `[data]` section wants them.

    Args:
        dataset: `index.Dataset`.
        data: `config.Data`.
        image_size: int, side of the network's input.
        share: float, of `data.cache_mb`; 0 where each photo is seen once.

    Returns:
        `Photos`.
    """
    return Photos(
        dataset.files, image_size, int(share * data.cache_mb), data.preprocess,
        dataset.mask_files, data.cache_dir, data.cache_disk_mb,
    )  # fmt: skip


@functools.cache
def _disk(folder, budget):
    """The one `_Disk` of a folder: training and validation photos share its budget."""
    return _Disk(folder, budget)


class _Disk:
    """Arrays by name in a folder, up to a number of bytes.

    Several processes may share it; each counts what lay there when it began and its own.
    """

    def __init__(self, folder, budget):
        self._folder = os.path.expanduser(folder)
        try:
            os.makedirs(self._folder, exist_ok=True)
            with os.scandir(self._folder) as entries:
                self._room = budget - sum(map(_kept, entries))
        except OSError as error:
            raise UserError(
                f"data.cache_dir {folder}: can't be used ({error.strerror}); name another folder"
            ) from error
        self._lock = threading.Lock()

    @staticmethod
    def key(data, *settings):
        """The name of what `data` becomes under some settings."""
        return hashlib.blake2b(data + repr(settings).encode(), digest_size=16).hexdigest()

    def get(self, key):
        """The array, or None; one that is not whole counts as missing."""
        try:
            return np.load(f"{self._folder}/{key}.npy")
        except (OSError, ValueError, EOFError):
            return None

    def put(self, key, array):
        """Keep an array, if there is room. Where it can't be written, say so and keep no more."""
        size = array.nbytes + 128  # the header of a .npy file
        with self._lock:
            if size > self._room:
                return
            self._room -= size
            try:
                with (
                    atomic_files.atomic_write(f"{self._folder}/{key}.npy") as path,
                    open(path, "wb") as file,
                ):
                    np.save(file, array)
            except RunFailed as error:  # slower from here on, and no reason to end a run
                self._room = 0
                log.warning("data.cache_dir: %s; no more photos are kept there", error)


def _kept(entry):
    """Bytes of a file of the cache; 0 once gone, as are those that a killed process left half."""
    try:
        info = entry.stat()
    except FileNotFoundError:  # another process renamed or removed it
        return 0
    if HALF.fullmatch(entry.name) and info.st_mtime < time.time() - ABANDONED:
        try:
            os.unlink(entry)
        except OSError:  # read-only: what is there can still be read
            return info.st_size
        return 0
    return info.st_size


def _bytes(file):
    """The photo's bytes; None where `decode` must say what is wrong with it."""
    try:
        if photo_bytes.stored(file).size > MAX_BYTES:
            return None
        with photo_bytes.opened(file) as opened:
            return opened.read()
    except OSError:
        return None


def _shrunk(photo, side):
    height, width = photo.shape[:2]
    scale = side / min(height, width)
    if scale * NEAR >= 1:
        return photo
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
