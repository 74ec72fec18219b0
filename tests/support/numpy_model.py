"""A model of a user's file, in numpy alone: colours of a small image, and hashed words, in one space.

The argument is KEY=VALUE,...: what a test wants to be wrong.
"""

import os
import time
import zlib

import numpy as np

WIDTH, SIZE, LIMIT = 24, 6, 20


class Numpy:
    name = "numpy model"
    scale = 30.0
    bias = 0.0
    settings = {"numpy": os.environ.get("NUMPY_MODEL_LIBRARY", "any")}  # noqa: RUF012
    device = os.environ.get("NUMPY_MODEL_DEVICE", "")

    def __init__(self, argument):
        given = dict(part.split("=") for part in argument.split(",") if part)
        self.wrong = given.get("wrong", "")
        rng = np.random.default_rng(int(given.get("seed", 0)))
        self.image_weights = rng.normal(size=(SIZE * SIZE * 3, WIDTH)).astype(np.float32)
        self.text_weights = rng.normal(size=(97, WIDTH)).astype(np.float32)
        if "bias" in given:
            self.bias = float(given["bias"])
        self.slow = float(given.get("slow", 0))
        self.left = int(os.environ.get("NUMPY_MODEL_STOPS_AFTER", -1))  # batches of four

    def weights(self):
        return {"image": self.image_weights, "text": self.text_weights}

    def preprocess(self, image):
        if self.wrong == "preprocess":
            raise RuntimeError("no such resize")
        small = image.convert("RGB").resize((SIZE, SIZE))
        return {"pixels": np.asarray(small, np.float32) / 255 - 0.5, "mean": np.float32(np.asarray(small).mean())}

    def encode_image_pre(self, pixels, mean):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= len(pixels) == 4
        return pixels.reshape(len(pixels), -1) + mean[:, None] / 1000

    def encode_image(self, pixels, mean):
        time.sleep(self.slow)
        if self.wrong == "neighbours":
            pixels = pixels - pixels.mean(0, keepdims=True) / 10
        out = self.encode_image_pre(pixels, mean) @ self.image_weights
        if os.environ.get("NUMPY_MODEL_CHANGED"):  # as another version of a library
            out = out[:, ::-1]
        return {
            "nan": out * np.nan,
            "flat": out[0],
            "same": np.repeat(self.image_weights[:1], len(out), axis=0),
            "ints": out.astype(int),
        }.get(self.wrong, out)

    def encode_text(self, texts):
        words = [text.split()[:LIMIT] for text in texts]
        found = [
            sum((self.text_weights[zlib.crc32(w.encode()) % 97] for w in one), self.text_weights[0]) for one in words
        ]
        if self.wrong == "padding":
            longest = max(map(len, words))
            found = [row + longest / 10 for row in found]
        return np.stack(found)

    def text_lengths(self, texts):
        return np.array([len(text.split()) for text in texts]), LIMIT


def load(argument=""):
    return Numpy(argument)
