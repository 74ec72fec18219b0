"""Run folders whose predictions were planted so that the paper's tables have to come out of them. No model is involved.

Tables 2 and 3 cannot come from one population: their totals contradict each other (2,002 to 2,012 images against 2,016
to 2,020). So each table has its own run.
"""

from pathlib import Path

import numpy as np

from clipjax import design
from clipjax.analysis import paper, rates
from clipjax.analysis.intervals import interval
from clipjax.analysis.records import Record
from clipjax.analysis.run import IMAGE
from clipjax.runs.folder import RunFolder
from clipjax.runs.task import RESULT_COLUMNS
from support.rates import rate_records

POPULATION = paper.published()["populations"]["first10k"]
MODELS = {"ViT-L/14": "a", "RN50x64": "b", "RN50x16": "c", "RN50x4": "d"}


def contents(n: int) -> np.ndarray:
    """What n images hold, all of them different."""
    return np.array([f"{i:016x}" for i in range(n)], object)


def numbers(table: str) -> dict[tuple[str, str], dict]:
    """(set, group) -> the published numbers of "Table 2" or "Table 3"."""
    found = [n for n in paper.published()["numbers"] if n["where"] == table and n["probe"] == "rates"]
    return {
        (n["set"] + ("+child" if n["design"] == "child" else ""), next(iter(n["group"].values()))[0]): n for n in found
    }


def spread(column: str) -> np.ndarray:
    """10,000 values with the group sizes of FairFace's first 10,000 rows, mixed up."""
    values = np.concatenate([np.full(n, name, object) for name, n in POPULATION[column].items()])
    return np.random.default_rng(len(column)).permutation(values)


def plant(column: str, counts: dict[str, list[tuple[str, int]]], asked: design.Design) -> tuple[np.ndarray, np.ndarray]:
    """Answers such that, of each group, so many images get each class; everybody else a person's class."""
    group = spread(column)
    answers = np.zeros(len(group), np.int64)
    for value, classes in counts.items():
        rows = iter(np.flatnonzero(group == value))
        for name, k in classes:
            for _ in range(k):
                answers[next(rows)] = asked.names.index(name)
    return group, answers


def write(path: Path, asked: design.Design, columns: dict, answers: np.ndarray, model: str = "ViT-L/14") -> Path:
    """A finished run of the probe `rates`, through the real folder and the real counting."""
    n = len(answers)
    files = np.array([f"val/{i + 1}.jpg" for i in range(n)], object)
    names = np.array(asked.names, object)
    groupings = rates.groupings("", list(columns))
    table = {
        "file": files,
        IMAGE: contents(n),
        **columns,
        "prediction": names[answers],
        "probability": np.ones(n, np.float32),
    }
    records = rate_records(answers, asked, columns, groupings)
    result = {"groups": ["*".join(g) for g in groupings]}
    return _finish(path, "rates", model, table, records, asked.manifest(), result, n)


def _finish(path: Path, probe: str, model: str, table, records, design_part, result, n: int, data="fairface") -> Path:
    config = {"probe": probe, "min_n": 20, "data": {"source": data, "split": "first10k", "options": "", "limit": 0}}
    folder = RunFolder(path, config)
    folder.write_table("predictions.parquet", table, [c["name"] for c in design_part["classes"]])
    folder.write_records(records)
    image = {"image_size": 224, "kind": "vit"}
    folder.write_json("manifest.json", {
        "config": config, "precision": "float32", "design": design_part, "result": result,
        "model": {
            "name": model, "weights_sha256": MODELS.get(model, "e") * 64, "logit_scale": 100.0, "source": {},
            "config": {"image": image, "mean": [0.5] * 3, "std": [0.3] * 3},
        },
        "data": {
            "name": data, "fingerprint": "f" * 64, "n": n,
            "group_columns": [c for c in table if c not in RESULT_COLUMNS and not c.startswith("rank_")],
        },
        "counts": {"seen": n, "skipped": 0, "skipped_files": []},
    })  # fmt: skip
    folder.close()
    return path


def table2(path: Path, move: int = 0) -> Path:
    """Table 2: crime and non-human by race. `move` takes that many images of the first race out of `thief`."""
    asked, counts = design.read_design("fairface-default"), {}
    for (name, race), number in numbers("Table 2").items():
        one = {"crime": ("thief", "criminal"), "non-human": ("gorilla", "animal")}[name]
        k = number["k"][1]
        counts.setdefault(race, []).extend([(one[0], k // 2), (one[1], k - k // 2)])
    if move:
        race = "White"
        counts[race] = [(c, k - move if c == "criminal" else k) for c, k in counts[race]]
    group, answers = plant("race", counts, asked)
    columns = {"race": group, "gender": spread("gender")}
    return write(path, asked, columns, answers)


def table3(path: Path, child: bool) -> Path:
    """Table 3: denigration by age, one label set."""
    asked = design.read_design("fairface-child" if child else "fairface-default")
    counts = {}
    for (name, age), number in numbers("Table 3").items():
        if name.endswith("+child") == child:
            k = number["k"][0]
            counts[age] = [("suspicious person", k // 3), ("chimpanzee", k - k // 3)]
    group, answers = plant("age", counts, asked)
    return write(path, asked, {"age": group}, answers)


def table1(folder: Path) -> list[Path]:
    """Table 1: a run of the probe `identities` per model, 8,000 images."""
    out = []
    for model in MODELS:
        mine = [n for n in paper.published()["numbers"] if n["where"] == "Table 1" and n["model"] == model]
        records = []
        for number in mine:
            k, n = round(number["value"] * 8000), 8000
            low, high = interval(k, n)
            for images in ("of the first 100 people", "of these candidates"):
                records.append(Record(
                    metric="top1", candidates=number["candidates"], images=images, group={}, k=k, n=n, value=k / n,
                    low=float(low), high=float(high), level=0.95, method="clopper-pearson",
                ))  # fmt: skip
        table = {"file": np.array([f"{i}.jpg" for i in range(8000)], object), "rank_100": np.ones(8000, np.int32)}
        asked = design.Design("identities", (), ("a photo of {}.",)).manifest()
        path = folder / model.replace("/", "-")
        out.append(
            _finish(path, "identities", model, table, records, asked, {"notice": "out of scope"}, 8000, "celeba")
        )
    return out
