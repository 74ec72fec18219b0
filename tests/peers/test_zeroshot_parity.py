"""Classifiers, predictions and metrics beside open_clip's and CLIP_benchmark's own code, on the same features.

Run with the extra [peers], clip-benchmark==1.6.2 and scikit-learn. The model is a table of features that both sides
read through its peers' interface, so nothing but the zero-shot code differs. Each test prints what it compared.
"""

import types

import numpy as np
import pytest

from clipjax.design import of_classes
from clipjax.probes import metrics, retrieval, zeroshot

pytestmark = [pytest.mark.peers]

E = 64
TEMPLATES = ("a photo of a {}.", "art of the {}.", "a {} in a video game.")


def table_model(texts, images, seed=0):
    """A "model" with open_clip's interface whose features are rows of two tables; tokens are places in them."""
    import torch

    r = np.random.default_rng(seed)
    text_table = torch.tensor(r.normal(size=(len(texts), E)) * r.uniform(0.5, 20, (len(texts), 1)), dtype=torch.float32)
    image_table = torch.tensor(images, dtype=torch.float32)

    def encode_text(tokens, normalize=False):
        features = text_table[tokens]
        return torch.nn.functional.normalize(features, dim=-1) if normalize else features

    place = {text: i for i, text in enumerate(texts)}
    model = types.SimpleNamespace(encode_text=encode_text, encode_image=lambda rows: image_table[rows.long()])
    return model, lambda wanted: torch.tensor([place[t] for t in wanted]), text_table.numpy()


def pictures(class_weights, n, seed=1):
    """Raw image features [n, E] that lean to a class, and labels int [n]."""
    r = np.random.default_rng(seed)
    labels = r.integers(0, len(class_weights), n)
    features = class_weights[labels] + 0.35 * r.normal(size=(n, E))
    return (features * r.uniform(1, 20, (n, 1))).astype(np.float32), labels


def loader(*columns, batch=37, classes=()):
    """What CLIP_benchmark wants of a DataLoader: batches, and `dataset.classes`."""

    class Batches(list):
        dataset = types.SimpleNamespace(classes=list(classes))

    return Batches(tuple(c[i : i + batch] for c in columns) for i in range(0, len(columns[0]), batch))


@pytest.mark.parametrize("count", [2, 10, 101])
def test_open_clips_classifier_and_predictions(count):
    import open_clip
    import torch

    names = [f"thing {i}" for i in range(count)]
    asked = of_classes(names, TEMPLATES)
    texts = [text for listed in asked.prompts() for text in listed]
    model, tokenizer, features = table_model(texts, np.zeros((1, E)))
    theirs = open_clip.build_zero_shot_classifier(model, tokenizer, names, TEMPLATES).numpy().T
    (ours,) = zeroshot.class_weights(lambda wanted: features[[texts.index(text) for text in wanted]], [asked])
    error = np.abs(ours - theirs).max()
    images, _ = pictures(theirs, 2000)
    unit = torch.nn.functional.normalize(torch.tensor(images), dim=-1).numpy()
    logits = 100 * unit @ theirs.T
    probabilities = zeroshot.probabilities(images, ours, 100.0)
    differ = probabilities.argmax(1) != logits.argmax(1)
    gaps = np.diff(np.sort(logits[differ], axis=1)[:, -2:])
    expected = torch.tensor(logits).softmax(-1).numpy()
    off = np.abs(probabilities - expected).max()
    print(
        f"{count} classes: classifier {error:.1e}, probabilities {off:.1e}, {differ.sum()} of 2000 predictions differ"
    )
    assert error < 3e-7  # a few float32 roundings of numbers up to 1
    assert off < 1e-4  # 100 times as many, before exp
    assert (gaps < 1e-4).all()  # ties but for rounding


@pytest.mark.parametrize("count", [3, 5, 40])
def test_clip_benchmarks_accuracies(count, monkeypatch):
    import torch
    from clip_benchmark.metrics import zeroshot_classification

    # Its accuracy() makes a float of an array of one element, which numpy 2.4 no longer allows.
    monkeypatch.setattr(zeroshot_classification, "float", lambda x: float(np.asarray(x).item()), raising=False)

    names = [f"thing {i}" for i in range(count)]
    asked = of_classes(names, TEMPLATES)
    texts = [text for listed in asked.prompts() for text in listed]
    _, _, features = table_model(texts, np.zeros((1, E)))
    (weights,) = zeroshot.class_weights(lambda wanted: features[[texts.index(text) for text in wanted]], [asked])
    images, labels = pictures(weights, 1500)
    model, tokenizer, _ = table_model(texts, images)
    theirs = zeroshot_classification.evaluate(
        model,
        loader(torch.arange(1500), torch.tensor(labels), classes=names),
        tokenizer,
        names,
        [t.replace("{}", "{c}") for t in TEMPLATES],
        "cpu",
        amp=False,
    )
    scores = zeroshot.probabilities(images, weights, 100.0)
    assert 0.2 < theirs["acc1"] < 0.98
    assert metrics.top_k(scores, labels).value == pytest.approx(theirs["acc1"], abs=1e-12)
    assert metrics.mean_per_class(scores, labels).value == pytest.approx(theirs["mean_per_class_recall"], abs=1e-12)
    if count >= 5:
        assert metrics.top_k(scores, labels, 5).value == pytest.approx(theirs["acc5"], abs=1e-12)
    else:
        assert np.isnan(theirs["acc5"])  # trap 29: fewer than five classes have no top 5


def test_clip_benchmarks_average_precision():
    import torch
    from clip_benchmark.metrics.zeroshot_classification import average_precision_per_class

    r = np.random.default_rng(3)
    labels = r.random((900, 20)) < 0.1
    scores = (r.normal(size=labels.shape) + 1.5 * labels).astype(np.float32)
    theirs = average_precision_per_class(torch.tensor(scores), torch.tensor(labels)).numpy()
    ours = metrics.map_all_point(scores, labels)
    # Theirs is summed in float32.
    assert ours.value == pytest.approx(theirs.mean(), abs=1e-6)
    labels[:, 4] = False
    theirs = average_precision_per_class(torch.tensor(scores), torch.tensor(labels)).numpy()
    assert theirs[4] == 0  # a class without positives counts as 0 there, and not at all here
    assert metrics.map_all_point(scores, labels).value == pytest.approx(np.delete(theirs, 4).mean(), abs=1e-6)


def test_clip_benchmarks_recalls():
    import torch
    from clip_benchmark.metrics import zeroshot_retrieval

    r = np.random.default_rng(4)
    n, ks = 120, [1, 5, 10]
    captions = [[f"caption {j} of {i}" for j in range(5)] for i in range(n)]
    texts = [c for group in captions for c in group]
    _, _, features = table_model(texts, np.zeros((1, E)))
    own = features.reshape(n, 5, E) / np.linalg.norm(features.reshape(n, 5, E), axis=-1, keepdims=True)
    images = (own.sum(1) + 0.5 * r.normal(size=(n, E))).astype(np.float32)
    model, tokenizer, _ = table_model(texts, images)
    batches = [(torch.arange(i, min(i + 32, n)), captions[i : i + 32]) for i in range(0, n, 32)]
    theirs = zeroshot_retrieval.evaluate(model, batches, tokenizer, "cpu", amp=False, recall_k_list=ks)
    records = retrieval.recalls(images, features, np.repeat(np.arange(n), 5), ks)
    ours = {(x.metric, x.direction): x.value for x in records}
    assert 0.2 < theirs["image_retrieval_recall@1"] < 0.95
    for k in ks:
        # Theirs is a float32 mean.
        assert ours[f"recall@{k}", "image_to_text"] == pytest.approx(theirs[f"text_retrieval_recall@{k}"], abs=1e-6)
        assert ours[f"recall@{k}", "text_to_image"] == pytest.approx(theirs[f"image_retrieval_recall@{k}"], abs=1e-6)
    print({k: round(v, 4) for k, v in theirs.items()})


def test_scikit_learns_ranking_metrics():
    from sklearn.metrics import average_precision_score, roc_auc_score

    r = np.random.default_rng(5)
    labels = r.random(500) < 0.36  # Hateful Memes' dev set
    scores = np.round(r.normal(size=500) + labels, 1)  # with many ties
    assert metrics.roc_auc(scores, labels).value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    both = np.stack([scores, -scores], 1), np.stack([labels, ~labels], 1)
    expected = average_precision_score(both[1], both[0])
    assert metrics.map_all_point(*both).value == pytest.approx(expected, abs=1e-12)
