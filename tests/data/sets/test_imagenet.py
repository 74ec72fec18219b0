"""ImageNet, its relatives and the two sets of video frames, on miniatures of their own layouts."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from clipjax.data.info import own_names
from clipjax.data.sets import (
    dollar_street,
    geode,
    imagenet,
    imagenet_a,
    imagenet_r,
    imagenet_sketch,
    imagenet_vid,
    imagenetv2,
    objectnet,
    waterbirds,
    youtube_bb,
)
from clipjax.errors import InputError

# WordNet ids and OpenAI's names: 0 tench, 1 goldfish, 144 pelican, 388 giant panda, 657 and 744 missile.
TENCH, GOLDFISH, PELICAN, PANDA = "n01440764", "n01443537", "n02051845", "n02510455"
MISSILE, PROJECTILE = "n03773504", "n04008634"


def picture(path, color=(0, 0, 0), size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def names(source):
    return [source.labels.names[i] for i in source.labels.index]


def test_imagenet_by_wordnet_folders(tmp_path):
    picture(tmp_path / "val" / PANDA / "ILSVRC2012_val_00000007.JPEG")
    picture(tmp_path / "val" / TENCH / "ILSVRC2012_val_00000293.JPEG", (9, 9, 9))
    (tmp_path / "val" / "README.txt").write_text("not a picture")
    picture(tmp_path / "train" / GOLDFISH / "n01443537_1.JPEG")
    s = imagenet.open_source(tmp_path)
    assert s.name == "imagenet"
    assert names(s) == ["tench", "giant panda"]
    assert s.labels.index.tolist() == [0, 388]
    assert s.files[0] == f"{TENCH}/ILSVRC2012_val_00000293.JPEG"
    assert np.asarray(s.image(0)).max() > 0
    assert names(imagenet.open_source(tmp_path, "train")) == ["goldfish"]
    assert names(imagenet.open_source(tmp_path / "val")) == names(s)


def test_imagenet_keeps_the_duplicated_names_apart(tmp_path):
    picture(tmp_path / "val" / MISSILE / "ILSVRC2012_val_00000001.JPEG")
    picture(tmp_path / "val" / PROJECTILE / "ILSVRC2012_val_00000002.JPEG")
    s = imagenet.open_source(tmp_path)
    assert names(s) == ["missile", "missile (2)"]  # asked alike, told apart
    assert s.labels.index.tolist() == [657, 744]


def flat(root, n=3):
    for i in range(1, n + 1):
        picture(root / "val" / f"ILSVRC2012_val_{i:08d}.JPEG")


def devkit(root, truth):
    """ILSVRC numbers are not the WordNet order: 1 is the panda here, 2 the tench; 1001 is an inner node."""
    data = root / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    synsets = np.zeros(3, [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("words", "O")])
    synsets[:] = [(1, PANDA, "giant panda"), (2, TENCH, "tench"), (1001, "n00001740", "entity")]
    savemat(data / "meta.mat", {"synsets": synsets[:, None]})
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{n}\n" for n in truth))


def test_imagenet_flat_with_the_devkit(tmp_path):
    flat(tmp_path)
    devkit(tmp_path, [2, 1, 2])
    s = imagenet.open_source(tmp_path)
    assert names(s) == ["tench", "giant panda", "tench"]
    assert s.files[0] == "ILSVRC2012_val_00000001.JPEG"
    # A picture taken out must not move the others' labels.
    (tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG").unlink()
    assert names(imagenet.open_source(tmp_path)) == ["giant panda", "tench"]


def test_imagenet_flat_with_kaggles_table(tmp_path):
    flat(tmp_path, 2)
    (tmp_path / "LOC_val_solution.csv").write_text(
        f"ImageId,PredictionString\nILSVRC2012_val_00000002,{GOLDFISH} 1 2 3 4 {GOLDFISH} 5 6 7 8 \n"
        f"ILSVRC2012_val_00000001,{PELICAN} 1 2 3 4 \n"
    )
    assert names(imagenet.open_source(tmp_path)) == ["pelican", "goldfish"]


def test_imagenet_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="neither folders named by WordNet id"):
        imagenet.open_source(tmp_path)
    flat(tmp_path)
    with pytest.raises(InputError, match=r"ILSVRC2012_validation_ground_truth\.txt is missing"):
        imagenet.open_source(tmp_path)
    devkit(tmp_path, [2, 1])
    with pytest.raises(InputError, match=r"has 2 lines, none for ILSVRC2012_val_00000003\.JPEG"):
        imagenet.open_source(tmp_path)
    devkit(tmp_path / "inner", [2, 77, 1])
    flat(tmp_path / "inner")
    with pytest.raises(InputError, match=r"line 2: class 77 is not in meta\.mat"):
        imagenet.open_source(tmp_path / "inner")
    with pytest.raises(InputError, match='no split "test"'):
        imagenet.open_source(tmp_path, "test")


@pytest.mark.parametrize(
    ("module", "folder", "wnid", "name", "outside"),
    [
        (imagenet_a, "imagenet-a", "n01498041", "stingray", TENCH),
        (imagenet_r, "imagenet-r", GOLDFISH, "goldfish", TENCH),
        (imagenet_sketch, "sketch", TENCH, "tench", "n99999999"),
    ],
)
def test_relatives_are_restricted_to_their_own_classes(tmp_path, module, folder, wnid, name, outside):
    picture(tmp_path / folder / wnid / "a.jpg")
    (tmp_path / folder / "README.txt").write_text("readme")
    s = module.open_source(tmp_path)
    assert names(s) == [name]
    assert len(s.labels.names) == {"sketch": 1000}.get(folder, 200)
    assert names(module.open_source(tmp_path / folder)) == [name]
    picture(tmp_path / folder / outside / "a.jpg")
    with pytest.raises(InputError, match=f'"{outside}" is none of'):
        module.open_source(tmp_path)
    with pytest.raises(InputError, match="does not hold"):
        module.open_source(tmp_path / folder / wnid)


def test_the_two_subsets_differ():
    a, r = set(own_names("imagenet_a")), set(own_names("imagenet_r"))
    assert len(a) == len(r) == 200
    assert 0 < len(a & r) < 200
    assert a | r <= set(own_names("imagenet"))


FOLDERS = {"alarm_clock": "Alarm clock", "air_freshener": "Air freshener", "tshirt": "T-shirt"}


def object_net(root, size=(12, 10)):
    mappings = root / "mappings"
    mappings.mkdir(parents=True)
    (mappings / "folder_to_objectnet_label.json").write_text(json.dumps(FOLDERS))
    overlap = {"T-shirt": "jersey, T-shirt, tee shirt", "Alarm clock": "analog clock; digital clock"}
    (mappings / "objectnet_to_imagenet_1k.json").write_text(json.dumps(overlap))
    for i, folder in enumerate(FOLDERS):
        path = picture(root / "images" / folder / f"{i}.png", (255, 0, 0), size)
        with Image.open(path) as image:
            image.load()
        image.paste((0, 0, 200), (2, 2, size[0] - 2, size[1] - 2))
        image.save(path)


def test_objectnet_overlap_without_its_border(tmp_path):
    object_net(tmp_path / "objectnet-1.0")
    s = objectnet.open_source(tmp_path)
    assert s.labels.names == ("Alarm clock", "T-shirt")
    assert names(s) == ["Alarm clock", "T-shirt"]
    assert s.files.tolist() == ["alarm_clock/0.png", "tshirt/2.png"]
    assert s.image(0).size == (8, 6)
    assert (np.asarray(s.image(0)) == (0, 0, 200)).all()
    whole = objectnet.open_source(tmp_path, border=0)
    assert whole.image(0).size == (12, 10)
    assert whole.image(0).getpixel((0, 0)) == (255, 0, 0)
    assert objectnet.open_source(tmp_path, border=1).image(0).size == (10, 8)
    prints = {objectnet.open_source(tmp_path, border=b).fingerprint for b in (0, 1, 2)}
    assert len(prints) == 3


def test_objectnet_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r"objectnet_to_imagenet_1k\.json is missing"):
        objectnet.open_source(tmp_path)
    object_net(tmp_path, size=(4, 9))
    with pytest.raises(InputError, match="border is a number of pixels"):
        objectnet.open_source(tmp_path, border=-1)
    with pytest.raises(InputError, match=r"0\.png is 4 x 9, too small"):
        objectnet.open_source(tmp_path).image(0)
    (tmp_path / "images" / "tshirt" / "2.png").unlink()
    (tmp_path / "images" / "tshirt").rmdir()
    with pytest.raises(InputError, match="lacks 1 of 2 class folders, the first is tshirt"):
        objectnet.open_source(tmp_path)
    (tmp_path / "mappings" / "folder_to_objectnet_label.json").write_text('{"tshirt": "T shirt", "a": "Alarm clock"}')
    with pytest.raises(InputError, match='has no folder for "T-shirt"; nearest: "T shirt"'):
        objectnet.open_source(tmp_path)
    (tmp_path / "mappings" / "objectnet_to_imagenet_1k.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        objectnet.open_source(tmp_path)


def vid(root, index=True):
    frames = {
        "val/ILSVRC2015_val_00000000/000442.JPEG": [26],
        "val/ILSVRC2015_val_00000000/000441.JPEG": [26],
        "val/ILSVRC2015_val_00004000/000087.JPEG": [9, 17],
    }
    for file in frames:
        picture(root / file)
    anchor, near, lone = frames
    (root / "metadata").mkdir()
    (root / "metadata" / "pmsets.json").write_text(json.dumps({lone: [], anchor: [near]}))
    (root / "metadata" / "labels.json").write_text(json.dumps(frames))
    if index:
        own = {str(i): ["n00000000", name] for i, name in enumerate(own_names("imagenet_vid"))}
        (root / "misc").mkdir()
        (root / "misc" / "imagenet_vid_class_index.json").write_text(json.dumps(own))
    return anchor, near, lone


def shown(source):
    return [[source.labels.names[i] for i in np.flatnonzero(row)] for row in source.labels.present]


@pytest.mark.parametrize("index", [True, False])
def test_imagenet_vid_anchors_and_their_frames(tmp_path, index):
    anchor, near, lone = vid(tmp_path / "imagenet-vid-robust", index)
    s = imagenet_vid.open_source(tmp_path)
    assert s.files.tolist() == [lone, anchor, near]
    assert s.protocol["anchor"].tolist() == [lone, anchor, anchor]
    assert shown(s) == [["domestic cat", "monkey"], ["turtle"], ["turtle"]]
    assert s.labels.present.shape == (3, 30)


def test_imagenet_vid_goes_by_name(tmp_path):
    vid(tmp_path)
    index = tmp_path / "misc" / "imagenet_vid_class_index.json"
    own = list(own_names("imagenet_vid"))
    own[26], own[0] = own[0], own[26]
    index.write_text(json.dumps({str(i): ["n0", name] for i, name in enumerate(own)}))
    assert shown(imagenet_vid.open_source(tmp_path))[1] == ["airplane"]
    index.write_text('{"0": "airplane", "x": ["n0", "bear"]}')
    with pytest.raises(InputError, match="is not number: "):
        imagenet_vid.open_source(tmp_path)


def test_imagenet_vid_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r"metadata/pmsets\.json is missing"):
        imagenet_vid.open_source(tmp_path)
    anchor, near, lone = vid(tmp_path)
    (tmp_path / "metadata" / "pmsets.json").write_text(json.dumps({anchor: [near], lone: [near]}))
    with pytest.raises(InputError, match=r"000441\.JPEG is in the sets of"):
        imagenet_vid.open_source(tmp_path)
    (tmp_path / "metadata" / "pmsets.json").write_text(json.dumps({anchor: ["val/x.JPEG"]}))
    with pytest.raises(InputError, match=r"val/x\.JPEG has labels \[\]"):
        imagenet_vid.open_source(tmp_path)
    (tmp_path / "metadata" / "labels.json").write_text(json.dumps({anchor: [30]}))
    with pytest.raises(InputError, match=r"has labels \[30\], expected a list of 0 to 29"):
        imagenet_vid.open_source(tmp_path)


ANCHOR_NAMES = ["good", "bad", "unsure", "dog", "potted plant"]
PAIR_NAMES = ["similar", "dissimilar", "bad-anchor", "correct", "occlusion-increased"]


def ytbb(root, anchors, pairs, originals):
    """`anchors` and `pairs`: (key, names); later ones replace earlier ones of the same key."""
    metadata = root / "ytbb-robust_metadata"
    metadata.mkdir(parents=True)
    for file, known, reviews in (("anchor_labels", ANCHOR_NAMES, anchors), ("pmk_labels", PAIR_NAMES, pairs)):
        rows = [{"key": key, "labels": [known.index(n) for n in given], "notes": ""} for key, given in reviews]
        (metadata / f"{file}.json").write_text(json.dumps({"labels": known, "annotations": rows}))
    with open(metadata / "ytbb_robustness_test_anchors_full.csv", "w", newline="") as file:
        csv.writer(file).writerows([("ytid", "time_ms", "label"), *originals])


def test_youtube_bb_takes_what_reviewers_agreed_on(tmp_path):
    frames = [f"AbC_d_2000/frame-{i}.jpg" for i in (18, 19, 20, 21, 30, 41)]
    cars, parks = "xyz_500/frame-8.jpg", "bad_1/frame-5.jpg"
    for file in (*frames, cars, parks, "Q_9/frame-3.jpg", "R_9/frame-3.jpg"):
        picture(tmp_path / "ytbb_videos" / file)
    anchor = frames[2]
    ytbb(
        tmp_path,
        anchors=[
            (f"data/frames/{anchor}", ["bad"]),
            (anchor, ["good", "dog"]),  # a later review, by its last two folders the same picture
            (cars, ["good"]),
            (parks, ["good"]),
            ("Q_9/frame-3.jpg", ["good", "unsure"]),
            ("R_9/frame-3.jpg", ["potted plant"]),
        ],
        pairs=[
            (f"{anchor},{frames[3]}", ["similar", "correct"]),
            (f"{anchor},{frames[1]}", ["similar"]),
            (f"{anchor},{frames[0]}", ["similar", "occlusion-increased"]),
            (f"{anchor},{frames[4]}", ["correct"]),
            (f"{anchor},{frames[5]}", ["similar"]),  # 21 frames away
            (f"{parks},{parks}", ["bad-anchor"]),
        ],
        originals=[("AbC_d", 2000, 7), ("xyz", 500, 22), ("bad", 1, 1), ("Q", 9, 1), ("R", 9, 1)],
    )
    s = youtube_bb.open_source(tmp_path)
    assert s.files.tolist() == [anchor, frames[1], frames[3], cars]
    assert s.protocol["anchor"].tolist() == [anchor, anchor, anchor, cars]
    assert [set(row) for row in shown(s)] == [{"cat", "dog"}] * 3 + [{"car"}]
    assert "none" not in s.labels.names
    assert len(s.labels.names) == 23


def test_youtube_bb_says_what_is_wrong(tmp_path):
    good = [("a_1/frame-5.jpg", ["good"])]
    picture(tmp_path / "1" / "a_1" / "frame-5.jpg")
    ytbb(tmp_path / "1", good, [], [("b", 1, 3)])
    with pytest.raises(InputError, match=r"a_1/frame-5\.jpg is not in ytbb_robustness_test_anchors_full"):
        youtube_bb.open_source(tmp_path / "1")
    ytbb(tmp_path / "2", good, [("a_1/frame-5.jpg", ["similar"])], [("a", 1, 3)])
    with pytest.raises(InputError, match="names 1 frames, expected 2"):
        youtube_bb.open_source(tmp_path / "2")
    ytbb(tmp_path / "3", good, [], [("a", 1, 24)])
    with pytest.raises(InputError, match="line 2: label '24' is not a class number"):
        youtube_bb.open_source(tmp_path / "3")
    ytbb(tmp_path / "4", [("a_1/frame-5.jpg", ["bad"])], [], [("a", 1, 3)])
    with pytest.raises(InputError, match="no anchor reviewed as good"):
        youtube_bb.open_source(tmp_path / "4")
    ytbb(tmp_path / "5", good, [], [("a", 1, 23)])  # 23 is "none", which is not a class
    with pytest.raises(InputError, match=r"has labels \[\]"):
        youtube_bb.open_source(tmp_path / "5")


def test_imagenetv2_folders_are_numbers(tmp_path):
    root = tmp_path / "imagenetv2-matched-frequency-format-val"
    for number in (0, 2, 10, 999):
        picture(root / str(number) / "a.jpeg")
    s = imagenetv2.open_source(tmp_path)
    assert s.files.tolist() == ["0/a.jpeg", "10/a.jpeg", "2/a.jpeg", "999/a.jpeg"]
    assert s.labels.column.tolist() == [0, 10, 2, 999]
    assert s.labels.names[0] == "tench"
    assert imagenetv2.open_source(root).files.tolist() == s.files.tolist()
    picture(root / "n01440764" / "a.jpeg")
    with pytest.raises(InputError, match="'n01440764' is not the number of a class"):
        imagenetv2.open_source(tmp_path)
    with pytest.raises(InputError, match="no folder imagenetv2-top-images-format-val"):
        imagenetv2.open_source(tmp_path, variant="top-images")
    with pytest.raises(InputError, match='no variant "best"'):
        imagenetv2.open_source(tmp_path, variant="best")


BIRDS = """img_id,img_filename,y,split,place,place_filename
1,001.Albatross/a.jpg,1,0,1,/o/ocean/1.jpg
2,001.Albatross/b.jpg,1,2,0,/b/bamboo_forest/2.jpg
3,020.Sparrow/c.jpg,0,2,1,/l/lake/3.jpg
4,020.Sparrow/d.jpg,0,1,0,/b/bamboo_forest/4.jpg
"""


def test_waterbirds_have_the_bird_and_the_place(tmp_path):
    root = tmp_path / "waterbird_complete95_forest2water2"
    for name in ("001.Albatross/a.jpg", "001.Albatross/b.jpg", "020.Sparrow/c.jpg", "020.Sparrow/d.jpg"):
        picture(root / name)
    (root / "metadata.csv").write_text(BIRDS)
    s = waterbirds.open_source(tmp_path)
    assert s.files.tolist() == ["001.Albatross/b.jpg", "020.Sparrow/c.jpg"]
    assert s.labels.texts().tolist() == ["waterbird", "landbird"]
    assert s.columns["bird"].tolist() == ["waterbird", "landbird"]
    assert s.columns["place"].tolist() == ["land", "water"]
    assert len(waterbirds.open_source(root, "train")) == len(waterbirds.open_source(root, "val")) == 1
    (root / "metadata.csv").write_text(BIRDS.replace(",2,0,", ",3,0,"))
    with pytest.raises(InputError, match='row 1: split "3" is none of 0, 1, 2'):
        waterbirds.open_source(tmp_path)


PLACES = """,id,object,region,ip_country,file_path
0,a,hand_soap,EastAsia,Japan,003.hand_soap/a.jpg
1,b,bag,Africa,South Africa,000.bag/b.jpg
"""


def test_geode_has_the_region_and_the_country(tmp_path):
    for name in ("003.hand_soap/a.jpg", "000.bag/b.jpg"):
        picture(tmp_path / "geode" / "images" / name)
    (tmp_path / "geode" / "index.csv").write_text(PLACES)
    s = geode.open_source(tmp_path)
    assert s.labels.texts().tolist() == ["hand soap", "bag"]
    assert s.columns["region"].tolist() == ["EastAsia", "Africa"]
    assert s.columns["country"].tolist() == ["Japan", "South Africa"]
    assert geode.open_source(tmp_path / "geode").files.tolist() == s.files.tolist()
    (tmp_path / "geode" / "index.csv").write_text(PLACES.replace("bag,", "bags,"))
    with pytest.raises(InputError, match='"bags" is none of the 40 classes of geode; nearest: "bag"'):
        geode.open_source(tmp_path)
    with pytest.raises(InputError, match='no split "test"'):
        geode.open_source(tmp_path, "test")


HOUSES = """id,country.name,region.id,type,imageRelPath,topics,income,imagenet_synonyms,imagenet_sysnet_id
1,Bangladesh,as,image,assets/1/1.jpg,['Stoves'],45.0,['stove'],[827]
2,Rwanda,af,image,assets/2/2.jpg,['Plates'],251.5,"['plate', 'soup bowl']","[923, 809]"
3,France,eu,image,assets/3/3.jpg,['Beds'],4000,['four-poster'],[564]
4,United States,am,image,assets/4/4.jpg,['Stoves'],9000,"['stove', 'stove']",[827]
"""


def test_dollar_street_has_the_income_and_one_name_an_image(tmp_path):
    root = tmp_path / "dataset_dollarstreet"
    for i in range(1, 5):
        picture(root / "assets" / str(i) / f"{i}.jpg")
    (root / "images_v2_imagenet_test.csv").write_text(HOUSES)
    s = dollar_street.open_source(tmp_path)
    assert s.labels.names == ("four-poster", "stove")
    assert s.labels.texts().tolist() == ["stove", "", "four-poster", "stove"]
    assert s.labels.known.tolist() == [True, False, True, True]
    assert s.columns["region"].tolist() == ["Asia", "Africa", "Europe", "Americas"]
    assert s.columns["income_quartile"].tolist() == ["1", "2", "3", "4"]
    for old, new, message in (
        ("['four-poster']", "four-poster", "row 2: imagenet_synonyms 'four-poster' is not a list of names"),
        ("4000", "much", "row 2: income 'much' is not a number"),
        ("income,", "wealth,", 'has no column "income"'),
    ):
        (root / "images_v2_imagenet_test.csv").write_text(HOUSES.replace(old, new, 1))
        with pytest.raises(InputError, match=message):
            dollar_street.open_source(tmp_path)
    with pytest.raises(InputError, match=r"images_v2_imagenet_train\.csv is missing"):
        dollar_street.open_source(tmp_path, "train")
