"""Work on many items in threads, in order, without holding them all at once."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    ahead: int | None = None,
) -> Iterator[Result]:
    """Yields `function(item)` of each item, in the order of the items.

    Args:
        function: should free the GIL for most of its time.
        items: read as the work goes on.
        workers: threads.
        ahead: items that are worked on or done but not yet taken, at most; None for 4 a worker,
            long enough to hide a slow one.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= (ahead or 4 * workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
