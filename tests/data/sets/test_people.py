"""FairFace, CelebA and Members of Congress on miniatures of their own layouts; nobody real is in them."""

import csv

import pytest
from PIL import Image

from clipjax.data import catalog
from clipjax.data.sets import celeba, congress, fairface, utkface
from clipjax.errors import InputError


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def table(path, header, rows, delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header.split(","), *rows])


@pytest.mark.parametrize("key", ["fairface", "celeba", "congress", "utkface"])
def test_the_notice_of_the_model_card_is_given(key):
    info = catalog.info(key)
    assert "surveillance or facial recognition" in info.reading
    assert "the data set's own categories" in info.reading
    assert not info.model_card


FACES = [
    ("val/1.jpg", "3-9", "Male", "East Asian", "False"),
    ("val/2.jpg", "more than 70", "Female", "Latino_Hispanic", "True"),
    ("val/3.jpg", "0-2", "Female", "Middle Eastern", "True"),
]
HEADER = "file,age,gender,race,service_test"


def faces(root, rows=FACES, folders=("",)):
    table(root / "fairface_label_val.csv", HEADER, rows)
    for folder in folders:
        for row in FACES:
            picture(root / folder / row[0])


def test_fairface_columns(tmp_path):
    faces(tmp_path)
    table(tmp_path / "fairface_label_train.csv", HEADER, [("train/1.jpg", *FACES[0][1:])])
    picture(tmp_path / "train" / "1.jpg")
    s = fairface.open_source(tmp_path)
    assert s.name == "fairface"
    assert s.labels is None
    assert s.files.tolist() == ["val/1.jpg", "val/2.jpg", "val/3.jpg"]
    assert s.columns["age"].tolist() == ["3-9", "more than 70", "0-2"]
    assert s.columns["gender"].tolist() == ["Male", "Female", "Female"]
    assert s.columns["race"].tolist() == ["East Asian", "Latino_Hispanic", "Middle Eastern"]
    assert s.columns["service_test"].tolist() == ["False", "True", "True"]
    assert s.labels is None
    assert fairface.open_source(tmp_path, "train").files.tolist() == ["train/1.jpg"]


def test_fairface_crops_are_named(tmp_path):
    faces(tmp_path, folders=[fairface.CROPS["0.25"]])
    only = fairface.open_source(tmp_path)
    assert only.read(0) == tmp_path / "fairface-img-margin025-trainval" / "val" / "1.jpg"
    with pytest.raises(InputError, match="no folder fairface-img-margin125-trainval"):
        fairface.open_source(tmp_path, crop="1.25")
    faces(tmp_path, folders=[fairface.CROPS["1.25"]])
    with pytest.raises(InputError, match="holds both crops"):
        fairface.open_source(tmp_path)
    wide = fairface.open_source(tmp_path, crop="1.25")
    assert wide.read(0) == tmp_path / "fairface-img-margin125-trainval" / "val" / "1.jpg"
    assert wide.files.tolist() == only.files.tolist()
    with pytest.raises(InputError, match=r'no crop "0\.5"'):
        fairface.open_source(tmp_path, crop="0.5")


@pytest.mark.parametrize("mangled", ["9-Mar", "03-Sep", "Mar-9", "2026-03-09"])
def test_fairface_ages_that_a_spreadsheet_ate(tmp_path, mangled):
    faces(tmp_path, [FACES[1], ("val/1.jpg", mangled, *FACES[0][2:])])
    with pytest.raises(InputError, match=rf'age "{mangled}" \(row 1, val/1\.jpg\) is a range that a spreadsheet'):
        fairface.open_source(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("val/1.jpg", "3-10", "Male", "White", "True"), 'age "3-10" is none of 0-2, 3-9, 10-19'),
        (("val/1.jpg", "70+", "Male", "White", "True"), 'age "70\\+" is none'),
        (("val/1.jpg", "3-9", "male", "White", "True"), 'gender "male" is none of Male, Female'),
        (("val/1.jpg", "3-9", "Male", "Asian", "True"), 'race "Asian" is none of White, Black'),
        (("val/1.jpg", "3-9", "Male", "White", "1"), 'service_test "1" is none'),
    ],
)
def test_fairface_values_are_checked(tmp_path, row, message):
    faces(tmp_path, [row])
    with pytest.raises(InputError, match=message):
        fairface.open_source(tmp_path)


def test_fairface_first10k_is_the_first_rows_in_their_order(tmp_path):
    ages = fairface.AGES
    rows = [(f"val/{i}.jpg", ages[i % 9], "Male", "White", "True") for i in range(1, 10004)]
    faces(tmp_path, rows)
    s = fairface.open_source(tmp_path, "first10k")
    assert len(s) == 10000
    assert s.files[[0, -1]].tolist() == ["val/1.jpg", "val/10000.jpg"]
    assert s.fingerprint != fairface.open_source(tmp_path).fingerprint
    rows[0], rows[1] = rows[1], rows[0]
    faces(tmp_path, rows)
    with pytest.raises(InputError, match=r"does not begin with val/1\.jpg to val/10000\.jpg"):
        fairface.open_source(tmp_path, "first10k")
    faces(tmp_path, rows[:100])
    with pytest.raises(InputError, match=r"\(100 rows\)"):
        fairface.open_source(tmp_path, "first10k")


def test_fairface_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"fairface_label_val\.csv is missing"):
        fairface.open_source(tmp_path)
    faces(tmp_path, folders=[])
    with pytest.raises(InputError, match="holds no images of FairFace"):
        fairface.open_source(tmp_path)
    table(tmp_path / "fairface_label_val.csv", "file,age,gender,rasse,service_test", FACES)
    with pytest.raises(InputError, match='no column "race"; nearest: "rasse"'):
        fairface.open_source(tmp_path)
    table(tmp_path / "fairface_label_val.csv", HEADER, [])
    with pytest.raises(InputError, match="has no rows"):
        fairface.open_source(tmp_path)


def celebrities(root, annotations="", images="img_align_celeba", identities=True):
    folder = root / annotations
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "list_attr_celeba.txt").write_text(
        "4\nBald Male Wearing_Hat \n"
        "000001.jpg -1  1 -1\n000002.jpg  1 -1 -1\n000003.jpg -1 -1  1\n000004.jpg -1  1  1\n"
    )
    (folder / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n000004.jpg 2\n")
    if identities:
        (folder / "identity_CelebA.txt").write_text(
            "000001.jpg 2880\n000002.jpg 2937\n000003.jpg 8692\n000004.jpg 2880\n"
        )
    for i in range(1, 5):
        picture(root / images / f"{i:06d}.jpg")


@pytest.mark.parametrize(
    ("annotations", "images"),
    [("", "img_align_celeba"), ("Anno", "Img/img_align_celeba"), ("celeba", "celeba/img_celeba")],
)
def test_celeba_attributes_and_identities(tmp_path, annotations, images):
    celebrities(tmp_path, annotations, images)
    s = celeba.open_source(tmp_path)
    assert s.labels is None
    assert s.files.tolist() == ["000003.jpg", "000004.jpg"]
    assert s.columns["Male"].tolist() == ["0", "1"]
    assert s.columns["Wearing_Hat"].tolist() == ["1", "1"]
    assert s.columns["Bald"].tolist() == ["0", "0"]
    assert s.columns["identity"].tolist() == ["8692", "2880"]
    assert s.image(0).size == (8, 8)
    assert celeba.open_source(tmp_path, "train").files.tolist() == ["000001.jpg"]
    assert celeba.open_source(tmp_path, "val").columns["Bald"].tolist() == ["1"]
    assert len(celeba.open_source(tmp_path, "all")) == 4


def test_celeba_names_only_what_the_user_brings(tmp_path):
    celebrities(tmp_path)
    listing = tmp_path / "names.csv"
    table(listing, "identity,name", [(2937, "Ada Example"), (2880, "Ben Example"), (77, "Nobody Here")])
    s = celeba.open_source(tmp_path, "all", names=listing)
    assert s.labels.names == ("Ada Example", "Ben Example", "Nobody Here")
    assert s.files.tolist() == ["000001.jpg", "000002.jpg", "000004.jpg"]
    assert [s.labels.names[i] for i in s.labels.index] == ["Ben Example", "Ada Example", "Ben Example"]
    table(listing, "identity,name", [(77, "Nobody Here")])
    with pytest.raises(InputError, match="no image of this split shows one of the 1 identities"):
        celeba.open_source(tmp_path, names=listing)
    table(listing, "identity,name", [(77, "A"), (77, "B")])
    with pytest.raises(InputError, match="line 3: identity 77 has two names"):
        celeba.open_source(tmp_path, names=listing)
    table(listing, "identity,name", [("x", "A")])
    with pytest.raises(InputError, match="line 2: 'x','A' is not a number and a name"):
        celeba.open_source(tmp_path, names=listing)
    celebrities(tmp_path / "b", identities=False)
    with pytest.raises(InputError, match=r"without identity_CelebA\.txt cannot be labelled"):
        celeba.open_source(tmp_path / "b", names=listing)


def test_celeba_labelled_by_an_attribute(tmp_path):
    celebrities(tmp_path)
    s = celeba.open_source(tmp_path, attribute="Wearing_Hat")
    assert s.labels.names == ("not wearing hat", "wearing hat")
    assert celeba.open_source(tmp_path, "all", attribute="Male").labels.texts().tolist() == [
        "male", "not male", "not male", "male",
    ]  # fmt: skip
    assert s.columns["Male"].tolist() == ["0", "1"]
    with pytest.raises(InputError, match='has no attribute "Hat"'):
        celeba.open_source(tmp_path, attribute="Hat")
    with pytest.raises(InputError, match="names and attribute both name classes; keep one"):
        celeba.open_source(tmp_path, names=tmp_path / "n.csv", attribute="Male")


def test_celeba_without_identities(tmp_path):
    celebrities(tmp_path, identities=False)
    assert "identity" not in celeba.open_source(tmp_path).columns


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("list_attr_celeba.txt", "Bald Male\n000003.jpg 1 1\n", "does not begin with a count"),
        ("list_attr_celeba.txt", "1\nBald Male\n000003.jpg 1\n", "line 3: 1 values for 2 attributes"),
        ("list_attr_celeba.txt", "1\nBald Male\n000003.jpg 1 0\n", "each 1 or -1"),
        ("list_attr_celeba.txt", "1\nBald Male\n000003.jpg 1 1\n", r"does not list 000004\.jpg"),
        ("identity_CelebA.txt", "000003.jpg 5\n", r"identity_CelebA\.txt does not list 000004\.jpg"),
        ("identity_CelebA.txt", "000003.jpg five\n", "invalid literal"),
    ],
)
def test_celeba_files_are_checked(tmp_path, file, content, message):
    celebrities(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=message):
        celeba.open_source(tmp_path)


def test_celeba_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"list_attr_celeba\.txt is missing"):
        celeba.open_source(tmp_path)


MEMBERS = [
    ("Ann Example", "115", "Female", "Democrat", "61", "mc_images/Ann_Example.jpg", "suit, smile"),
    ("Bob Example", "115", "Male", "Republican", "52", "mc_images/Bob_Example.jpg", "suit"),
]
MC_HEADER = "name,congress,gender,party,age,wiki_img_url,wiki_img_labels"


@pytest.mark.parametrize("below", ["", "data"])
def test_congress_from_the_replication_material(tmp_path, below):
    table(tmp_path / below / "mc_data.tsv", MC_HEADER, MEMBERS, "\t")
    for row in MEMBERS:
        picture(tmp_path / row[5])
    s = congress.open_source(tmp_path)
    assert s.files.tolist() == ["mc_images/Ann_Example.jpg", "mc_images/Bob_Example.jpg"]
    assert s.columns["gender"].tolist() == ["Female", "Male"]
    assert s.columns["party"].tolist() == ["Democrat", "Republican"]
    assert s.columns["name"].tolist() == ["Ann Example", "Bob Example"]
    assert "wiki_img_labels" not in s.columns
    assert s.image(1).size == (8, 8)


def test_congress_from_an_own_table(tmp_path):
    rows = [("b.jpg", "Male", "Independent", "Senate"), ("a.jpg", "Female", "Republican", "House")]
    table(tmp_path / "congress.csv", "file,gender,party,chamber", rows)
    for row in rows:
        picture(tmp_path / row[0])
    s = congress.open_source(tmp_path)
    assert s.labels is None
    assert s.files.tolist() == ["b.jpg", "a.jpg"]
    assert s.columns["chamber"].tolist() == ["Senate", "House"]
    assert congress.open_source(tmp_path / "congress.csv").fingerprint == s.fingerprint


def test_congress_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r"neither congress\.csv nor mc_data\.tsv"):
        congress.open_source(tmp_path)
    table(tmp_path / "congress.csv", "file,gender,partei", [("a.jpg", "Male", "X")])
    with pytest.raises(InputError, match='no column "party"; nearest: "partei"'):
        congress.open_source(tmp_path)
    table(tmp_path / "congress.csv", "picture,gender,party", [("a.jpg", "Male", "X")])
    with pytest.raises(InputError, match='no column "file"'):
        congress.open_source(tmp_path)
    table(tmp_path / "congress.csv", "file,gender,party", [("a.jpg", "Male", "X"), ("b.jpg", " ", "X")])
    with pytest.raises(InputError, match='line 3 has nothing in column "gender"'):
        congress.open_source(tmp_path)
    table(tmp_path / "congress.csv", "file,gender,party", [("a.jpg", "Male", "X")])
    with pytest.raises(InputError, match="none of its 1 files is there"):
        congress.open_source(tmp_path)
    table(tmp_path / "congress.csv", "file,gender,party", [])
    with pytest.raises(InputError, match="has no rows"):
        congress.open_source(tmp_path)


def test_utkface_by_the_names_of_its_files(tmp_path, capsys):
    for name in ("25_0_3_20170119171257728", "100_1_4_20170110183726390", "7_1_0_20170110220640702"):
        picture(tmp_path / "UTKFace" / f"{name}.jpg.chip.jpg")
    picture(tmp_path / "UTKFace" / "61_1_20170109142408075.jpg.chip.jpg")  # as in the archive: without a race
    s = utkface.open_source(tmp_path)
    assert s.labels is None
    assert s.columns["age"].tolist() == ["100", "25", "7"]
    assert s.columns["gender"].tolist() == ["Female", "Male", "Female"]
    assert s.columns["race"].tolist() == ["Others", "Indian", "White"]
    assert "1 names lack" in capsys.readouterr().err
    assert utkface.open_source(tmp_path / "UTKFace").files.tolist() == s.files.tolist()


def test_utkface_is_refused_where_it_is_not(tmp_path):
    with pytest.raises(InputError, match="no file named"):
        utkface.open_source(tmp_path)
    for i in range(6):
        picture(tmp_path / f"photo{i}.jpg")
    picture(tmp_path / "25_0_3_20170119171257728.jpg")
    with pytest.raises(InputError, match="6 of 7 names are not those of UTKFace"):
        utkface.open_source(tmp_path)
