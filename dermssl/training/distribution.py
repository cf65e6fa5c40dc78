"""Train one run on several devices or machines, through `tf.distribute`.

Every worker runs the same command and does the same steps, each on its share of each batch. The
variables are equal on all of them between two steps, so the first worker, the chief, writes for
all; the others' folders are temporary.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dermssl.core import cluster as clusters
from dermssl.core import memory
from dermssl.core.cluster import Cluster
from dermssl.core.errors import RunFailed, UserError

START_SECONDS = 600  # for all workers to be there
SILENCE_SECONDS = 30  # without a heartbeat; then a worker counts as dead
# What TensorFlow raises where another worker is gone, or its connection is.
_LOST = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
    tf.errors.DeadlineExceededError, tf.errors.InternalError, tf.errors.FailedPreconditionError,
)  # fmt: skip


@dataclass(frozen=True)
class Distribution:
    """The devices that a run trains on.

    Attributes:
        strategy: `tf.distribute.Strategy`, or None for one device.
        cluster: `Cluster`, or None for one process.
    """

    strategy: tf.distribute.Strategy | None = None
    cluster: Cluster | None = None

    @property
    def replicas(self) -> int:
        """Devices of all workers."""
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    @property
    def parts(self) -> dict[str, int]:
        """The `worker`, `workers` and `devices` of `data.pipeline`."""
        workers = self.cluster.workers if self.cluster else 1
        worker = self.cluster.index if self.cluster else 0
        return {"worker": worker, "workers": workers, "devices": self.replicas // workers}

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run."""
        return self.cluster is None or self.cluster.is_chief

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Where models and optimizers are made."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def words(self) -> str:
        """The devices for the start line; "" for one device."""
        if self.strategy is None:
            return ""
        parts = self.parts
        devices = f"{parts['devices']} device{'s' if parts['devices'] > 1 else ''}"
        if self.cluster is None:
            return f"{devices} (mirrored)"
        return f"{parts['workers']} workers with {devices} each, as worker {parts['worker']}"

    def check_batch(self, name: str, size: int) -> None:
        """Refuse a batch that has no equal part for each replica; `name` is its setting."""
        if size % self.replicas:
            near = max(size // self.replicas, 1) * self.replicas
            raise UserError(
                f"{name} {size} has no equal parts for {self.replicas} replicas; use a multiple of "
                f"{self.replicas}, such as {near}"
            )

    def build(self, model: keras.Model, dataset: tf.data.Dataset) -> None:
        """Make what Keras makes at the first batch, such as the variables of metrics.

        Keras would take the shapes from a mean over replicas, which fails for tuples of several
        workers; so they are taken from a batch of this worker, and Keras doesn't look again.
        """
        model._symbolic_build(data_batch=next(iter(dataset)))
        model._maybe_symbolic_build = lambda iterator=None, data_batch=None: None

    def data(self, dataset: tf.data.Dataset) -> Any:
        """A data set of this process's own parts, as `fit` takes it."""
        if self.strategy is None:
            return dataset
        return self.strategy.distribute_datasets_from_function(lambda _: dataset)

    def held_out(self, dataset: tf.data.Dataset) -> Any:
        """The same data set on every worker, as validation takes it.

        Each worker scores all of it: batches need no equal parts then, and means over workers are
        those of one.
        """
        return dataset if self.cluster is None else self.data(dataset)

    def agree(self, wish: int) -> int:
        """The largest wish of all workers. Each must ask at the same step."""
        return wish if self.cluster is None else int(max(self._of_all(np.array([wish], np.int32))))

    def from_chief(self, data: bytes | None) -> bytes | None:
        """The chief's data, on every worker; what others give is ignored."""
        if self.cluster is None:
            return data
        # Numbers are summed over workers, and only the chief's aren't 0.
        own = data if self.is_chief else None
        size = self.agree(-1 if own is None else len(own))
        if size < 0:
            return None
        words = np.zeros(-(-size // 4), np.int32)
        if own is not None:
            words = np.frombuffer(own.ljust(4 * len(words), b"\0"), np.int32)
        return self._sum(words).tobytes()[:size]

    def check_alike(self, **what: str) -> None:
        """Refuse to start where the workers differ; `what` is what must be equal, by its name."""
        if self.cluster is None:
            return
        for name, text in what.items():
            digest = np.frombuffer(hashlib.sha256(text.encode()).digest()[:4], np.int32)
            every = self._of_all(digest)
            for worker, other in enumerate(every):
                if other != every[0]:
                    raise UserError(
                        f"worker {worker} has {name} other than worker 0; give all workers the "
                        "same command and the same files"
                    )

    def _of_all(self, values):
        """int32 (workers * n,), the values (n,) of each worker in turn."""
        padded = np.zeros((self.cluster.workers, len(values)), np.int32)
        padded[self.cluster.index] = values
        return self._sum(padded.ravel())

    def _sum(self, values):
        """The sum of int32 (n,) over workers."""
        return np.asarray(self._summing(tf.constant(values)))

    @functools.cached_property
    def _summing(self):
        """A graph: eagerly a message between workers takes ten times longer."""
        devices = self.parts["devices"]

        def on_device(values):
            context = tf.distribute.get_replica_context()
            own = tf.equal(context.replica_id_in_sync_group % devices, 0)  # one device a worker
            values = tf.where(own, values, 0)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, values)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
        def total(values):
            results = self.strategy.run(on_device, args=(values,))
            return self.strategy.experimental_local_results(results)[0]

        return total

    def read_apart(self, variables: list[Any]) -> np.ndarray:
        """float64 (replicas, numbers): variables that each replica has its own of, as metrics do.

        Their sum alone would not do: shared out again, it would be rounded in another way.
        """

        def on_device():
            flat = [tf.reshape(tf.cast(v.value, tf.float64), [1, -1]) for v in variables]
            return tf.distribute.get_replica_context().all_gather(tf.concat(flat, axis=1), axis=0)

        every = tf.function(lambda: self.strategy.run(on_device))()  # type: ignore[union-attr]
        return np.asarray(self.strategy.experimental_local_results(every)[0])  # type: ignore[union-attr]

    def write_apart(self, variables: list[Any], values: np.ndarray) -> None:
        """Put back what `read_apart` gave."""
        sizes = [v.shape.num_elements() for v in variables]

        def on_device():
            own = tf.constant(values)[tf.distribute.get_replica_context().replica_id_in_sync_group]
            for variable, part in zip(variables, tf.split(own, sizes)):
                variable.value.assign(tf.cast(tf.reshape(part, variable.shape), variable.dtype))

        tf.function(lambda: self.strategy.run(on_device))()  # type: ignore[union-attr]

    @contextlib.contextmanager
    def lost_worker_stops(self) -> Iterator[None]:
        """In this block a worker that is gone ends the run with one line, and exit code 1."""
        try:
            yield
        except _LOST as error:
            if self.cluster is None:
                raise
            raise RunFailed(
                f"worker {self.cluster.index} of {self.cluster.workers} lost {self._lost(error)}, "
                "which ended or can't be reached; start all workers again with the same command: "
                "it goes on from the last checkpoint, if there is one"
            ) from error

    def _lost(self, error):
        """The workers that TensorFlow names, in words."""
        named = {int(number) for number in re.findall(r"/task:(\d+)", str(error))}
        named -= {self.cluster.index}
        return " and ".join(f"worker {number}" for number in sorted(named)) or "another worker"


def choose(strategy: str) -> Distribution:
    """The devices for a setting `distribution.strategy`; waits for the other workers.

    Args:
        strategy: one of `core.cluster.STRATEGIES`.

    Raises:
        UserError: the devices or workers that the setting asks for aren't there.
    """
    if strategy == "none":
        return Distribution()
    cluster = clusters.read(strategy)
    if cluster:
        return Distribution(_multi_worker(cluster), cluster)
    devices = _devices()
    if len(devices) > 1:
        return Distribution(tf.distribute.MirroredStrategy(devices))
    if strategy == "mirrored":
        raise UserError(
            f"distribution.strategy mirrored: TensorFlow sees one device ({devices[0]}), and "
            "there is nothing to share out; use distribution.strategy none or auto"
        )
    return Distribution()


def _devices():
    """Names of the GPUs, or of the CPUs where there is no GPU."""
    gpus = tf.config.list_logical_devices("GPU")
    return [device.name for device in gpus or tf.config.list_logical_devices("CPU")]


@functools.cache  # TensorFlow joins a cluster once in a process
def _multi_worker(cluster):
    from tensorflow.python.eager import context

    memory.keep_freed()  # TensorFlow's own pool is not for workers: a quarter of a step on a CPU
    at = cluster.addresses[cluster.index]
    print(f"worker {cluster.index} of {cluster.workers} at {at}: waits for the others",
          file=sys.stderr, flush=True)  # fmt: skip
    spec = tf.train.ClusterSpec({"worker": list(cluster.addresses)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type="worker", task_id=cluster.index, rpc_layer="grpc"
    )
    # The strategy leaves a service as it finds it; its own would wait an hour for a worker that
    # isn't there.
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        coordinated_jobs=[_job(cluster)],
        cluster_register_timeout_in_ms=1000 * START_SECONDS,
        heartbeat_timeout_in_ms=1000 * SILENCE_SECONDS,
    )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except RuntimeError as error:  # "Collective ops must be configured at program startup"
        raise UserError(
            "distribution.strategy multiworker: TensorFlow has computed in this process before; "
            "start training in a process of its own"
        ) from error
    except tf.errors.OpError as error:
        raise RunFailed(
            f"worker {cluster.index} of {cluster.workers} could not join the others within "
            f"{START_SECONDS} s; start all workers of TF_CONFIG at about the same time, and see "
            "that their addresses can be reached"
        ) from error


def _job(cluster):
    from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2

    return coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=cluster.workers)
