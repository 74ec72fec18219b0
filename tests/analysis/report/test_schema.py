"""The JSON Schema that `clipjax report --schema` prints is what runs and comparisons write."""

import json

import jsonschema
import numpy as np
import pytest
from support import planted_runs

from clipjax import design
from clipjax.cli.main import main


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """file name -> its content, of two runs and their comparison."""
    root = tmp_path_factory.mktemp("schema")
    rng = np.random.default_rng(0)
    columns = {"age": rng.choice(np.array(["child", "adult"], object), 100), "x": np.array(["a", "b"] * 50, object)}
    answers = rng.integers(0, 21, 100)
    for name in ("fairface-default", "fairface-child"):
        planted_runs.write(root / name, design.read_design(name), columns, answers)
    assert (
        main(["compare", *(str(root / n) for n in ("fairface-default", "fairface-child")), f"--out={root / 'c'}"]) == 0
    )
    return {
        "metrics.json": json.loads((root / "fairface-child" / "metrics.json").read_text()),
        "manifest.json": json.loads((root / "fairface-child" / "manifest.json").read_text()),
        "compare.json": json.loads((root / "c" / "compare.json").read_text()),
    }


@pytest.fixture(scope="module")
def schema():
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["report", "--schema"]) == 0
    return json.loads(out.getvalue())


def test_it_is_a_schema_and_the_files_follow_it(schema, written):
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(written) == set(schema["properties"])
    jsonschema.validate(written, schema)


@pytest.mark.parametrize("name", ["metrics.json", "compare.json"])
def test_every_field_that_is_written_is_described(schema, written, name):
    kind = {"metrics.json": "Record", "compare.json": "PairedRecord"}[name]
    known = schema["$defs"][kind]["properties"]
    assert {key for record in written[name]["records"] for key in record} <= set(known)
    assert "question" not in known  # which is written flat
    top = schema["$defs"][{"metrics.json": "Metrics", "compare.json": "Comparison"}[name]]["properties"]
    assert set(written[name]) == set(top)
    for finding in written[name]["findings"]:
        assert finding.keys() <= schema["$defs"]["Finding"]["properties"].keys()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w["metrics.json"]["records"][0].pop("n"), "'n' is a required property"),
        (lambda w: w["metrics.json"]["records"][0].update(k=-1), "-1"),
        (lambda w: w["compare.json"]["records"][0].pop("rate_method"), "'rate_method' is a required property"),
        (lambda w: w["manifest.json"].pop("design"), "'design' is a required property"),
    ],
)
def test_it_sees_what_is_wrong(schema, written, change, says):
    broken = json.loads(json.dumps(written))
    change(broken)
    with pytest.raises(jsonschema.ValidationError, match=says):
        jsonschema.validate(broken, schema)
