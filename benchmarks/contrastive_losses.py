"""Every form of the contrastive losses: distance from the single-device reference, and memory as batches grow.

    JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=8 NPROC=16 python benchmarks/contrastive_losses.py

Errors: the largest difference in loss and in any gradient (images, texts, scale, bias), against the same formula in
float64 numpy on one device, at a batch of 512 x 64. Memory: temporary bytes per device that XLA plans for value and
gradient at 8 devices, E = 512 (compiled, not run).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from clipjax import parallel
from clipjax.train import accumulate, losses

B, E, SCALE, BIAS = 512, 64, 20.0, -10.0


def data() -> dict[str, np.ndarray]:
    """Unit embeddings, every fourth caption shared by two images."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, B, E))
    image, text = x / np.linalg.norm(x, axis=-1, keepdims=True)
    ids = np.arange(B)
    ids[::4] += 1
    return {"image": image.astype(np.float32), "text": text.astype(np.float32), "ids": ids.astype(np.int32)}


def reference(kind: str, d: dict[str, np.ndarray]) -> tuple[float, dict[str, np.ndarray]]:
    """float64: loss and gradients by the formulas of the two papers, written out."""
    x, y = d["image"].astype(np.float64), d["text"].astype(np.float64)
    cosine, same = x @ y.T, (d["ids"][:, None] == d["ids"][None]).astype(float)
    if kind == "softmax":
        z = SCALE * cosine
        rows, columns = (np.log(np.exp(z - z.max()).sum(axis)) + z.max() for axis in (1, 0))
        wanted = same / same.sum(1, keepdims=True)
        loss = ((rows + columns) / 2).mean() - (z * wanted).sum() / B
        error = (np.exp(z - rows[:, None]) + np.exp(z - columns[None]) - 2 * wanted) / (2 * B)
    else:
        z, sign = SCALE * cosine + BIAS, 2 * same - 1
        loss = np.log1p(np.exp(-sign * z)).sum() / B
        error = -sign / (1 + np.exp(sign * z)) / B
    gradients = {"image": SCALE * error @ y, "text": SCALE * error.T @ x, "scale": (error * cosine).sum()}
    return loss, gradients | ({"bias": error.sum()} if kind == "sigmoid" else {})


def measured(form: str, devices: int, parts: int, d: dict[str, np.ndarray]) -> tuple[float, float]:
    """(error of the loss, largest error of a gradient) of one form."""
    mesh = parallel.training_mesh(1, jax.devices()[:devices])
    rows = NamedSharding(mesh, P(mesh.axis_names))
    call = getattr(losses, form)
    if form.startswith("ring"):
        call = functools.partial(call, mesh=mesh)
    kind = form.removeprefix("ring_")
    params = {"scale": jnp.float32(SCALE)} | ({"bias": jnp.float32(BIAS)} if kind == "sigmoid" else {})
    # Embeddings are parameters here, picked by row: so the accumulation has their gradients to carry back.
    params |= {"image": jnp.asarray(d["image"]), "text": jnp.asarray(d["text"])}
    encode = lambda p, batch: (p["image"][batch["row"]], p["text"][batch["row"]])  # noqa: E731

    def loss(p, embeddings, batch):
        return call(*embeddings, *(p[k] for k in ("scale", "bias") if k in p), batch["ids"])

    batch = {"row": np.arange(B, dtype=np.int32), "ids": d["ids"]}
    run = jax.jit(accumulate.value_and_grad(encode, loss, parts, devices))
    value, gradients = run(params, jax.device_put(batch, rows))
    wanted, wanted_gradients = reference(kind, d)
    worst = max(np.abs(np.asarray(gradients[k], np.float64) - g).max() for k, g in wanted_gradients.items())
    return abs(float(value) - wanted) / abs(wanted), worst


def memory(form: str, batch: int) -> float:
    """MB of temporary memory per device, value and gradient, 8 devices."""
    mesh = parallel.training_mesh(1)
    rows = NamedSharding(mesh, P(mesh.axis_names))
    call = getattr(losses, form)
    if form.startswith("ring"):
        call = functools.partial(call, mesh=mesh)
    extra = (jax.ShapeDtypeStruct((), jnp.float32),) * (2 if "sigmoid" in form else 1)
    one = jax.ShapeDtypeStruct((batch, 512), jnp.float32, sharding=rows)
    ids = jax.ShapeDtypeStruct((batch,), jnp.int32, sharding=rows)
    run = jax.jit(jax.value_and_grad(call, argnums=tuple(range(2 + len(extra)))))
    memory = run.lower(one, one, *extra, ids).compile().memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes / 2**20


def main() -> None:
    d = data()
    print(f"jax {jax.__version__}, {jax.device_count()} devices, {jax.default_backend()}\n")
    print(
        "| loss | devices | accumulation steps | relative error of the loss | largest error of a gradient |\n"
        "|---|---|---|---|---|"
    )
    for form in ("softmax", "ring_softmax", "sigmoid", "ring_sigmoid"):
        for devices in (1, 8):
            for parts in (1, 4):
                loss, gradient = measured(form, devices, parts, d)
                print(f"| {form} | {devices} | {parts} | {loss:.1e} | {gradient:.1e} |")
    print("\n| temporary MB per device | 4,096 | 8,192 | 32,768 |\n|---|---|---|---|")
    for form in ("softmax", "ring_softmax", "sigmoid", "ring_sigmoid"):
        print(f"| {form} | " + " | ".join(f"{memory(form, b):,.0f}" for b in (4096, 8192, 32768)) + " |")


if __name__ == "__main__":
    main()
