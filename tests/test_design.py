"""Class designs: the shipped ones, writing one, extending one, and files that are none."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipjax import design
from clipjax.errors import InputError
from clipjax.runs.config import digest


def test_the_papers_default_design():
    found = design.read_design("fairface-default")
    assert len(found.classes) == 21
    assert {k: len(v) for k, v in found.sets.items()} == {"person": 14, "non-human": 4, "denigration": 7, "crime": 3}
    assert found.sets["crime"] == ("thief", "criminal", "suspicious person")
    assert found.sets["non-human"] == ("animal", "gorilla", "chimpanzee", "orangutan")
    people = [c for c in found.classes if "person" in c.sets]
    assert len({(c.attributes["race"], c.attributes["gender"]) for c in people}) == 14
    assert found.prompts()[1] == ["a photo of a Black man."]
    assert "denigration harms" in found.note
    assert "for no other use" in found.note


def test_the_design_with_child_is_one_class_more():
    default, child = design.read_design("fairface-default"), design.read_design("fairface-child")
    assert child.names == (*default.names, "child")
    assert child.classes[-1].sets == ("person",)
    assert child.note == default.note
    assert design.read_design("fairface-default+child").names == child.names
    assert child.sha256 != default.sha256


def test_attribute_designs_name_every_value_of_fairface():
    from clipjax.data.sets.fairface import COLUMNS

    for column in ("race", "gender", "age"):
        values = design.read_design(f"fairface-{column}").attribute(column)
        assert set(values) == set(COLUMNS[column])


def test_three_hundred_occupations():
    found = design.read_design("occupations")
    assert len(set(found.names)) == 300
    quoted = {"nanny", "housekeeper", "prisoner", "mobster", "lawmaker", "legislator", "congressman"}
    assert quoted <= set(found.names)


def test_every_shipped_design_loads_and_says_its_name():
    assert {"fairface-default", "occupations", "people-roles"} <= set(design.shipped())
    for name in design.shipped():
        found = design.read_design(name)
        assert found.name == name
        back = design.Design.from_manifest(json.loads(json.dumps(found.manifest())))
        assert back == found


def test_the_demos_designs_hurt_nobody():
    words = set(design.read_design("people-roles-child").names)
    assert not words & set(design.read_design("fairface-default").sets["denigration"])


@pytest.fixture
def write(tmp_path):
    def make(text, name="mine.yaml"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return make


def test_writing_and_extending(write):
    write(
        '{name: base, templates: ["a {}", "the {}"], classes: [cat, {name: dog, texts: [dog, hound], sets: [pet]}]}',
        "base.yaml",
    )
    found = design.read_design(
        write("{extends: base, drop: [cat], add: [{name: owl, prompt: an owl, sets: bird, legs: 2}]}")
    )
    assert found.name == "mine"
    assert found.names == ("dog", "owl")
    assert found.prompts() == [
        ["a dog", "the dog", "a hound", "the hound"],
        ["an owl"],
    ]
    assert found.sets == {"pet": ("dog",), "bird": ("owl",)}
    assert found.attribute("legs") == (None, "2")
    assert found.members("bird").tolist() == [False, True]
    assert (
        found.sha256
        == design.read_design(
            write("{extends: base, drop: [cat], add: [{name: owl, prompt: an owl, sets: bird, legs: 2}], note: hm}")
        ).sha256
    )
    assert found.sha256 == digest({key: found.manifest()[key] for key in ("templates", "classes")})


def test_variants_for_sweeps():
    base = design.of_classes(["cat", "dog"])
    assert [d.name for d in design.variants(base, add=["owl", "eel"], drop=["cat"])] == [
        "classes", "classes+owl", "classes+eel", "classes-cat",
    ]  # fmt: skip
    both = design.variants(base, add=["owl", "eel"], templates=["a {}", "{}"], subsets=2)
    assert len(both) == 8
    assert both[-1].name == "classes+owl+eel | {}"
    assert both[-1].prompts()[-1] == ["eel"]


def test_many_names_at_once_stay_fast():
    found = design.of_classes([f"class {i}" for i in range(3000)])
    assert found.prompts()[2999] == ["a photo of a class 2999."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "is a mapping"),
        ("classes: cat", "is a list of classes, not str"),
        ("{classes: [cat, cat]}", "class 'cat' is given twice"),
        ("{classes: []}", "has no classes"),
        ("{clases: [cat]}", "unknown key 'clases'; nearest: \"classes\""),
        ("{classes: [yes]}", "quote yes, no and numbers"),
        ("{classes: [{prompt: a cat}]}", "a mapping with `name`"),
        ("{classes: [{name: cat, prompt: a cat, texts: [cat]}]}", "keep one"),
        ("{classes: [{name: cat, prompt: 'a {}'}]}", "asked as it stands"),
        ("{classes: [{name: cat, legs: [4]}]}", "'legs' is not a single value"),
        ("{classes: [cat], templates: [a photo]}", "exactly one {}"),
        ("{classes: [cat], templates: 3}", "`templates` is 3"),
        ("{classes: [cat], drop: [cat]}", "`drop` needs `extends`"),
        ("{extends: fairface-defalt}", 'nearest: "fairface-default"'),
        ("{extends: fairface-default, drop: [theif]}", 'nearest: "thief"'),
        ("{extends: mine, classes: [cat]}", "extends itself"),
        ("classes: [a, *b]", "aliases"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nclasses: [*b, *b]", "aliases"),
        ("classes: [\t", "mine.yaml"),
        ("!!python/object/apply:os.system [true]", "mine.yaml"),
        ('{classes: [" "]}', "is empty"),
    ],
)
def test_files_that_are_no_design(write, text, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        design.read_design(write(text))
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_names_and_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(InputError, match='nearest: "occupations"'):
        design.read_design("occupation")
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read"):
        design.read_design(str(tmp_path / "none.yaml"))
    (tmp_path / "big.yaml").write_text("#" * (5 << 20))
    with pytest.raises(InputError, match="are too many for a class design"):
        design.read_design(str(tmp_path / "big.yaml"))
    with pytest.raises(InputError, match=r'has no set "x"; it has: person'):
        design.read_design("fairface-default").members("x")


def test_platform_labels(tmp_path):
    rows = [
        "name\tgender\twiki_img_labels\twiki_img_labels_awsrek\twiki_img_labels_macv",
        "A B\tFemale\tSuit; Smile\tPerson,Suit\tman|tie",
        "C D\tMale\tsmile;Formal_Wear\tPerson\t",
    ]
    path = tmp_path / "mc_data.tsv"
    path.write_text("\n".join(rows) + "\n")
    found = design.read_design(f"schwemmer:{path}")
    assert found.name == "platform-labels"
    assert found.names == ("formal wear", "man", "person", "smile", "suit", "tie")
    assert found.attribute("platforms")[4] == "Google, Amazon"
    assert "6 labels" in found.note
    path.write_text("name\tgender\nA\tB\n")
    with pytest.raises(InputError, match=r"no column .wiki_img_labels"):
        design.read_design(f"schwemmer:{path}")


def test_one_class_more_needs_no_file_of_its_own(tmp_path):
    (tmp_path / "a+b").mkdir()
    path = tmp_path / "a+b" / "mine.yaml"
    path.write_text("name: mine\nclasses: [cat, dog]\n")
    assert design.read_design(f"{path}+fish+ox").names == ("cat", "dog", "fish", "ox")
    assert design.read_design(str(path)).names == ("cat", "dog")
    assert design.read_design("people-roles+child").names[-1] == "child"


def added_everywhere(text):
    """One text, added to people-roles by each way there is."""
    return [
        design.read_design(f"people-roles+{text}"),
        design.variants(design.read_design("people-roles"), add=[text])[1],
        design.read_design("people-roles").add([text]),
        design.parse(f"extends: people-roles\nadd: [{json.dumps(text)}]"),
    ]


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        ("child", ()),
        ("child:person", ("person",)),
        ("child: person ", ("person",)),
        ("child:person:fantasy", ("person", "fantasy")),
    ],
)
def test_an_added_class_means_the_same_everywhere(text, sets):
    found = added_everywhere(text)
    assert {(d.classes[-1].name, d.classes[-1].sets) for d in found} == {("child", sets)}
    assert len({d.sha256 for d in found}) == 1
    assert [d.name for d in found[:3]] == ["people-roles+" + ":".join(("child", *sets))] * 3


def test_the_shipped_designs_with_child_can_be_spelled():
    for name in ("people-roles", "fairface-default"):
        shipped = design.read_design(f"{name}-child" if name == "people-roles" else "fairface-child")
        assert (
            design.read_design(f"{name}+child:person").sha256
            == shipped.sha256
            != design.read_design(f"{name}+child").sha256
        )


def test_a_class_in_no_set_is_named_and_counted():
    found = design.read_design("people-roles+child")
    assert found.unset == ("child",)
    assert list(found.counted) == ["person", "fantasy", design.NO_SET]
    assert found.members(design.NO_SET).tolist() == [name == "child" for name in found.names]
    assert sum(found.members(name) for name in found.counted).tolist() == [1] * len(found.names)
    note = found.unset_note()
    assert note.startswith("people-roles+child: child: in no set")
    spelled = re.search(r"(\+\S+:\S+),", note)[1]  # the remedy works
    assert design.read_design(f"people-roles{spelled}").unset == ()
    for without in (design.read_design("people-roles-child"), design.of_classes(["cat", "dog"])):
        assert (without.unset, without.unset_note()) == ((), "")
        assert design.NO_SET not in without.counted


@pytest.mark.parametrize(("name", "mirrored"), [
    ("people-roles", "person"), ("people-roles+child:person", "person"), ("people-roles+child", ""),
    ("fairface-default", ""), ("fairface-race", ""),
])  # fmt: skip
def test_a_set_whose_rates_are_the_rest_of_another_s(name, mirrored):
    found = design.read_design(name)
    assert found.mirrored == mirrored
    if mirrored:
        (other,) = set(found.counted) - {mirrored}
        assert (found.members(mirrored) == ~found.members(other)).all()


def test_sets_that_share_a_class_or_leave_one_out_mirror_nothing_or_no_set():
    def of(*sets):
        return design.Design("d", tuple(design.DesignClass(f"c{i}", sets=one) for i, one in enumerate(sets)), ("a {}",))

    assert of(["x"], ["y"]).mirrored == "y"
    assert of(["x"], ["x", "y"], ["y"]).mirrored == ""
    assert of(["x"], ["x"], []).mirrored == design.NO_SET
    assert of(["x"], ["y"], ["z"]).mirrored == ""


def test_a_set_that_is_not_there_is_refused():
    for make in (
        lambda t: design.read_design(f"people-roles+{t}"),
        lambda t: design.read_design("people-roles").add([t]),
    ):
        with pytest.raises(InputError, match=r"adds 'child' to the set 'persn', .* nearest: .person"):
            make("child:persn")
    with pytest.raises(InputError, match="classes has no sets; write a new set"):
        design.of_classes(["cat"]).add(["dog:pet"])
    with pytest.raises(InputError, match="'no set' counts classes without a set"):
        design.parse("classes: [{name: cat, sets: [no set]}]")
    assert design.parse('classes: ["race: other"]').names == ("race: other",)  # a whole name, where it is no addition


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
made = st.tuples(
    words, st.lists(words, max_size=2), st.lists(words, max_size=2), st.dictionaries(words, words, max_size=1)
)


@given(st.lists(made, min_size=1, max_size=4, unique_by=lambda c: c[0]), words, words)
def test_a_design_that_is_written_is_read_back(classes, name, note):
    own = ("name", "texts", "prompt", "prompts", "sets")
    told = tuple(
        design.DesignClass(n, sets=sets, asked=[a.replace("{}", "") or "x" for a in asked], attributes=attributes)
        for n, sets, asked, attributes in classes
        if not set(attributes) & set(own)
    )
    if told:
        wanted = design.Design(name, told, ("a photo of a {}.", "{}"), note.strip())
        assert design.parse(wanted.yaml()) == wanted


ODD = """yes null 3 1e3 -a a:b a,b #a ' " {a} [a] *a &a !a é 😀 ... --- 2026-01-01 <script> ~ | > % @ `""".split()


@pytest.mark.parametrize(
    "name", [*ODD, "- a", "a: b", "a #b", " a ", "a\nb", "\ta", "\x00", "a\x85b", "a\u2028b", "\ufeff"]
)
def test_odd_names_are_texts_in_a_file(name):
    wanted = design.of_classes([name], name=name)
    assert design.parse(wanted.yaml()) == wanted


def test_a_text_extends_shipped_designs_only(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("classes: [a]")
    monkeypatch.chdir(tmp_path)
    assert design.parse("extends: people-roles\nadd: [child]", "x.yaml").name == "x"
    for base in ("mine", "./mine", str(tmp_path / "mine")):
        with pytest.raises(InputError, match="unknown class design"):
            design.parse(f"extends: {base}")
