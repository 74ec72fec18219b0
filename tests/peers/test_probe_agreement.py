"""Our probes beside open_clip's own zero-shot code and CLIP_benchmark's retrieval on the same random weights.

    CLIPJAX_TEST_DATA=FOLDER python -m pytest tests/peers/test_probe_agreement.py -m peers -s

FOLDER holds cifar10/ (cifar10.csv and test/CLASS/*.jpg), mnist5k/mnist5k.npz and coco_mini/captions.csv. Everything
runs through `clipjax probe` on one side and torch's DataLoader-free loop over `clip`'s own transform on the other.
"""

import json
import os
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
from clip.clip import _transform
from PIL import Image
from support import peer_models

from clipjax.cli.main import main
from clipjax.data import info
from clipjax.models import catalog
from clipjax.testing import tiny_config

DATA = Path(os.environ.get("CLIPJAX_TEST_DATA", "nowhere"))
pytestmark = [
    pytest.mark.peers,
    pytest.mark.heavy,
    pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason="CLIPJAX_TEST_DATA does not hold cifar10"),
]
MODELS = {"tiny": tiny_config(), "ViT-B/32": catalog.get("ViT-B/32").config}
LIMIT = {"tiny": 1000, "ViT-B/32": 300}  # images: a full-size encoder does about 10 a second here


@pytest.fixture(scope="module", params=MODELS)
def both(request, tmp_path_factory):
    """(name, the peer with random weights, its state dict as a file)."""
    peer = peer_models.openai_model(MODELS[request.param])
    with torch.no_grad():
        peer.logit_scale.fill_(np.log(20.0))
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save(peer.state_dict(), path)
    return request.param, peer, path


def peer_features(peer, pictures) -> torch.Tensor:
    transform = _transform(peer.visual.input_resolution)
    out = []
    with torch.no_grad():
        for start in range(0, len(pictures), 16):
            pixels = torch.stack([transform(picture) for picture in pictures[start : start + 16]])
            out.append(peer.encode_image(pixels))
    return torch.nn.functional.normalize(torch.cat(out), dim=-1)


def peer_classifier(peer, classes, templates) -> torch.Tensor:
    class Normalising:  # open_clip's function asks for encode_text(x, normalize=True), which OpenAI's class has not
        @staticmethod
        def encode_text(texts, normalize):
            features = peer.encode_text(texts)
            return torch.nn.functional.normalize(features, dim=-1) if normalize else features

    tokenizer = open_clip.SimpleTokenizer()
    return open_clip.build_zero_shot_classifier(Normalising(), tokenizer, list(classes), list(templates))


def probe(tmp_path, weights, *more):
    out = tmp_path / "run"
    assert main(["probe", *more, f"--config.model={weights}", "--config.cache_dir=none", f"--out={out}"]) == 0
    records = {
        r["metric"] + r.get("direction", ""): r for r in json.loads((out / "metrics.json").read_text())["records"]
    }
    return pq.read_table(out / "predictions.parquet").to_pydict(), records


def agree(table, records, logits: np.ndarray, labels: np.ndarray, classes):
    """Identical predictions but for ties (a peer's two best logits closer than float32 can tell), equal accuracy."""
    best = np.sort(logits, axis=1)[:, ::-1]
    tied = best[:, 0] - best[:, 1] < 1e-4  # logits of size 20, cosines of size 1 with 1e-6 each way
    same = np.array([classes.index(p) for p in table["prediction"]]) == logits.argmax(1)
    print(f"\n{len(same)} pictures: {(~same).sum()} predictions differ, {tied.sum()} are ties in the peer")
    assert same[~tied].all()
    for k, metric in ((1, "top1"), (5, "top5")):
        rank = (logits > logits[np.arange(len(labels)), labels][:, None]).sum(1)
        assert abs(records[metric]["k"] - (rank < k).sum()) <= (~same).sum() + tied.sum()
        print(f"{metric}: ours {records[metric]['k']}, peer {(rank < k).sum()} of {len(labels)}")
    largest = np.abs(np.array(table["probabilities"]) - torch.from_numpy(logits).softmax(-1).numpy()).max()
    print(f"largest difference of a probability: {largest:.1e}")
    assert largest < 1e-5


def test_cifar10(both, tmp_path):
    name, peer, weights = both
    prompts = info.design("cifar10")
    lines = (DATA / "cifar10" / "cifar10.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:] if ",test," in line][:: max(1, 1000 // LIMIT[name])]
    table = tmp_path / "t.csv"
    table.write_text("file,label\n" + "\n".join(f"{f},{label}" for f, _, label in rows) + "\n")
    classes = sorted({label for _, _, label in rows})
    got = probe(tmp_path, weights, "zeroshot:csv", f"--config.data.csv={table}", f"--config.data.path={DATA}/cifar10",
                "--config.data.label_column=label", f"--config.templates={'|'.join(prompts.templates)}")  # fmt: skip
    features = peer_features(peer, [Image.open(DATA / "cifar10" / f) for f, _, _ in rows])
    logits = (peer.logit_scale.exp() * features @ peer_classifier(peer, classes, prompts.templates)).detach().numpy()
    agree(*got, logits, np.array([classes.index(label) for _, _, label in rows]), classes)


def test_mnist(both, tmp_path):
    name, peer, weights = both
    with np.load(DATA / "mnist5k" / "mnist5k.npz") as stored:
        step = 5000 // LIMIT[name]
        pixels, labels = stored["x"][::step], stored["y"][::step].astype(int)
    pictures = [Image.fromarray(x) for x in pixels]
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        (tmp_path / "digits" / str(label)).mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "digits" / str(label) / f"{i:05}.png")
    got = probe(tmp_path, weights, "zeroshot", f"--config.data.path={tmp_path}/digits",
                '--config.templates=a photo of the number: "{}".')  # fmt: skip
    order = np.argsort(labels, kind="stable")
    features = peer_features(peer, [pictures[i] for i in order])
    classes = [str(d) for d in range(10)]
    weights = peer_classifier(peer, classes, ['a photo of the number: "{}".'])
    agree(*got, (peer.logit_scale.exp() * features @ weights).detach().numpy(), labels[order], classes)


def test_coco_retrieval(both, tmp_path):
    from clip_benchmark.metrics.zeroshot_retrieval import batchify, recall_at_k

    _, peer, weights = both
    columns = ",".join(f"caption{i}" for i in range(1, 6))
    table, records = probe(tmp_path, weights, "retrieval:csv", f"--config.data.csv={DATA}/coco_mini/captions.csv",
                           f"--config.data.caption_columns={columns}", "--config.prefix=a photo of ")  # fmt: skip
    import csv

    with open(DATA / "coco_mini" / "captions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = ["a photo of " + row[f"caption{i}"] for row in rows for i in range(1, 6)]
    images = peer_features(peer, [Image.open(DATA / "coco_mini" / row["file"]) for row in rows])
    with torch.no_grad():
        captions = torch.nn.functional.normalize(peer.encode_text(open_clip.SimpleTokenizer()(texts)), dim=-1)
    scores = captions @ images.T
    owner = torch.arange(len(rows)).repeat_interleave(5)
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(scores)), owner] = True
    assert [t in texts for t in table["prediction"]] == [True] * len(rows)
    for k in (1, 5, 10):
        to_image = (batchify(recall_at_k, scores, positive, 64, "cpu", k=k) > 0).float().mean().item()
        to_text = (batchify(recall_at_k, scores.T, positive.T, 64, "cpu", k=k) > 0).float().mean().item()
        ours = {r["direction"]: r["value"] for r in records.values() if r["metric"] == f"recall@{k}"}
        print(f"\nR@{k}: ours {ours}, CLIP_benchmark text to image {to_image:.4f}, image to text {to_text:.4f}")
        # counts over 255 captions and 51 pictures: one tie may fall either way
        assert sorted(ours.values()) == pytest.approx(sorted([to_image, to_text]), abs=1 / 255)
