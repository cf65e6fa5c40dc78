"""How far a grid is, and how long it will take."""

import time

from dermssl.training.experiment import minutes


class Clock:
    """Progress lines with the time left."""

    def __init__(self, todo, n_cells, work):
        self._work, self._n = work, n_cells
        self._done_cells = n_cells - len(todo)
        self._left, self._did = sum(map(work, todo)), 0.0
        self._began = time.time()

    def start(self, group):
        left = ""
        if self._did:
            seconds = (time.time() - self._began) / self._did * self._left
            left = f", about {minutes(seconds)} left"
        first = group[0]
        depths = "/".join("all" if cell.depth < 0 else str(cell.depth) for cell in group)
        fold = "" if first.fold is None else f", fold {first.fold}"
        print(f"[{self._done_cells + 1}-{self._done_cells + len(group)}/{self._n}] {first.model}, "
              f"{first.augmentation}, seed {first.seed}{fold}, depths {depths}{left}",
              flush=True)  # fmt: skip

    def end(self, group):
        work = sum(map(self._work, group))
        self._did, self._left = self._did + work, self._left - work
        self._done_cells += len(group)
