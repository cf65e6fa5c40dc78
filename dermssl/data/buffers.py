"""Memory for batches that is used again: fresh pages cost more than the pixels in them.

A batch of 32 pairs at 224 px is 37 MiB as float32. The allocator takes such a piece from the
system each time and gives it back, and the system clears every page anew: 0.7 ms a pair, half of
what the views take. An array that starts on a 64-byte boundary is handed to TensorFlow without a
copy, and the tensor holds a reference to it; once that is gone, the next batch may have it.
"""

import math
import sys
import threading

import numpy as np

ALIGNMENT = 64  # bytes; TensorFlow copies what is aligned to less


class Buffers:
    """float32 arrays, each lent until nobody refers to it any more.

    Args:
        most: int, arrays to keep; what is asked for beyond them is made and forgotten.
    """

    def __init__(self, most=8):
        self._most, self._kept, self._lock = most, [], threading.Lock()

    def take(self, shape):
        """A float32 array of this shape; its content is what was in it before."""
        size = 4 * math.prod(shape) + ALIGNMENT
        with self._lock:
            raw = self._free(size)
            if raw is None:
                raw = np.empty(size, np.uint8)
                if len(self._kept) < self._most:
                    self._kept.append(raw)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + size - ALIGNMENT].view(np.float32).reshape(shape)

    def _free(self, size):
        """Memory that no array lies in: each array, and each view of one, refers to it."""
        for number in range(len(self._kept)):
            # Two references: the list's, and the argument of getrefcount.
            if sys.getrefcount(self._kept[number]) == 2 and self._kept[number].nbytes == size:
                return self._kept[number]
        return None
