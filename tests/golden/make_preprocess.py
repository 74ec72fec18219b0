"""Make preprocess.npz: what OpenAI's own transform answers for pictures of every mode.

    python tests/golden/make_preprocess.py        # needs the extra [peers]

The pictures are a recipe (`picture`), so the file holds only answers: per case the crop at 16 px in full
(uint8) and the sha256 of the normalised float32 values at 224 px; the 768 normalised values there are; the
versions that made them.
"""

import hashlib
import io
import json
import platform
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

GOLDEN = Path(__file__).with_name("preprocess.npz")
SMALL, FULL = 16, 224

# Memory layout as Pillow's frombytes takes it: (mode, bytes per pixel).
RAW = {
    "L": 1, "LA": 2, "P": 1, "PA": 2, "RGB": 3, "RGBA": 4, "RGBX": 4, "RGBa": 4, "CMYK": 4, "YCbCr": 3,
    "LAB": 3, "HSV": 3, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2, "La": 2,
}  # fmt: skip
KINDS = (
    "1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16",
    "I;16L", "I;16B", "I;16N", "F", "P transparency index", "P transparency bytes", "L transparency",
    "RGB transparency", "png 16-bit grey", "png 16-bit grey alpha", "png 16-bit rgb", "png 16-bit rgba",
    "png 1-bit", "png 4-bit palette", "gif", "tiff I;16B", "tiff CMYK",
)  # fmt: skip
# Same size as the crop, odd margins on either side, upsampling from almost nothing, and a long strip.
SIZES = ((16, 16), (33, 20), (23, 64), (1, 1), (7, 1), (5, 100))


def texture(seed: str, height: int, width: int, channels: int) -> np.ndarray:
    """A ramp with a little noise, uint8 [H, W, C]: smooth enough to show shifts, rough enough to show bits.

    Noise comes from SHAKE-256 and the rest is integer arithmetic: the same bytes under every numpy.
    """
    count = height * width * channels
    noise = np.frombuffer(hashlib.shake_256(seed.encode()).digest(count), np.uint8)
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    ramp = (x * 7 * (c + 1) + y * 5 + 40 * c) % 224
    return (ramp + (noise >> 3).reshape(height, width, channels)).astype(np.uint8)


def alpha(seed: str, height: int, width: int) -> np.ndarray:
    """Transparency uint8 [H, W] with fully clear and fully opaque areas."""
    values = texture(seed + " alpha", height, width, 1)[..., 0]
    return np.where(values < 64, 0, np.where(values > 192, 255, values)).astype(np.uint8)


def picture(kind: str, width: int, height: int) -> Image.Image:
    """The picture of one of KINDS; those that name a file format went through that format's encoder."""
    seed = f"{kind} {width}x{height}"
    if kind.startswith("png 16-bit"):
        return _png_16(kind.removeprefix("png 16-bit "), seed, width, height)
    if kind == "png 1-bit":
        return _through("PNG", picture("1", width, height))
    if kind == "png 4-bit palette":
        image = _raw("P", texture(seed, height, width, 1) % 16)
        image.putpalette(texture(seed + " palette", 1, 16, 3).tobytes())
        return _through("PNG", image, bits=4, transparency=bytes(range(0, 256, 17)))
    if kind == "gif":
        return _through("GIF", picture("P", width, height), transparency=3)
    if kind.startswith("tiff"):
        return _through("TIFF", picture(kind.removeprefix("tiff "), width, height))
    mode, _, transparency = kind.partition(" transparency")
    image = _in_memory(mode, seed, width, height)
    if transparency == " bytes":
        image.info["transparency"] = bytes(range(256))
    elif kind.endswith(("transparency", "index")):
        image.info["transparency"] = tuple(image.convert("RGB").getpixel((0, 0))) if mode == "RGB" else 3
    return image


def _in_memory(mode: str, seed: str, width: int, height: int) -> Image.Image:
    if mode == "1":
        return Image.fromarray(texture(seed, height, width, 1)[..., 0] > 127)
    if mode == "I":  # below 0, inside and above 255
        return Image.fromarray(texture(seed, height, width, 1)[..., 0].astype(np.int32) * 3 - 200)
    if mode == "F":
        return Image.fromarray(texture(seed, height, width, 1)[..., 0].astype(np.float32) * 1.75 - 60.5)
    if mode.startswith("I;16"):  # both bytes in use, values around 255 so that clipping shows
        values = texture(seed, height, width, 1)[..., 0].astype("<u2") * 2
        return _raw(mode, values.astype(">u2" if mode.endswith("B") else "<u2"))
    pixels = texture(seed, height, width, RAW[mode])
    if mode in ("LA", "PA", "RGBA", "RGBa", "La"):
        pixels[..., -1] = alpha(seed, height, width)
    image = _raw(mode, pixels)
    if mode in ("P", "PA"):
        image.putpalette(texture(seed + " palette", 1, 256, 3).tobytes())
    return image


def _raw(mode: str, pixels: np.ndarray) -> Image.Image:
    image = Image.new(mode, (pixels.shape[1], pixels.shape[0]))
    image.frombytes(np.ascontiguousarray(pixels).tobytes())
    return image


def _through(file_format: str, image: Image.Image, **options: object) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return Image.open(io.BytesIO(stream.getvalue()))


def _png_16(layout: str, seed: str, width: int, height: int) -> Image.Image:
    # Pillow writes 16-bit PNG for grey only, so the file is put together here (PNG specification, 11.2).
    colour_type, channels = {"grey": (0, 1), "rgb": (2, 3), "grey alpha": (4, 2), "rgba": (6, 4)}[layout]
    high = texture(seed, height, width, channels)
    values = np.stack([high if channels > 1 else high // 100, texture(seed + " low", height, width, channels)], -1)
    rows = b"".join(b"\0" + row.tobytes() for row in values.reshape(height, -1))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    return Image.open(io.BytesIO(data + chunk(b"IEND", b"")))


def main() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clip imports the deprecated pkg_resources
        import clip.clip
        import torch
        import torchvision

        small, full = clip.clip._transform(SMALL), clip.clip._transform(FULL)
        to_uint8 = type(small)(small.transforms[:3])
        cases = [(kind, *size) for kind in KINDS for size in SIZES]
        crops = np.stack([np.asarray(to_uint8(picture(*case))) for case in cases])
        digests = []
        for case in cases:
            values = np.ascontiguousarray(full(picture(*case)).permute(1, 2, 0).numpy())
            digests.append(hashlib.sha256(values.tobytes()).hexdigest())

    grey = [Image.new("RGB", (1, 1), (v, v, v)) for v in range(256)]
    table = np.stack([clip.clip._transform(1)(image).numpy()[:, 0, 0] for image in grey])
    versions = {
        "python": platform.python_version(), "numpy": np.__version__, "pillow": PIL.__version__,
        "torch": torch.__version__, "torchvision": torchvision.__version__, "clip": "clip-anytorch",
    }  # fmt: skip
    np.savez_compressed(
        GOLDEN, cases=np.array(["/".join(map(str, case)) for case in cases]), crops=crops, table=table,
        sha256=np.array(digests), versions=np.array(json.dumps(versions)),
    )  # fmt: skip
    print(f"{GOLDEN.name}: {len(cases)} cases, {GOLDEN.stat().st_size} bytes, {versions}")


if __name__ == "__main__":
    main()
