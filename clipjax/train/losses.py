"""Contrastive losses: softmax (CLIP) and sigmoid (SigLIP), each over the whole batch at once and as a ring.

The ring holds (B/n)^2 logits per device at any time: text embeddings travel around the devices, each device meets
them with its own images. Values and gradients are those of the global form; the gradient is a second trip around the
ring and not the transpose of the first, which would keep every block that passed by.

`ids` int [B], or [B, K] of several kinds (caption, image), say which pairs belong together: those that have any id in
common are positives of each other, each with an equal share (softmax) or each with the label +1 (sigmoid). Without ids
a pair's only positive is itself.

`hard_negatives` are captions that are wrong on purpose: further texts, to which no image belongs. The rings do not take
them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from clipjax.errors import InputError

LOGIT_SCALE_MAX = 100.0  # CLIP paper, section 2.5: "clipped to prevent scaling the logits by more than 100"
_product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)


class HardNegatives(NamedTuple):
    """Captions that are wrong on purpose: text [M, E] of unit length; counts bool [B, M], false where one is left out
    of an image's loss, because its text is that of the image's own caption, or stands for none."""

    text: jax.Array
    counts: jax.Array


def softmax(
    image: jax.Array,
    text: jax.Array,
    scale: jax.Array,
    ids: jax.Array | None = None,
    hard_negatives: HardNegatives | None = None,
) -> jax.Array:
    """CLIP's symmetric cross-entropy (Radford et al. 2021, figure 3).

    image, text: [B, E] of unit length; scale = exp(logit_scale), a scalar. Returns the mean of both directions.

    With hard negatives w_k, as in NegCLIP (Yuksekgonul et al. 2023, section 4), the loss of image x_i with caption t_i
    is -ln(e^(s x_i.t_i) / (sum_j e^(s x_i.t_j) + sum_k e^(s x_i.w_k))): they stand in the denominators of the images.
    The direction from texts to images stays, as no image belongs to a hard negative.
    """
    _check(image, text)
    logits = scale * _product(image, text.T)
    same = _same(_ids(ids, image), _ids(ids, image))
    share = 1 / same.sum(1)  # of each positive of a row and, as `same` is symmetric, of a column
    positive = (logits * same * (share[:, None] + share[None])).sum() / 2
    every = logits
    if hard_negatives is not None:
        further = scale * _product(image, hard_negatives.text.T)
        every = jnp.concatenate([logits, jnp.where(hard_negatives.counts, further, -jnp.inf)], axis=1)
    rows, columns = jax.nn.logsumexp(every, axis=1).sum(), jax.nn.logsumexp(logits, axis=0).sum()
    return ((rows + columns) / 2 - positive) / len(image)


def sigmoid(
    image: jax.Array, text: jax.Array, scale: jax.Array, bias: jax.Array, ids: jax.Array | None = None,
    hard_negatives: HardNegatives | None = None,
) -> jax.Array:  # fmt: skip
    """SigLIP's pairwise loss (Zhai et al. 2023, algorithm 1): every pair is a yes-or-no question; sum over B.

    image, text: [B, E] of unit length; scale = exp(logit_scale) and bias are scalars. A hard negative w_k is a pair
    more with each image, whose answer is no: the sum gains -ln sigmoid(-(s x_i.w_k + b)).
    """
    _check(image, text)
    logits = scale * _product(image, text.T) + bias
    sign = 2 * _same(_ids(ids, image), _ids(ids, image)) - 1
    loss = -jax.nn.log_sigmoid(sign * logits).sum()
    if hard_negatives is not None:
        answers = jax.nn.log_sigmoid(-(scale * _product(image, hard_negatives.text.T) + bias))
        loss -= jnp.where(hard_negatives.counts, answers, 0).sum()
    return loss / len(image)


def ring_softmax(
    image: jax.Array, text: jax.Array, scale: jax.Array, ids: jax.Array | None = None, *, mesh: Mesh
) -> jax.Array:
    """`softmax` with no more than (B/n)^2 logits on each of the mesh's n devices."""
    _check(image, text, mesh)
    return _ring_softmax(mesh, image, text, jnp.asarray(scale, jnp.float32), _ids(ids, image))


def ring_sigmoid(
    image: jax.Array, text: jax.Array, scale: jax.Array, bias: jax.Array, ids: jax.Array | None = None, *, mesh: Mesh
) -> jax.Array:
    """`sigmoid` with no more than (B/n)^2 logits on each of the mesh's n devices."""
    _check(image, text, mesh)
    scale, bias = jnp.asarray(scale, jnp.float32), jnp.asarray(bias, jnp.float32)
    return _ring_sigmoid(mesh, image, text, scale, bias, _ids(ids, image))


def clamp(logit_scale: jax.Array, lowest: float = 0.0) -> jax.Array:
    """At most ln 100, and at least ln `lowest` where that is not 0; applied after every update."""
    clamped = jnp.minimum(logit_scale, jnp.log(jnp.asarray(LOGIT_SCALE_MAX, logit_scale.dtype)))
    return jnp.maximum(clamped, jnp.log(jnp.asarray(lowest, logit_scale.dtype))) if lowest else clamped


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _ring_softmax(mesh: Mesh, image, text, scale, ids):
    return _softmax_forward(mesh, image, text, scale, ids)[0]


def _softmax_forward(mesh: Mesh, image, text, scale, ids):
    def local(image, text, scale, ids):
        def meet(mine, guest):
            logits = scale * _product(image, guest["text"].T)
            same = _same(ids, guest["ids"])
            mine = {
                "lse": jnp.logaddexp(mine["lse"], jax.nn.logsumexp(logits, axis=1)),
                "positive": mine["positive"] + (logits * same).sum(1),
                "count": mine["count"] + same.sum(1),
            }
            return mine, guest | {
                "lse": jnp.logaddexp(guest["lse"], jax.nn.logsumexp(logits, axis=0)),
                "positive": guest["positive"] + (logits * same).sum(0),
            }

        none, zeros = jnp.full(len(image), -jnp.inf), jnp.zeros(len(image))
        start = {"lse": none, "positive": zeros, "count": zeros}
        mine, guest = _around(mesh, meet, start, {"text": text, "ids": ids, "lse": none, "positive": zeros})
        positive = (mine["positive"] + guest["positive"]) / mine["count"]
        loss = (mine["lse"] + guest["lse"] - positive).sum() / 2
        loss = jax.lax.psum(loss, mesh.axis_names) / (len(image) * mesh.size)
        return loss, mine["lse"], guest["lse"], mine["count"]

    rows = P(mesh.axis_names)
    run = _mapped(local, mesh, (rows, rows, P(), rows), (P(), rows, rows, rows))
    loss, *residuals = run(image, text, scale, ids)
    return loss, (image, text, scale, ids, *residuals)


def _softmax_backward(mesh: Mesh, residuals, cotangent):
    def local(image, text, scale, ids, rows_lse, columns_lse, count, cotangent):
        share = cotangent / (2 * len(image) * mesh.size)

        def meet(mine, guest):
            cosine = _product(image, guest["text"].T)
            logits = scale * cosine
            wanted = _same(ids, guest["ids"]) * (1 / count[:, None] + 1 / guest["count"][None])
            got = jnp.exp(logits - rows_lse[:, None]) + jnp.exp(logits - guest["lse"][None])
            error = share * (got - wanted)
            return _gradients(mine, guest, image, scale, cosine, error)

        start = {"image": jnp.zeros_like(image, jnp.float32), "scale": jnp.zeros(())}
        guest = {"text": text, "ids": ids, "lse": columns_lse, "count": count}
        guest["gradient"] = jnp.zeros_like(text, jnp.float32)
        mine, guest = _around(mesh, meet, start, guest)
        return mine["image"], guest["gradient"], jax.lax.psum(mine["scale"], mesh.axis_names)

    rows = P(mesh.axis_names)
    run = _mapped(local, mesh, (rows, rows, P(), rows, rows, rows, rows, P()), (rows, rows, P()))
    to_image, to_text, to_scale = run(*residuals, cotangent)
    return to_image.astype(residuals[0].dtype), to_text.astype(residuals[1].dtype), to_scale, None


_ring_softmax.defvjp(_softmax_forward, _softmax_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _ring_sigmoid(mesh: Mesh, image, text, scale, bias, ids):
    return _sigmoid_forward(mesh, image, text, scale, bias, ids)[0]


def _sigmoid_forward(mesh: Mesh, image, text, scale, bias, ids):
    def local(image, text, scale, bias, ids):
        def meet(mine, guest):
            logits = scale * _product(image, guest["text"].T) + bias
            sign = 2 * _same(ids, guest["ids"]) - 1
            return mine - jax.nn.log_sigmoid(sign * logits).sum(), guest

        loss, _ = _around(mesh, meet, jnp.zeros(()), {"text": text, "ids": ids})
        return jax.lax.psum(loss, mesh.axis_names) / (len(image) * mesh.size)

    rows = P(mesh.axis_names)
    loss = _mapped(local, mesh, (rows, rows, P(), P(), rows), P())(image, text, scale, bias, ids)
    return loss, (image, text, scale, bias, ids)


def _sigmoid_backward(mesh: Mesh, residuals, cotangent):
    def local(image, text, scale, bias, ids, cotangent):
        share = cotangent / (len(image) * mesh.size)

        def meet(mine, guest):
            cosine = _product(image, guest["text"].T)
            sign = 2 * _same(ids, guest["ids"]) - 1
            error = -share * sign * jax.nn.sigmoid(-sign * (scale * cosine + bias))
            mine, guest = _gradients(mine, guest, image, scale, cosine, error)
            return mine | {"bias": mine["bias"] + error.sum()}, guest

        start = {"image": jnp.zeros_like(image, jnp.float32), "scale": jnp.zeros(()), "bias": jnp.zeros(())}
        guest = {"text": text, "ids": ids, "gradient": jnp.zeros_like(text, jnp.float32)}
        mine, guest = _around(mesh, meet, start, guest)
        scalars = jax.lax.psum((mine["scale"], mine["bias"]), mesh.axis_names)
        return mine["image"], guest["gradient"], *scalars

    rows = P(mesh.axis_names)
    run = _mapped(local, mesh, (rows, rows, P(), P(), rows, P()), (rows, rows, P(), P()))
    to_image, to_text, to_scale, to_bias = run(*residuals, cotangent)
    return to_image.astype(residuals[0].dtype), to_text.astype(residuals[1].dtype), to_scale, to_bias, None


_ring_sigmoid.defvjp(_sigmoid_forward, _sigmoid_backward)


def _gradients(mine, guest, image, scale, cosine, error):
    """Adds what `error` = d loss / d logits [b, b] of one meeting says to image, scale and the guest's text."""
    mine = mine | {
        "image": mine["image"] + scale * _product(error, guest["text"]),
        "scale": mine["scale"] + (error * cosine).sum(),
    }
    return mine, guest | {"gradient": guest["gradient"] + scale * _product(error.T, image)}


def _around(mesh: Mesh, meet: Callable, mine: Any, guest: Any) -> tuple[Any, Any]:
    """`mine, guest = meet(mine, guest)` with every device's guest once; guests end where they started."""
    n = mesh.size
    to_next = [(i, (i + 1) % n) for i in range(n)]

    def step(carried, _):
        mine, guest = meet(*carried)
        return (mine, jax.tree.map(lambda x: jax.lax.ppermute(x, mesh.axis_names, to_next), guest)), None

    return jax.lax.scan(step, (mine, guest), length=n)[0]


def _mapped(local: Callable, mesh: Mesh, inputs: Any, outputs: Any) -> Callable:
    # Gradients are written out, so nothing is left for the check of varying axes to find.
    return jax.shard_map(local, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)


def _ids(ids: jax.Array | None, image: jax.Array) -> jax.Array:
    return jnp.arange(len(image)) if ids is None else jnp.asarray(ids)


def _same(a: jax.Array, b: jax.Array) -> jax.Array:
    """float32 [b, b']: 1 where two pairs have an id in common."""
    a, b = (x[:, None] if x.ndim == 1 else x for x in (a, b))
    return (a[:, None] == b[None]).any(-1).astype(jnp.float32)


def _check(image: jax.Array, text: jax.Array, mesh: Mesh | None = None) -> None:
    if image.ndim != 2 or image.shape != text.shape:
        raise InputError(f"image {image.shape} and text {text.shape} embeddings: both are [B, E], pair by pair")
    if mesh is not None and len(image) % mesh.size:
        raise InputError(f"a batch of {len(image)} does not divide over {mesh.size} devices; change batch_size")
