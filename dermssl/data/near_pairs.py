"""Find near-duplicate pairs among 100,000 photos: packed bits and matrix products in chunks.

All pairs are compared, some 10^10 at most, but never in a Python loop and never all at once in
memory.
"""

import numpy as np

from dermssl.core import threads

ROWS = 64  # rows of a chunk: against 100,000 photos some 50 MB a thread
SAMPLE = 1000  # photos that say what share of all pairs is alike
FEW = 20  # photos; fewer have no share worth the name
ROUNDING = 1e-5  # of the mean's length; embeddings that differ by less differ by float32's rounding
MAX_PAIRS = 200_000  # beyond, the list helps nobody and the threshold is wrong
SIZES = np.array([63, 64, 64, 64], np.int16)  # bits a word
# Which words a way round inverts: none, columns mirrored, rows mirrored, both.
FLIPS = np.array([[0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1], [0, 1, 1, 0]], bool)


def near_pairs(
    words: np.ndarray, turned: np.ndarray, limit: int, workers: int = 2, max_pairs: int = MAX_PAIRS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]:
    """All pairs whose perceptual hashes differ in at most `limit` bits, any way round.

    Args:
        words, turned: uint64 (n, 4), as in `perceptual_hash.Survey`.
        limit: int, bits of 255.
        workers: int, threads; NumPy frees the GIL.
        max_pairs: int, where to stop.

    Returns:
        int arrays a, b (a < b, by row), distance, and way (0 as it is, 1 to 3 mirrored or turned
        by 180 degrees, 4 to 7 the same of the transposed), and bool: stopped at `max_pairs`.
    """

    def chunk(start):
        stop = min(start + ROWS, len(words))
        return _near_chunk(words[start:stop], turned[start:stop], words[start:], limit, start)

    return _collected(chunk, len(words), workers, max_pairs)


def near_pairs_between(
    words: np.ndarray,
    turned: np.ndarray,
    others: np.ndarray,
    limit: int,
    workers: int = 2,
    max_pairs: int = MAX_PAIRS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]:
    """`near_pairs` of photos of one set with photos of another.

    Args:
        words, turned: uint64 (n, 4), of the first set.
        others: uint64 (m, 4), the words of the second.
        limit, workers, max_pairs: as of `near_pairs`.

    Returns:
        As `near_pairs`: a are rows of the first set, b of the second.
    """

    def chunk(start):
        stop = min(start + ROWS, len(words))
        return _near_chunk(words[start:stop], turned[start:stop], others, limit, start, True)

    return _collected(chunk, len(words), workers, max_pairs)


def _near_chunk(words, turned, rest, limit, start, between=False):
    """Pairs of some rows, which begin at `start`, with `rest`: another set, or those rows on."""
    found = []
    offset = 0 if between else start
    for kind, mine in enumerate((words, turned)):
        # The first word is the same for all flips; the second, at best, inverted or not. Their
        # sum alone rules out nearly every pair.
        first = np.bitwise_count(mine[:, 0, None] ^ rest[None, :, 0])
        second = np.bitwise_count(mine[:, 1, None] ^ rest[None, :, 1])
        rows, columns = np.nonzero(first + np.minimum(second, 64 - second) <= limit)
        if not between:
            later = columns > rows  # each pair once, and none with itself
            rows, columns = rows[later], columns[later]
        counts = np.bitwise_count(mine[rows] ^ rest[columns]).astype(np.int16)
        ways = np.where(FLIPS, SIZES - counts[:, None], counts[:, None]).sum(axis=2)
        way = ways.argmin(axis=1)
        distance = ways[np.arange(len(ways)), way]
        near = distance <= limit
        found.append(
            (rows[near] + start, columns[near] + offset, distance[near], way[near] + 4 * kind)
        )
    a, b, distance, way = (np.concatenate(part) for part in zip(*found))
    order = np.lexsort((way, distance, b, a))
    a, b, distance, way = a[order], b[order], distance[order], way[order]
    once = np.ones(len(a), bool)
    once[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return a[once], b[once], distance[once], way[once]


def similar_pairs(
    features: np.ndarray, limit: float, workers: int = 1, max_pairs: int = MAX_PAIRS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """All pairs whose centred features have a cosine of at least `limit`.

    The mean over all photos is taken off first: the features of a ReLU network all point the
    same way, and without it every pair is alike.

    Args:
        features: float (n, d).
        limit: float, -1 to 1.
        workers, max_pairs: as in `near_pairs`.

    Returns:
        int arrays a, b, float cosine, and bool: stopped at `max_pairs`.
    """
    centred = np.asarray(features, np.float32)
    centred = centred - centred.mean(axis=0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    centred /= np.maximum(length, 1e-12)

    def chunk(start):
        cosine = centred[start : start + ROWS] @ centred[start:].T
        rows, columns = np.nonzero(cosine >= limit)
        later = columns > rows
        rows, columns = rows[later], columns[later]
        return rows + start, columns + start, cosine[rows, columns]

    return _collected(chunk, len(centred), workers, max_pairs)


def share_alike(features: np.ndarray, limit: float) -> float:
    """The share of pairs that `similar_pairs` would list: near 1 where embeddings are one point.

    Where they lie on a line it is about a half.

    Args:
        features: float (n, d); some rows of many are looked at.
        limit: float, -1 to 1.

    Returns:
        0 for too few photos.
    """
    if len(features) < FEW:
        return 0.0
    rows = np.asarray(features, np.float32)[:: -(-len(features) // SAMPLE)]
    mean = rows.mean(axis=0)
    if np.median(np.linalg.norm(rows - mean, axis=1)) <= ROUNDING * np.linalg.norm(mean):
        return 1.0
    n_pairs = len(rows) * (len(rows) - 1) // 2
    return len(similar_pairs(rows, limit, max_pairs=n_pairs)[0]) / n_pairs


def _collected(chunk, n, workers, max_pairs):
    """The chunks' arrays in order, joined, cut at `max_pairs`; whether they were cut."""
    parts, count = [chunk(n)], 0  # of no rows: gives the arrays and their dtypes
    for part in threads.map_in_order(chunk, range(0, n, ROWS), workers):
        parts.append(part)
        count += len(part[0])
        if count > max_pairs:
            break
    joined = [np.concatenate(part)[:max_pairs] for part in zip(*parts)]
    return (*joined, count > max_pairs)
