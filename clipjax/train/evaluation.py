"""The loss of batches that never change, which makes losses of different steps comparable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from clipjax.train.feed import Feed


class Evaluation:
    """`NAME/loss`: the mean loss of the first `batches` of `feed`, which draws and augments nothing at random.

    A contrastive loss depends on the size of its batch: compare only numbers of one size.
    """

    def __init__(self, name: str, feed: Feed, batches: int, loss: Callable[[Any, Any], jax.Array], mesh: Mesh):
        self.name, self.feed, self.batches, self._loss = name, feed, batches, loss
        self._rows = NamedSharding(mesh, P(mesh.axis_names))
        feed.close()  # until it is needed

    def __call__(self, step: int, state: Any) -> Mapping[str, float]:
        """The hook of the training loop."""
        self.feed.position = 0
        losses = []
        for _ in range(self.batches):
            arrays = next(self.feed).arrays
            arrays = jax.tree.map(lambda x: jax.make_array_from_process_local_data(self._rows, x), arrays)
            losses.append(float(self._loss(state, arrays)))
        self.feed.close()
        return {f"{self.name}/loss": float(np.mean(losses))}
