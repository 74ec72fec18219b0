"""Trains the small CLIP embedded in clipjax, from scratch, on emoji artwork and names (about an hour on two CPU cores).

    python experiments/emoji_clip/train.py --data EMOJI_FOLDER --out RUN

Writes RUN/model.safetensors (the native file, float16), RUN/log.jsonl and RUN/results.json; a checkpoint every
100 steps, so the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from pathlib import Path

import artwork
import jax
import jax.numpy as jnp
import numpy as np
import optax
from orbax.checkpoint import v1 as ocp

from clipjax.models import catalog, clip, weights
from clipjax.models.config import CLIP

SIZE = 48  # pixels; small enough for half an hour on two cores


def model_config() -> CLIP:
    """2.7 million parameters for pixels, 0.6 for text, 6.3 in the token table (about 3,000 rows are trained)."""
    return catalog.openai(256, catalog.vit(SIZE, 8, 192, 6), catalog.text(128, layers=3))


def augment(key: jax.Array, rgba: jax.Array) -> jax.Array:
    """uint8 [B, 64, 64, 4] -> normalised float32 [B, SIZE, SIZE, 3]: scale, shift, turn, background, colour."""
    b = rgba.shape[0]
    keys = jax.random.split(key, 6)
    scale = jax.random.uniform(keys[0], (b,), minval=0.62, maxval=1.15)
    angle = jax.random.normal(keys[1], (b,)) * 0.12
    shift = jax.random.uniform(keys[2], (b, 2), minval=-9.0, maxval=9.0)
    rgb, alpha = crop(rgba, 1 / scale, angle, shift)
    colour = jax.random.uniform(keys[3], (b, 1, 1, 3))
    white = jax.random.bernoulli(keys[4], 0.5, (b, 1, 1, 1))
    x = rgb * alpha + (1 - alpha) * jnp.where(white, 1.0, colour)
    gain = 1 + 0.25 * jax.random.normal(keys[5], (b, 1, 1, 3))
    return normalise_pixels(jnp.clip(x * gain, 0, 1))


def crop(rgba: jax.Array, zoom: jax.Array, angle: jax.Array, shift: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Bilinear sampling of a turned, scaled, shifted window: -> colour [B, SIZE, SIZE, 3], alpha [B, SIZE, SIZE, 1]."""
    grid = (jnp.arange(SIZE) - (SIZE - 1) / 2) * (64 / SIZE)
    y, x = jnp.meshgrid(grid, grid, indexing="ij")

    def one(picture, zoom, angle, shift):
        c, s = jnp.cos(angle) * zoom, jnp.sin(angle) * zoom
        at = [c * y + s * x + 31.5 + shift[0], -s * y + c * x + 31.5 + shift[1]]
        sample = functools.partial(jax.scipy.ndimage.map_coordinates, coordinates=at, order=1, mode="constant")
        return jax.vmap(sample, -1, -1)(picture)

    premultiplied = rgba.astype(jnp.float32) / 255
    premultiplied = premultiplied.at[..., :3].multiply(premultiplied[..., 3:])
    out = jax.vmap(one)(premultiplied, zoom, angle, shift)
    return out[..., :3] / jnp.maximum(out[..., 3:], 1e-3), out[..., 3:]


def normalise_pixels(x: jax.Array) -> jax.Array:
    """[0, 1] -> OpenAI's mean and standard deviation."""
    return (x - jnp.array(catalog.OPENAI_MEAN)) / jnp.array(catalog.OPENAI_STD)


def loss_fn(params, pixels, tokens):
    """The symmetric softmax loss of the CLIP paper (figure 3)."""
    config = model_config()
    image, text = clip.apply_image(config, params, pixels), clip.apply_text(config, params, tokens)
    logits = clip.logits(params, image, text)
    labels = jnp.arange(logits.shape[0])
    both = optax.softmax_cross_entropy_with_integer_labels(jnp.stack([logits, logits.T]), labels[None])
    return both.mean(), (logits.argmax(1) == labels).mean()


def make_optimizer(steps: int) -> optax.GradientTransformation:
    """AdamW at 1e-3 with warm-up and cosine; no decay on gains, biases and the logit scale."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1e-3, 150, steps, 1e-5)
    decay = lambda params: jax.tree.map(lambda p: p.ndim >= 2, params)  # noqa: E731
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.98, weight_decay=0.1, mask=decay))


def batches(art: artwork.Artwork, size: int, seed: int, start: int):
    """Endless (pictures, tokens): every name at most once in a batch, so no caption is its neighbour's negative."""
    by_name: dict[str, list[int]] = {}
    for i in np.flatnonzero(~art.held_out):
        by_name.setdefault(str(art.names[i]), []).append(int(i))
    names = sorted(by_name)
    p = np.array([art.weights[n] for n in names])
    for step in range(start, 10**9):
        rng = np.random.default_rng([seed, step])  # a resumed run sees the batches it would have seen
        chosen = [names[i] for i in rng.choice(len(names), size, replace=False, p=p / p.sum())]
        pictures = [by_name[n][rng.integers(len(by_name[n]))] for n in chosen]
        yield art.pixels[pictures], np.stack([art.captions[n][rng.integers(len(art.captions[n]))] for n in chosen])


def evaluate(params, art: artwork.Artwork) -> dict[str, float]:
    """Held-out Noto drawings against every distinct name, template "a picture of a {}." as trained."""
    config = model_config()
    names = sorted(art.captions)
    text = jax.jit(functools.partial(clip.apply_text, config))
    image = jax.jit(functools.partial(clip.apply_image, config))
    table = np.concatenate([clip.normalise(text(params, art.captions[n][[6]])) for n in names])
    test = np.flatnonzero(art.held_out)
    rgba = art.pixels[test].astype(np.float32) / 255
    still = jnp.zeros(len(test))
    rgb, alpha = crop(jnp.asarray(rgba * 255), still + 1, still, jnp.zeros((len(test), 2)))
    pixels = normalise_pixels(rgb * alpha + 1 - alpha)
    features = np.concatenate([clip.normalise(image(params, pixels[i : i + 256])) for i in range(0, len(test), 256)])
    order = np.argsort(-features @ table.T, axis=1)[:, :5]
    index = {n: i for i, n in enumerate(names)}
    label = np.array([index[str(n)] for n in art.names[test]])
    base = {str(n): str(b) for n, b in zip(art.names, art.base_names, strict=True)}
    concept = [base[names[i]] == b for i, b in zip(order[:, 0], art.base_names[test], strict=True)]
    return {
        "n": len(test), "classes": len(names), "top1": float((order[:, 0] == label).mean()),
        "top5": float((order == label[:, None]).any(1).mean()), "concept_top1": float(np.mean(concept)),
    }  # fmt: skip


def export(params, path: Path, art: artwork.Artwork) -> None:
    """float16, with the rows of tokens that training never saw set to zero: an unknown word then says nothing."""
    flat = {k: np.asarray(v).astype(np.float16) for k, v in clip.flatten(params).items()}
    seen = np.unique(np.concatenate([c.ravel() for c in art.captions.values()]))
    unseen = np.setdiff1d(np.arange(len(flat["token_embedding.weight"])), seen)
    flat["token_embedding.weight"][unseen] = 0
    source = {"format": "clipjax", "trained by": "experiments/emoji_clip/train.py"}
    weights.save(path, weights.Weights(flat, model_config(), "emoji-clip", source))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--batch", type=int, default=256)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    art = artwork.load(args.data)
    optimizer = make_optimizer(args.steps)
    params = clip.init(model_config(), jax.random.key(0))
    state = {"params": params, "optimizer": optimizer.init(params), "step": jnp.zeros((), jnp.int32)}
    checkpoint = (args.out / "checkpoint").resolve()
    if checkpoint.exists():
        state = ocp.load(checkpoint, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state))

    @functools.partial(jax.jit, donate_argnums=0)
    def step_fn(state, rgba, tokens):
        pixels = augment(jax.random.fold_in(jax.random.key(1), state["step"]), rgba)
        (loss, hit), grads = jax.value_and_grad(loss_fn, has_aux=True)(state["params"], pixels, tokens)
        updates, opt = optimizer.update(grads, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        params["logit_scale"] = jnp.minimum(params["logit_scale"], jnp.log(100.0))  # CLIP paper, section 2.5
        return {"params": params, "optimizer": opt, "step": state["step"] + 1}, loss, hit

    start, began = int(state["step"]), time.time()
    for step, (rgba, tokens) in zip(range(start, args.steps), batches(art, args.batch, 0, start), strict=False):
        state, loss, hit = step_fn(state, rgba, tokens)
        if (step + 1) % 20 == 0:
            row = {"step": step + 1, "loss": float(loss), "top1": float(hit), "seconds": round(time.time() - began, 1)}
            print(row, flush=True)
            with open(args.out / "log.jsonl", "a") as log:
                log.write(json.dumps(row) + "\n")
        if (step + 1) % 100 == 0:
            ocp.save(checkpoint, state, overwrite=True)
    export(state["params"], args.out / "model.safetensors", art)
    results = evaluate(state["params"], art) | {"steps": args.steps, "batch": args.batch}
    (args.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(results)


if __name__ == "__main__":
    main()
