"""Our preprocessing beside `clip.clip._transform` and open_clip's, over every mode, size and file format.

CLIPJAX_TEST_DATA=FOLDER adds the pictures of that folder (up to 400, spread evenly over all there are).
Each test prints how many pictures of which mode it compared, and the largest difference.
"""

import io
import os
import warnings
from collections import Counter

import numpy as np
import pytest
from golden.make_preprocess import KINDS, picture
from PIL import Image

from clipjax.errors import InputError
from clipjax.image import Preprocess, find_images, open_image, preprocess
from clipjax.models.catalog import OPENAI_MEAN, OPENAI_STD
from clipjax.models.inputs import INTERPOLATIONS

pytestmark = [pytest.mark.peers]

# Even and odd, the crop's own size, tiny, one-pixel lines, extreme strips, either orientation.
SIZES = (
    (224, 224), (336, 336), (225, 224), (224, 227), (223, 300), (640, 427), (333, 501), (64, 64), (17, 13),
    (1, 1), (2, 1), (1, 40), (40, 1), (3, 1000), (1000, 3), (1600, 90),
)  # fmt: skip
TARGETS = (224, 336)
# What an encoder of the format may lose is lost before the comparison: both sides read the same bytes.
FILES = [
    ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "1"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "P"),
    ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "I;16"), ("PNG", "P transparency bytes"), ("GIF", "L"),
    ("GIF", "P"), ("GIF", "RGBA"), ("TIFF", "RGBA"), ("TIFF", "RGBX"), ("TIFF", "CMYK"), ("TIFF", "YCbCr"),
    ("TIFF", "LAB"), ("TIFF", "I"), ("TIFF", "F"), ("TIFF", "I;16"), ("TIFF", "I;16B"), ("BMP", "RGB"),
    ("BMP", "P"), ("WEBP", "RGB"), ("WEBP", "RGBA"), ("TGA", "RGBA"), ("TGA", "LA"), ("PPM", "RGB"), ("PPM", "F"),
    ("JPEG2000", "RGBA"), ("ICO", "RGBA"),
]  # fmt: skip


@pytest.fixture(scope="module")
def transform():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clip imports the deprecated pkg_resources
        import clip.clip
    return clip.clip._transform


def compare(transform, pairs, size, counts, **resize) -> float:
    """Largest absolute difference over (our picture, their picture) pairs; counts grows by mode."""
    spec, theirs = Preprocess(size, OPENAI_MEAN, OPENAI_STD, **resize), transform(size)
    largest = 0.0
    for ours, reference in pairs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's advice on palette transparency, which OpenAI ignores
            expected = theirs(reference).permute(1, 2, 0).numpy()
        values = preprocess(ours, spec)[0]
        counts[ours.mode] += 1
        difference = np.abs(values - expected)
        assert np.isfinite(values).all()
        largest = max(largest, float(difference.max()))
    return largest


@pytest.fixture
def tell(capsys):
    def print_through(what: str, counts: Counter, largest: float) -> None:
        with capsys.disabled():
            modes = ", ".join(f"{mode} {n}" for mode, n in sorted(counts.items()))
            print(f"\n{what}: {sum(counts.values())} pictures ({modes}); largest difference {largest}")

    return print_through


def test_every_mode_and_size(transform, tell):
    counts: Counter = Counter()
    cases = [(kind, *size) for kind in KINDS for size in SIZES]
    largest = max(
        compare(transform, ((picture(*case), picture(*case)) for case in cases), size, counts) for size in TARGETS
    )
    tell("generated", counts, largest)
    assert sum(counts.values()) >= 200
    # Same Pillow, same float32 operations in the same order: nothing may differ, not even a last bit.
    assert largest == 0


@pytest.mark.parametrize("size", [96, 224])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("resize", "fill"), [("shortest", 0), ("squash", 0), ("longest", 0), ("longest", 117)])
def test_every_resize_of_open_clip(tell, resize, interpolation, fill, size):
    from open_clip.transform import image_transform

    def theirs(size):
        return image_transform(size, False, OPENAI_MEAN, OPENAI_STD, resize, interpolation, fill)

    counts: Counter = Counter()
    cases = list(pictures_for(resize, size, fill))
    pairs = ((picture(*case), picture(*case)) for case in cases)
    largest = compare(theirs, pairs, size, counts, resize=resize, interpolation=interpolation, fill=fill)
    tell(f"{resize}, {interpolation}, fill {fill}, {size} px", counts, largest)
    assert sum(counts.values()) >= 200
    assert largest == 0


def pictures_for(resize, target, fill):
    """(kind, width, height) of all that open_clip can prepare."""
    kinds = [kind for kind in KINDS if kind != "F"] if fill else KINDS  # torchvision pads no image of floats
    # Of the long strips nothing is left where the long side becomes the target: open_clip fails, clipjax refuses them.
    sizes = [s for s in SIZES if resize != "longest" or round(target * min(s) / max(s))]
    return ((kind, *size) for kind in kinds for size in sizes)


def registry_transforms():
    """What prepares the images of open_clip's registry: its distinct (resize, interpolation, fill, mean, std, size)."""
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict
    from support import peer_registry

    found = set()
    for architecture, tag in peer_registry.pairs():
        pretrained = peer_registry.get_pretrained_cfg(architecture, tag)
        said = merge_preprocess_dict(PreprocessCfg(), pretrained)
        size = peer_registry.hub_file(architecture, tag)["model_cfg"]["vision_cfg"]["image_size"]
        fixed = (said["resize_mode"], said["interpolation"], said["fill_color"])
        found.add((*fixed, tuple(said["mean"]), tuple(said["std"]), size))
    return sorted(found)


def test_every_transform_of_open_clips_registry(tell):
    """At its own size and statistics; what is resized how is among the combinations of the test above."""
    from open_clip.transform import image_transform

    every = registry_transforms()
    counts: Counter = Counter()
    largest = 0.0
    for resize, interpolation, fill, mean, std, size in every:
        theirs = image_transform(size, False, mean, std, resize, interpolation, fill)
        spec = Preprocess(size, mean, std, resize=resize, interpolation=interpolation, fill=fill)
        for case in list(pictures_for(resize, size, fill))[::7]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's advice on palette transparency
                expected = theirs(picture(*case)).permute(1, 2, 0).numpy()
            counts[case[0]] += 1
            largest = max(largest, float(np.abs(preprocess(picture(*case), spec)[0] - expected).max()))
    kinds = sorted({one[:3] for one in every})
    tried = {(resize, interpolation, 0) for resize in ("shortest", "squash") for interpolation in INTERPOLATIONS}
    assert set(kinds) <= tried
    tell(f"{len(every)} transforms of the registry; {kinds}, {len({one[3:5] for one in every})} statistics, "
         f"{len({one[5] for one in every})} sizes", counts, largest)  # fmt: skip
    assert largest == 0


def test_a_batch_is_the_same_as_one_at_a_time(transform):
    images = [picture(kind, *size) for kind in KINDS for size in ((33, 20), (17, 90), (224, 224))]
    theirs = transform(96)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.stack([theirs(image).permute(1, 2, 0).numpy() for image in images])
    values = preprocess(images, Preprocess(96, OPENAI_MEAN, OPENAI_STD), threads=8)
    np.testing.assert_array_equal(values, expected)


def test_files_opened_by_us_and_by_pillow(transform, tell, tmp_path):
    counts: Counter = Counter()
    largest = 0.0
    for file_format, kind in FILES:
        for size in ((300, 231), (224, 224), (31, 90)):
            stream = io.BytesIO()
            picture(kind, *size).save(stream, file_format)
            path = tmp_path / "picture"
            path.write_bytes(stream.getvalue())
            # Of greyscale with more than 8 bits, which OpenAI clips to white, `open_image` makes what its author saw.
            ours = Image.open(path) if kind.startswith(("I", "F")) else open_image(path)
            with Image.open(path) as reference:
                largest = max(largest, compare(transform, [(ours, reference)], 224, counts))
    tell("files", counts, largest)
    assert largest == 0


def test_what_openai_fails_on_is_refused(transform):
    with pytest.raises(ValueError, match="La"):
        transform(24)(picture("La", 40, 30))
    with pytest.raises(InputError, match="La"):
        preprocess(picture("La", 40, 30), Preprocess(24, OPENAI_MEAN, OPENAI_STD))


@pytest.mark.skipif("CLIPJAX_TEST_DATA" not in os.environ, reason="CLIPJAX_TEST_DATA names no folder")
def test_real_pictures(transform, tell):
    counts: Counter = Counter()
    paths = find_images(os.environ["CLIPJAX_TEST_DATA"])
    paths = paths[:: max(1, len(paths) // 400)]
    largest = 0.0
    for path in paths:
        with Image.open(path) as reference:
            largest = max(largest, compare(transform, [(open_image(path), reference)], 224, counts))
    tell("real", counts, largest)
    assert largest == 0
