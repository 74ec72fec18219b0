"""The only inference loop: rows in, features out, on every device there is, padded and never dropped."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from clipjax import cpu, gpu, parallel
from clipjax.errors import InputError
from clipjax.models import clip
from clipjax.models.config import CLIP
from clipjax.models.lowering import Lowering

DTYPES = ("float32", "bfloat16")
FEATURES = ("proj", "pre_proj")  # after and before the projection into the joint embedding
MAPPINGS = ("shard_map", "pmap")
PLACEMENTS = ("replicated", "fsdp")
PROGRAMS = 16  # kept: of about six models; parameters are not part of a program
WRITERS = 4  # threads that bring parameters into the form of the devices: more wait for the memory
TEXT_LENGTHS = 8  # texts are cut to a multiple of this: at most context_length / 8 programs are compiled


def arithmetic(mesh: Mesh, dtype: str) -> str:
    """What changes a feature's last digits besides the compute dtype: kind of device, JAX's products, cuDNN's kernels.

    Float32 products are TF32 on an NVIDIA card and bfloat16 passes on a TPU unless `jax_default_matmul_precision`
    says otherwise: 1e-3 of the largest number (experiments/gpu), so features of one are never taken for another's.
    """
    parts = [mesh.devices.flat[0].device_kind]
    if products := jax.config.jax_default_matmul_precision:  # pyrefly: ignore[missing-attribute]
        parts.append(f"{products} products")
    if gpu.has_cudnn(mesh, dtype):
        parts.append("cuDNN")
    return ", ".join(parts)


@functools.lru_cache(PROGRAMS)
def program(
    config: CLIP, feature: str, dtype: jnp.dtype, mesh: Mesh, mapping: str, specs: tuple[tuple[str, P], ...],
    transposed: frozenset[str], lowering: Lowering, options: tuple[tuple[str, Any], ...],
) -> Callable:  # fmt: skip
    """The jitted `(flat parameters, rows) -> features` of one encoder; `feature` is one of FEATURES or "text".

    It is kept here, not by the encoder, because tracing and loading it takes most of a short run: all models of one
    configuration use the same one, with their own parameters.
    """
    cut = dict(specs)

    def encode(params: clip.Params, rows: jax.Array) -> jax.Array:
        if feature == "text":
            return clip.apply_text(config, params, rows, dtype, lowering=lowering).astype(jnp.float32)
        intermediates: dict[str, jax.Array] = {}
        if rows.dtype == jnp.uint8:
            mean, std = np.asarray(config.pixels.mean, np.float32), np.asarray(config.pixels.std, np.float32)
            rows = (rows.astype(jnp.float32) / 255 - mean) / std  # torchvision's operations, in its order
        out = clip.apply_image(config, params, rows.astype(dtype), intermediates, lowering)
        return (out if feature == "proj" else intermediates["pre_proj"]).astype(jnp.float32)

    def nested(flat: dict[str, jax.Array]) -> clip.Params:  # flat on the way, because specs are by name
        return clip.unflatten({k: v.T if k in transposed else v for k, v in flat.items()})

    if mapping == "pmap":
        return parallel.pmapped(lambda flat, rows: encode(nested(flat), rows), mesh, dict(options))

    def gathered(flat: dict[str, jax.Array], rows: jax.Array) -> jax.Array:
        return encode(nested({k: parallel.whole(v, cut[k]) for k, v in flat.items()}), rows)

    return parallel.mapped(gathered, mesh, cut, dict(options))


class Encoder:
    """Both encoders of one model on a mesh.

    Parameters go to the devices once, in float32: whole on each ("replicated"), or cut by path rules and gathered
    layer by layer as they are needed ("fsdp"). `dtype` is the compute dtype; LayerNorm, BatchNorm and softmax stay
    in float32 and features come back in float32.

    `batch_size` counts rows per device. With `full_batches` every batch has exactly that many, so that a row's
    features do not depend on how many rows or devices there are; without, a small input compiles a small program.
    On several hosts each brings its own rows, all make the same number of calls, and each gets its rows back.
    """

    def __init__(
        self,
        config: CLIP,
        params: clip.Params,
        *,
        dtype: str = "float32",
        batch_size: int = 64,
        mesh: Mesh | None = None,
        full_batches: bool = False,
        mapping: str = "shard_map",
        placement: str = "replicated",
    ):
        for name, value, choices in (
            ("compute dtype", dtype, DTYPES),
            ("mapping", mapping, MAPPINGS),
            ("parameter placement", placement, PLACEMENTS),
        ):
            if value not in choices:
                raise InputError(f"unknown {name} {value!r}; choose {' or '.join(choices)}")
        if batch_size < 1:
            raise InputError(f"batch size {batch_size} is not positive")
        if (mapping, placement) == ("pmap", "fsdp"):
            raise InputError("the pmap adapter holds whole parameters on each device; fsdp needs shard_map")
        clip.check(config, clip.flatten(params), "params")
        self.config, self.params, self.batch_size = config, params, batch_size
        self.mesh = parallel.data_mesh() if mesh is None else mesh
        self.full_batches = full_batches
        self._dtype, self._mapping, self._placement = jnp.dtype(dtype), mapping, placement

    @property
    def rows_per_step(self) -> int:
        """How many rows this host brings to one step with full batches."""
        return self.batch_size * self.mesh.local_mesh.size

    def images(self, pixels: np.ndarray | jax.Array, feature: str = "proj") -> np.ndarray:
        """pixels [B, S, S, 3] -> raw features float32 [B, E], or [B, D] for "pre_proj".

        Pixels are normalised floats, or uint8 as cropped: a quarter of the bytes on the way, normalised on the device.
        "pre_proj" is what the CLIP paper's linear probes read (appendix A.3): a ViT's class token after ln_post, a
        ResNet's attention pool before its output projection.
        """
        return self.start(pixels, feature)()

    def start(self, pixels: np.ndarray | jax.Array, feature: str = "proj") -> Callable[[], np.ndarray]:
        """As `images`, but returns as soon as the work is started; calling the result waits for it.

        With one call started in advance, decoding, the transfer to the device and its work overlap.
        """
        size = self.config.image.image_size
        pixels = np.asarray(pixels)
        if pixels.ndim != 4 or pixels.shape[1:] != (size, size, 3):
            raise InputError(f"pixels are {pixels.shape}; this model takes [B, {size}, {size}, 3] (model.preprocess)")
        if pixels.dtype != np.uint8:
            if pixels.dtype.kind != "f":
                raise InputError(f"pixels are {pixels.dtype}; this model takes normalised floats (model.preprocess)")
            pixels = pixels.astype(np.float32, copy=False)
        return self._run(self._image_program(feature), self._visual, pixels, self.width(feature))

    def texts(self, tokens: np.ndarray | jax.Array) -> np.ndarray:
        """tokens int [B, T] -> raw features float32 [B, E].

        Texts are truncated after what their features depend on (`TextEncoderConfig.lengths`), so this is exact, and
        prompts of 10 tokens cost a fifth of 77. A text that comes twice is encoded once, and more texts than one
        batch are sorted into batches of one length. On several hosts all must bring as many texts, of one length.
        """
        return self.start_texts(tokens)()

    def start_texts(self, tokens: np.ndarray | jax.Array) -> Callable[[], np.ndarray]:
        """As `texts`, but if they fit one batch it returns as soon as the work is started; see `start`."""
        context, vocabulary = self.config.text.context_length, self.config.text.vocab_size
        tokens = np.asarray(tokens)
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or tokens.shape[1] > context:
            raise InputError(f"tokens are {tokens.dtype} {tokens.shape}; this model takes ints [B, {context}]")
        if tokens.size and (tokens.min() < 0 or tokens.max() >= vocabulary):
            raise InputError(f"token id {tokens.max()} is outside this model's vocabulary of {vocabulary}")
        if not tokens.size:
            return lambda: np.zeros((0, self.config.embed_dim), np.float32)
        tokens = tokens.astype(np.int32, copy=False)
        lengths = np.minimum(-(-self.config.text.lengths(tokens) // TEXT_LENGTHS) * TEXT_LENGTHS, tokens.shape[1])
        if jax.process_count() > 1 or len(tokens) <= self.rows_per_step:
            return self._start_texts(tokens[:, : lengths.max()])
        distinct, first, place = np.unique(tokens, axis=0, return_index=True, return_inverse=True)
        out = np.empty((len(distinct), self.config.embed_dim), np.float32)
        for length in np.unique(lengths):
            same = np.flatnonzero(lengths[first] == length)
            out[same] = self._start_texts(distinct[same, :length])()
        return lambda: out[place.ravel()]

    def _start_texts(self, tokens: np.ndarray) -> Callable[[], np.ndarray]:
        return self._run(self._text_program, self._textual, tokens, self.config.embed_dim)

    def width(self, feature: str) -> int:
        """Length of one image feature."""
        if feature not in FEATURES:
            raise InputError(f"unknown feature {feature!r}; choose {' or '.join(FEATURES)}")
        return self.config.image.feature_width(feature, self.config.embed_dim)

    def image_step(self, feature: str = "proj") -> tuple[Callable, tuple[dict[str, Any], jax.ShapeDtypeStruct]]:
        """The jitted program that `images` runs on one full batch, and the shapes and layouts of its arguments.

        For compiling without running: nothing is allocated, the parameters may be `jax.ShapeDtypeStruct`s
        (`clip.abstract`) and the mesh one of devices that are described only.
        """
        flat = self._visual_params
        specs, transposed = self._specs(flat), self._transposed(flat)
        params = {
            k: jax.ShapeDtypeStruct(
                v.shape[::-1] if k in transposed else v.shape, jnp.float32, sharding=NamedSharding(self.mesh, specs[k])
            )
            for k, v in flat.items()
        }
        size = self.config.image.image_size
        shape = (self.batch_size * self.mesh.size, size, size, 3)
        return self._image_program(feature), (
            params,
            jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=parallel.by_rows(self.mesh)),
        )

    def _image_program(self, feature: str) -> Callable:
        lowering = Lowering(separate_blocks=self._on_cpu, cudnn=gpu.has_cudnn(self.mesh, self._dtype))
        return self._program(feature, self._visual_params, lowering)

    @functools.cached_property
    def _text_program(self) -> Callable:
        return self._program("text", self._textual_params, clip.PLAIN)

    def _program(self, feature: str, flat: dict[str, Any], lowering: Lowering) -> Callable:
        specs, transposed = tuple(sorted(self._specs(flat).items())), self._transposed(flat)
        options = cpu.options(bool(transposed)) if self._on_cpu else {}
        return program(
            self.config, feature, self._dtype, self.mesh, self._mapping, specs, transposed, lowering,
            tuple(options.items()),
        )  # fmt: skip

    def _transposed(self, flat: dict[str, Any]) -> frozenset[str]:
        """Parameters that lie on the devices as [out, in]: on a CPU, where a product may have few rows."""
        if not self._on_cpu:
            return frozenset()
        encoder = self.config.image if any(name.startswith("visual.") for name in flat) else self.config.text
        return cpu.transposed(flat, (self.batch_size if self.full_batches else 1) * encoder.tokens)

    @property
    def _on_cpu(self) -> bool:
        # A mesh without devices (jax.sharding.AbstractMesh) describes a machine that is not available.
        return isinstance(self.mesh, Mesh) and self.mesh.devices.flat[0].platform == "cpu"

    def _specs(self, flat: dict[str, Any]) -> dict[str, P]:
        """Where each parameter lies, in the axes it has on the devices."""
        if self._placement == "replicated":
            return dict.fromkeys(flat, P())
        specs = parallel.fsdp_specs(flat, self.mesh)
        return specs | {k: P(*(*specs[k], None, None)[1::-1]) for k in self._transposed(flat)}

    @property
    def _visual_params(self) -> dict[str, Any]:
        return clip.flatten({"visual": self.params["visual"]})

    @property
    def _textual_params(self) -> dict[str, Any]:
        return clip.flatten(clip.text_params(self.params))

    @functools.cached_property
    def _visual(self) -> dict[str, jax.Array]:
        return self._on_devices(self._visual_params)

    @functools.cached_property
    def _textual(self) -> dict[str, jax.Array]:
        return self._on_devices(self._textual_params)

    def _on_devices(self, flat: dict[str, Any]) -> dict[str, jax.Array]:
        specs, transposed = self._specs(flat), self._transposed(flat)

        def placed(name: str) -> np.ndarray:
            array = np.asarray(flat[name])
            return cpu.placed(array, name in transposed) if self._on_cpu else array.astype(np.float32, copy=False)

        with ThreadPoolExecutor(min(WRITERS, os.cpu_count() or 1)) as pool:
            arrays = dict(zip(flat, pool.map(placed, flat), strict=True))
        if self._placement == "fsdp":  # every host holds the whole file; each device is given its own share
            return {
                k: jax.make_array_from_callback(v.shape, NamedSharding(self.mesh, specs[k]), lambda i, v=v: v[i])
                for k, v in arrays.items()
            }
        return {k: parallel.to_devices(v, parallel.replicated(self.mesh)) for k, v in arrays.items()}

    def _run(self, program: Callable, params: Any, rows: np.ndarray, width: int) -> Callable[[], np.ndarray]:
        """Equal batches, the last one padded with copies of a row (an empty one with zeros).

        Each is sent while the previous one is computed: never more than two are on the devices.
        """
        devices = self.mesh.local_mesh.size
        per_device = self.batch_size
        if not self.full_batches:
            per_device = min(per_device, _grid(-(-len(rows) // devices)))
        batch = per_device * devices
        out = np.zeros((len(rows), width), np.float32)
        pending: deque[tuple[int, int, Any]] = deque()

        def collect() -> None:
            start, count, features = pending.popleft()
            out[start : start + count] = parallel.from_devices(features)[:count]

        for start in range(0, max(len(rows), int(self.full_batches)), batch):
            part = rows[start : start + batch]
            count = len(part)
            if count < batch:
                filler = part[-1:] if count else np.zeros((1, *rows.shape[1:]), rows.dtype)
                part = np.concatenate([part, np.repeat(filler, batch - count, axis=0)])
            features = program(params, parallel.to_devices(part, parallel.by_rows(self.mesh)))
            pending.append((start, count, features))
            if len(pending) > self._most_pending:
                collect()

        def result() -> np.ndarray:
            while pending:
                collect()
            return out

        return result

    @property
    def _most_pending(self) -> int:
        # Virtual devices of one CPU are not given two programs at once: jaxlib 0.10 can lock up.
        return 0 if self._on_cpu and self.mesh.size > 1 else 1


def _grid(rows: int) -> int:
    """The smallest size of a program for so many rows: powers of two, and from eight on four sizes per doubling."""
    whole = 1 << max(rows - 1, 0).bit_length()
    unit = whole // 8 if whole > 8 else whole
    return -(-max(rows, 1) // unit) * unit
