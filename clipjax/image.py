"""Images in: reading files, and OpenAI's preprocessing bit for bit, on Pillow and numpy alone.

The reference is `clip.clip._transform` of https://github.com/openai/CLIP over torchvision:
Resize(n, bicubic) -> CenterCrop(n) -> convert("RGB") -> ToTensor -> Normalize. The colour conversion comes
*after* the crop, so every image is resampled in the mode it was opened in. What that means, all of it
kept because published numbers were computed this way:

- 1 and P (also with transparency): Pillow resamples them with NEAREST; transparency is ignored.
- LA, RGBA: resampled with premultiplied alpha, then alpha is dropped: no compositing, what lies under
  fully transparent pixels comes out black when resized and as stored when not. For artwork on a known
  background, composite first (`Image.alpha_composite`).
- PA: Pillow loses the palette when it resamples, so every resized image comes out black. Convert to RGBA
  first if that is not wanted; an image already n x n is unharmed.
- CMYK, YCbCr, LAB, HSV, RGBX, RGBa: resampled in their own space, then converted.
- I, I;16 (and L, B, N variants), F: resampled at full depth, then *clipped* to 0..255, not rescaled: most
  16-bit greyscale images turn white. So this holds only for images that a caller opened with Pillow. `open_image`,
  which reads every file of every verb, scales 16-bit greyscale to 8 bits as its format defines, says so once, and
  refuses samples whose range the file does not say (32-bit integers, floats, signed 16-bit).
- La (premultiplied grey, made only by code): OpenAI's transform fails; here it is an InputError.

EXIF orientation is not applied, as in OpenAI's code; `PIL.ImageOps.exif_transpose` does it.

"Bit for bit" means: beside OpenAI's transform on the same Pillow. Pillow 13 shrinks images more than twice
as tall as wide down first and across second (its pull request 9549), earlier releases the other way round:
one or two levels of 255 apart in a quarter of their values, more where alpha is low. All other images agree
from Pillow 11.0 to 13.0. Whoever compares numbers to the last digit records the Pillow version with them.
"""

import importlib.util
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError

from clipjax import signatures
from clipjax.errors import InputError, brief, converted, one_line, some
from clipjax.files import lines
from clipjax.progress import say

# To be raised when a file gives other pixels than before: features in caches are then not used.
READING = 2

# A constant, not Pillow's registry: that one also claims .pdf, .mpg and .hdf, and loads every plugin.
# fmt: off
SUFFIXES = frozenset({
    ".avif", ".bmp", ".dib", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx", ".pbm",
    ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp",
})
# fmt: on
# What is opened, whatever the suffix. Not all that Pillow knows: for EPS it starts Ghostscript, which is a programming
# language, and its other rare readers have seen little hostile input. TGA has no signature and comes last.
FORMATS = (
    "JPEG",
    "PNG",
    "GIF",
    "BMP",
    "DIB",
    "PPM",
    "WEBP",
    "TIFF",
    "JPEG2000",
    "ICO",
    "QOI",
    *(("AVIF",) if importlib.util.find_spec("PIL.AvifImagePlugin") else ()),  # Pillow 11.3
    "TGA",
)  # fmt: skip

# Modes that Pillow resamples as they are; it premultiplies alpha around a whole resize, and 1 and P go by NEAREST.
_SEPARABLE = ("L", "RGB")


# Greyscale of more than 8 bits, and the two tags of a TIFF that say what its values mean.
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_BITS, _PHOTOMETRIC = 258, 262
_SAID: set[str] = set()


@dataclass(frozen=True)
class Preprocess:
    """What a model expects of an image: a square of `image_size` pixels, (x / 255 - mean) / std per channel.

    The model catalogue, or the weights file itself, supplies them; what is not given is OpenAI's transform. Lists
    become tuples, so that a specification read from a file compares and hashes as the one it was written from.

    resize: "shortest": the short side to `image_size`, the centre cropped; "squash": both sides to it; "longest": the
        long side to it, in the middle of a square of the level `fill` (of every band of the image's own mode).
    interpolation: "bicubic" or "bilinear", antialiased.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str = "shortest"
    interpolation: str = "bicubic"
    fill: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        if self.image_size < 1:
            raise InputError(f"image_size must be at least 1 pixel, got {self.image_size}")
        if len(self.mean) != 3 or len(self.std) != 3:
            raise InputError(f"mean and std need three values (R, G, B), got {self.mean} and {self.std}")
        if min(self.std) <= 0:
            raise InputError(f"std must be positive in every channel, got {self.std}")
        if self.resize not in ("shortest", "squash", "longest") or self.interpolation not in ("bicubic", "bilinear"):
            raise InputError(f"unknown resize {self.resize!r} or interpolation {self.interpolation!r}")

    @property
    def resampling(self) -> Image.Resampling:
        """Pillow's filter."""
        return Image.Resampling[self.interpolation.upper()]


def preprocess(images: Image.Image | Iterable[Image.Image], spec: Preprocess, threads: int | None = None) -> np.ndarray:
    """OpenAI's transform of one image or several: normalised float32 [N, H, W, 3], H = W = image_size.

    `threads` is the number of images worked on at once (None: one per usable processor); Pillow and numpy
    release the interpreter lock, and order never depends on it. An image opened lazily is decoded here.
    Raises InputError, naming the image, where it is not an image, empty, damaged, so elongated that its
    resized form would exceed Pillow's own pixel limit, or of a mode OpenAI's transform fails on.
    """
    return _batch(images, spec, threads, np.float32, lambda crop: normalise(crop, spec))


def preprocess_uint8(
    images: Image.Image | Iterable[Image.Image], spec: Preprocess, threads: int | None = None
) -> np.ndarray:
    """The crop before normalisation: uint8 [N, H, W, 3], a quarter of the bytes to send to a device.

    `normalise(preprocess_uint8(images, spec), spec)` equals `preprocess(images, spec)`. Arguments and errors
    as there.
    """
    return _batch(images, spec, threads, np.uint8, lambda crop: crop)


def normalise(pixels: np.ndarray, spec: Preprocess) -> np.ndarray:
    """Bring uint8 [..., 3] into the model's range: float32 of the same shape.

    Three float32 operations in torchvision's order (ToTensor divides by 255, Normalize subtracts, then
    divides). Folding them into one multiply-add is faster and differs in the last bit.
    """
    assert pixels.dtype == np.uint8, pixels.dtype
    assert pixels.shape[-1:] == (3,), pixels.shape
    values = pixels.astype(np.float32)
    values /= np.float32(255)
    values -= np.asarray(spec.mean, np.float32)
    values /= np.asarray(spec.std, np.float32)
    return values


def open_image(source: str | os.PathLike | BinaryIO) -> Image.Image:
    """Open and fully decode one image of FORMATS, in its own mode; of an animation, the first frame.

    Greyscale of 16 (or 12) bits comes back as 8 bits (mode L), black and white where the format puts them. EXIF
    orientation is not applied (OpenAI's code does not). Pillow's limit on decompression bombs stays in force. The
    file is closed on return when it was given by path; a stream stays the caller's. Raises InputError with one line
    that names the file and the remedy, also for samples of 32 bits, floats and signed ones: their range is unknown.
    """
    is_path = isinstance(source, str | os.PathLike)
    name = os.fspath(source) if is_path else getattr(source, "name", None) or "the given stream"
    try:
        with Image.open(source, formats=FORMATS) as image:
            image.load()
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file; check the path") from error
    except IsADirectoryError as error:
        raise InputError(f"{name} is a folder, not an image; name one image in it") from error
    except PermissionError as error:
        raise InputError(f"{name} cannot be read: permission denied; check its access rights") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{name} is refused: {one_line(error)} Shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust the file"
        ) from error
    except UnidentifiedImageError as error:
        if leftover := signatures.refusal(_head(source), name, "an image"):
            raise leftover from error
        raise InputError(
            f"{name} is not an image that Pillow {PIL.__version__} can read as {', '.join(FORMATS)}, whatever its"
            " suffix; convert it to PNG or JPEG"
        ) from error
    # Pillow's plugins leak struct.error, IndexError, zlib.error and others from a damaged file.
    except Exception as error:
        raise InputError(
            f"{name} cannot be decoded ({one_line(error)}): damaged or incomplete; fetch or copy it again"
        ) from error
    return _eight_bits(image, str(name)) if image.mode in _DEEP else image


def _head(source: str | os.PathLike | BinaryIO) -> bytes:
    if isinstance(source, str | os.PathLike):
        return signatures.head(source)
    source.seek(0)
    return source.read(signatures.HEAD)


def from_array(pixels: np.ndarray, name: str) -> Image.Image:
    """An image of decoded samples [H, W] or [H, W, channels], 8 bits (or 16 of grey) each, as `open_image` gives it."""
    problem = f"{name}: {pixels.dtype} {list(pixels.shape)} is not an image"
    with converted(problem, "store uint8 [H, W, 3], or a PNG", TypeError):
        image = Image.fromarray(pixels)
    return _eight_bits(image, name) if image.mode in _DEEP else image


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Greyscale samples of more than 8 bits as the file means them: 0 is black, the format's largest value white."""
    # Of PNG and PPM, mode I is 16 bits as well, which Pillow has scaled to 65535.
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        kind = "floating-point" if image.mode == "F" else "32-bit or signed"
        raise InputError(
            f"{name} has {kind} samples, and the file does not say which values are black and white; save it as an "
            "8-bit or unsigned 16-bit image first"
        )
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    largest = 4095 if tags.get(_BITS) == (12,) else 65535
    values = np.asarray(image).clip(0, largest).astype(np.uint32)
    scaled = ((values * 510 + largest) // (2 * largest)).astype(np.uint8)  # rounded
    if tags.get(_PHOTOMETRIC) == 0:  # "white is zero", which Pillow inverts for 8 bits only
        scaled = 255 - scaled
    _say_once(f"{brief(name, 200)} has 16-bit greyscale, read as 8 bits (OpenAI's own transform clips it to white)")
    return Image.fromarray(scaled)


def _say_once(note: str) -> None:
    """A note about the first image of its kind: thousands of lines would hide the rest."""
    kind = note.partition(" has ")[2]
    if kind not in _SAID:
        _SAID.add(kind)
        say(f"note: {note}; said once")


@dataclass(frozen=True)
class Listing:
    """Image files in order, and what lies beside them: suffix (lower case, "" for none) -> number of files."""

    files: list[Path]
    passed_over: Mapping[str, int]


def find_images(path: str | os.PathLike) -> list[Path]:
    """The files of `list_images`."""
    return list_images(path).files


def list_images(path: str | os.PathLike) -> Listing:
    """The image files that `path` stands for.

    A folder: every file below it with a suffix in SUFFIXES, links followed, hidden files and folders skipped, sorted
    by path; other files are counted. An image file, whatever its suffix: itself. Any other file: a UTF-8 list with
    one path a line, relative to the list's own folder, kept in the list's order with its repetitions; blank lines are
    skipped, and so is nothing else: a file of any suffix may be named. Content is not checked, nor whether a listed
    file exists. Raises InputError where nothing is found or no file of a list exists.
    """
    path = Path(path)
    if path.is_dir():
        passed_over: Counter[str] = Counter()
        files = sorted(_walk(path, passed_over))
        if not files:
            also = f"; {note}" if (note := passed_over_note(path, passed_over)) else ""
            raise InputError(f"{path} holds no images (looked for {', '.join(sorted(SUFFIXES))}){also}")
        return Listing(files, passed_over)
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder; give a folder of images, or a list of paths")
    if path.suffix.lower() in SUFFIXES or _is_image(path):
        return Listing([path], {})
    return Listing(_read_list(path), {})


def passed_over_note(where: str | os.PathLike, passed_over: Mapping[str, int]) -> str:
    """One line about the files of a folder that were not read because of their suffix; "" where there are none."""
    if not passed_over:
        return ""
    ranked = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    names = some([f"{suffix or 'no suffix'} {n}" for suffix, n in ranked])
    total = sum(passed_over.values())
    return (
        f"{os.fspath(where)}: passed over {total} file{'s' * (total > 1)} by suffix ({names}); an image under another "
        "suffix is read where a list or table names it, HEIC and JPEG XL after conversion to JPEG or PNG"
    )


def _is_image(path: Path) -> bool:
    """Whether the content is of a format that has a signature."""
    try:
        with Image.open(path, formats=[name for name in FORMATS if name != "TGA"]):
            return True
    except Exception:  # what open_image says about Pillow's plugins
        return False


def _walk(folder: Path, passed_over: Counter[str]) -> Iterable[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be listed ({error.strerror}); check its access rights")

    visited = set()  # links are followed, and may lead back to a folder above
    for root, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if suffix in SUFFIXES:
                yield Path(root, name)
            else:
                passed_over[suffix] += 1


def _read_list(path: Path) -> list[Path]:
    with (
        converted(f"{path} is neither an image nor a list in UTF-8", "write one path a line", UnicodeDecodeError),
        converted(f"{path} cannot be read", "check its access rights", OSError),
    ):
        listed = lines(path.read_bytes().decode("utf-8-sig"), path)
    entries = [path.parent / line.strip() for line in listed if line.strip()]
    if not entries:
        raise InputError(f"{path} lists no images; write one path a line")
    if not any(entry.is_file() for entry in entries):
        raise InputError(
            f"{path}: none of its {len(entries)} entries is a file ({some([str(e) for e in entries], 3)}); paths are "
            "relative to the list's folder"
        )
    return entries


def _batch(
    images: Image.Image | Iterable[Image.Image],
    spec: Preprocess,
    threads: int | None,
    dtype: type[np.generic],
    finish: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    images = [images] if isinstance(images, Image.Image) else list(images)
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}")
    # An image given twice is decoded here: two threads must not read one lazily opened file at once.
    occurrences = Counter(map(id, images))
    for index, image in enumerate(images):
        if occurrences[id(image)] > 1:
            _decode(image, _label(image, index))

    out = np.empty((len(images), spec.image_size, spec.image_size, 3), dtype)

    def work(index: int) -> None:
        image = images[index]
        out[index] = finish(np.asarray(_square(image, spec, _label(image, index))))

    workers = min(threads or usable_processors(), len(images))
    if workers <= 1:
        for index in range(len(images)):
            work(index)
    else:
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(work, range(len(images))):
                pass
    return out


def _square(image: Image.Image, spec: Preprocess, label: str) -> Image.Image:
    """The image in RGB, of the specification's size."""
    _decode(image, label)
    if image.mode in _DEEP:
        _say_once(f"{label} has mode {image.mode}, clipped to 0..255 as OpenAI does (open_image scales 16 bits)")
    mode, size = image.mode, spec.image_size
    try:
        if spec.resize == "shortest":
            image = _cropped(image, size, spec.resampling, label)
        elif spec.resize == "longest":
            image = _padded(image, size, spec, label)
        elif image.size != (size, size):
            image = image.resize((size, size), spec.resampling)
        # Colour conversion would only warn about it: the pixels do not depend on it.
        image.info.pop("transparency", None)
        return image.convert("RGB")
    except (ValueError, ImportError) as error:
        raise InputError(
            f"{label} has mode {mode}, which OpenAI's transform cannot turn into RGB ({one_line(error)});"
            " convert it to LA or RGB first (image.convert)"
        ) from error


def _cropped(image: Image.Image, size: int, filter_: Image.Resampling, label: str) -> Image.Image:
    """The short side at `size`, and the centre of that."""
    width, height = _resized_size(image.width, image.height, size)
    limit = 2 * Image.MAX_IMAGE_PIXELS if Image.MAX_IMAGE_PIXELS else None
    if limit and width * height > limit:
        raise InputError(
            f"{label} is {image.width} x {image.height}: with its shortest side at {size} it becomes {width} x"
            f" {height}, over the limit of {limit} pixels (2 x PIL.Image.MAX_IMAGE_PIXELS); crop it first"
        )
    # torchvision's CenterCrop, Python's rounding of halves to even included. Its zero padding cannot occur:
    # after Resize no side is shorter than the crop.
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    resized = image.size == (width, height)
    if not resized and image.mode in _SEPARABLE and width != height and image.height <= 2 * image.width:
        return _resize_within(image, (width, height), (left, top), size, filter_)
    if not resized:
        image = image.resize((width, height), filter_)
    return image.crop((left, top, left + size, top + size))


def _padded(image: Image.Image, size: int, spec: Preprocess, label: str) -> Image.Image:
    """The long side at `size`, in the middle of a square of `spec.fill`, with open_clip's roundings."""
    ratio = max(image.height / size, image.width / size)
    width, height = round(image.width / ratio), round(image.height / ratio)
    if not width or not height:
        raise InputError(f"{label} is {image.width} x {image.height}: nothing is left of its short side; crop it first")
    if image.size != (width, height):
        image = image.resize((width, height), spec.resampling)
    if image.size == (size, size):
        return image
    bands = len(image.getbands())
    square = Image.new(image.mode, (size, size), spec.fill if bands == 1 else (spec.fill,) * bands)
    if (palette := image.getpalette()) is not None:
        square.putpalette(palette)
    square.paste(image, ((size - width) // 2, (size - height) // 2))
    return square


def _resize_within(
    image: Image.Image, to: tuple[int, int], at: tuple[int, int], size: int, filter_: Image.Resampling
) -> Image.Image:
    """The crop [at, at + size) of `image` resized to `to`, without most of what the crop would throw away.

    Pillow resamples across first and down second, through an image of whole levels: two calls, one pass each, are
    the same arithmetic, and between them the columns (or before them the rows) that no pixel of the crop depends on
    can go. Not so Pillow's own means: `box` is float32 and moves the kernel's weights, `reducing_gap` and JPEG's draft
    mode average pixels first; each changes levels.
    """
    (width, height), (left, top) = to, at
    if width > height:
        across = image.resize((width, image.height), filter_)
        across = across.crop((left, 0, left + size, image.height))
        return across.resize((size, size), filter_)
    scale = image.height / height
    reach = 2 * max(scale, 1.0) + 1  # the wider kernel's, bicubic, and a row for rounding
    first = max(int((top + 0.5) * scale - reach), 0)
    last = min(int((top + size - 0.5) * scale + reach) + 1, image.height)
    strip = image.crop((0, first, image.width, last)).resize((size, last - first), filter_)
    across = Image.new(image.mode, (size, image.height))
    across.paste(strip, (0, first))
    return across.resize((size, height), filter_).crop((0, top, size, top + size))


def _resized_size(width: int, height: int, size: int) -> tuple[int, int]:
    # torchvision's _compute_resized_output_size, its float division included.
    if width <= height:
        return size, int(size * height / width)
    return int(size * width / height), size


def _decode(image: Image.Image, label: str) -> None:
    if not isinstance(image, Image.Image):
        remedy = "open_image opens a path, PIL.Image.fromarray takes an array"
        raise InputError(f"{label} is not a PIL image but {type(image).__name__}; {remedy}")
    if 0 in image.size:
        raise InputError(f"{label} has no pixels ({image.width} x {image.height}); leave it out")
    try:
        image.load()
    except Exception as error:  # what open_image says about Pillow's plugins
        raise InputError(
            f"{label} cannot be decoded ({one_line(error)}): damaged or incomplete; fetch or copy it again"
        ) from error


def _label(image: Image.Image, index: int) -> str:
    filename = getattr(image, "filename", "")
    return f"image {index} ({filename})" if filename else f"image {index}"


def usable_processors() -> int:
    """How many processors this process may use: a container is often given fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
