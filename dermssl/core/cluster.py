"""The workers that train one run together, as the environment variable TF_CONFIG names them."""

import json
import os
from dataclasses import dataclass

from dermssl.core.errors import UserError

VARIABLE = "TF_CONFIG"
STRATEGIES = ("auto", "none", "mirrored", "multiworker")
_FORM = (
    '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Cluster:
    """The workers of a run, and which of them this process is.

    Attributes:
        addresses: tuple of str, HOST:PORT of each worker; the first is the chief, which alone
            writes.
        index: int, of this process.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0


def read(strategy: str = "auto") -> Cluster | None:
    """The cluster that a strategy trains on; starts nothing.

    Args:
        strategy: one of `STRATEGIES`.

    Returns:
        `Cluster`, or None where the strategy needs none: TF_CONFIG isn't set, or the strategy is
        of one process.

    Raises:
        UserError: TF_CONFIG can't be read, names one worker only, or is missing where the strategy
            needs it.

    Example:

    >>> read("none") is None
    True
    """
    text = os.environ.get(VARIABLE, "")
    if strategy == "multiworker" and not text:
        raise UserError(
            f"distribution.strategy multiworker: {VARIABLE} isn't set; set it for each worker, "
            f"such as {VARIABLE}='{_FORM}', or use distribution.strategy auto"
        )
    if not text or strategy not in ("auto", "multiworker"):
        return None
    addresses, kind, index = _parse(text)
    if kind not in ("chief", "worker"):
        raise UserError(
            f"{VARIABLE}: this process is a {kind!r}; training has workers (and a chief) only"
        )
    numbers = range(len(addresses[kind]))
    if type(index) is not int or index not in numbers:
        raise UserError(
            f"{VARIABLE}: this process is {kind} {index!r}, but the cluster names "
            f"{len(numbers)} of them, numbered from 0"
        )
    every = (*addresses["chief"], *addresses["worker"])
    if len(every) < 2:
        raise UserError(
            f"{VARIABLE} names one worker only; name two or more, or unset it to train on one "
            "machine"
        )
    if len(set(every)) < len(every):
        raise UserError(f"{VARIABLE} names a worker twice ({', '.join(every)}); name each once")
    return Cluster(every, index + (len(addresses["chief"]) if kind == "worker" else 0))


def _parse(text):
    """The addresses by kind, and the kind and number of this process."""
    try:
        table = json.loads(text)
        jobs, task = table["cluster"], table["task"]
        addresses = {kind: list(jobs.get(kind, [])) for kind in ("chief", "worker")}
        every = [*addresses["chief"], *addresses["worker"]]
        if not all(isinstance(each, str) and each.rpartition(":")[2].isdigit() for each in every):
            raise ValueError("an address isn't HOST:PORT")
        return addresses, task["type"], task["index"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else f"can't be read ({error})"
        raise UserError(f"{VARIABLE} {what}; its form is {_FORM}") from error


def told_by_chief(strategy: str) -> bool:
    """Whether another process tells what came out; this one then says only that it is done."""
    cluster = read(strategy)
    if cluster is None or cluster.is_chief:
        return False
    print(f"worker {cluster.index} of {cluster.workers}: done; worker 0 wrote the run")
    return True


def look(strategy: str) -> None:
    """Refuse a TF_CONFIG that can't be used, before the seconds that TensorFlow takes to start."""
    if read(strategy):
        # A lost worker makes TensorFlow's runtime print pages, before our one line.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
