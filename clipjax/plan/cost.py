"""What a run over many images takes: hours of chips and of cores that decode, bytes that are read and kept, money."""

from __future__ import annotations

from typing import Any

from clipjax.errors import InputError

SHARE = 0.4  # of the bound that is planned with: one H200 reached 37% and 48% of it (experiments/gpu)
DECODED = 464.0  # JPEG images of 500 x 375 that one core decodes per second (benchmarks/RESULTS.md)
IMAGE = 49_400.0  # bytes of such an image
ROW = 70.0  # bytes of an image in rows and predictions without probabilities; 48 are uid and sha256, not compressible


def check(images: float, image_bytes: float, price: float) -> None:
    """InputError for a number that cannot be an amount."""
    for option, value in (("--images", images), ("--image-bytes", image_bytes)):
        if not 1 <= value < 1e15:
            raise InputError(f"{option}={value:g} is not a number from 1 to 10^15; for example --images=1e9")
    if not 0 <= price < float("inf"):
        raise InputError(f"--price={price:g} is not a price; give that of one chip for one hour")


def cost(
    rate: float, images: float, width: int, decode: float, image_bytes: float, price: float, rows: int
) -> dict[str, Any]:
    """Of so many images. rate: images/s that one chip computes at most; width: numbers of one feature; decode:
    images/s that one core decodes; price: of a chip for an hour, in any currency; rows: images of a unit of work."""
    hours = images / rate / 3600
    return {
        "images": images,
        "units": -(-int(images) // rows),
        "unit_rows": rows,
        "chip_hours": {"bound": hours, "planned": hours / SHARE},
        "decode_core_hours": images / decode / 3600,
        "cores_per_chip": {"bound": rate / decode, "planned": rate * SHARE / decode},
        "feature_bytes": {"float16": 2.0 * width * images, "float32": 4.0 * width * images},
        "row_bytes": ROW * images,
        "read_bytes": image_bytes * images,
        "read_bytes_per_second_per_chip": {"bound": image_bytes * rate, "planned": image_bytes * rate * SHARE},
        "price": {"bound": hours * price, "planned": hours / SHARE * price} if price else None,
    }


def as_text(found: dict[str, Any]) -> str:
    """Lines for a terminal."""
    hours, cores, read = found["chip_hours"], found["cores_per_chip"], found["read_bytes_per_second_per_chip"]
    kept = found["feature_bytes"]
    rows = [
        ("chips", f"{hours['bound']:,.1f} hours at the bound, {hours['planned']:,.1f} at {SHARE:.0%} of it"),
        ("decoding", f"{found['decode_core_hours']:,.0f} core hours; {cores['bound']:,.1f} cores a chip at the bound, "
                     f"{cores['planned']:,.1f} at {SHARE:.0%}"),
        ("reading", f"{_bytes(found['read_bytes'])}; {_bytes(read['planned'])}/s a chip at {SHARE:.0%}"),
        ("features", f"{_bytes(kept['float16'])} as float16, {_bytes(kept['float32'])} as float32"),
        ("rows", f"{_bytes(found['row_bytes'])} with predictions, in {found['units']:,} units of "
                 f"{found['unit_rows']:,} images"),
    ]  # fmt: skip
    if found["price"]:
        rows.append(("price", f"{found['price']['bound']:,.0f} to {found['price']['planned']:,.0f}"))
    return "\n".join([f"{found['images']:,.0f} images", *(f"  {name:<12}  {value}" for name, value in rows)])


def _bytes(number: float) -> str:
    for unit, scale in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}"
    return f"{number:,.0f} B"
