"""Differences between OpenAI's prompt lists and the packages on PyPI; data for make_prompts.py.

Described in openai/CLIP data/prompts.md. The names of the data set's own label file are here if no package has them
(CIFAR, STL-10, FGVC Aircraft, ImageNet-Vid, YouTube-BB).
"""

from __future__ import annotations

DIGITS = [str(i) for i in range(10)]

CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck".split()

CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
""".split()

STL10 = "airplane bird car cat deer dog horse monkey ship truck".split()

# One per line of variants.txt.
AIRCRAFT = """
707-320; 727-200; 737-200; 737-300; 737-400; 737-500; 737-600; 737-700; 737-800; 737-900; 747-100; 747-200; 747-300;
747-400; 757-200; 757-300; 767-200; 767-300; 767-400; 777-200; 777-300; A300B4; A310; A318; A319; A320; A321; A330-200;
A330-300; A340-200; A340-300; A340-500; A340-600; A380; ATR-42; ATR-72; An-12; BAE 146-200; BAE 146-300; BAE-125;
Beechcraft 1900; Boeing 717; C-130; C-47; CRJ-200; CRJ-700; CRJ-900; Cessna 172; Cessna 208; Cessna 525; Cessna 560;
Challenger 600; DC-10; DC-3; DC-6; DC-8; DC-9-30; DH-82; DHC-1; DHC-6; DHC-8-100; DHC-8-300; DR-400; Dornier 328; E-170;
E-190; E-195; EMB-120; ERJ 135; ERJ 145; Embraer Legacy 600; Eurofighter Typhoon; F-16A/B; F/A-18; Falcon 2000;
Falcon 900; Fokker 100; Fokker 50; Fokker 70; Global Express; Gulfstream IV; Gulfstream V; Hawk T1; Il-76; L-1011;
MD-11; MD-80; MD-87; MD-90; Metroliner; Model B200; PA-28; SR-20; Saab 2000; Saab 340; Spitfire; Tornado; Tu-134;
Tu-154; Yak-42
""".replace("\n", " ").strip().split("; ")  # fmt: skip

# Not the data set's alphabetical order: diningtable and pottedplant come after sofa.
VOC2007 = """
aeroplane bicycle bird boat bottle bus car cat chair cow dog horse motorbike person sheep sofa diningtable pottedplant
train tvmonitor
""".split()

# tensorflow-datasets lower-cases the folder names that are capitalised on disk.
CALTECH101_FOLDERS = {
    "background_google": "BACKGROUND_Google",
    "faces": "Faces",
    "faces_easy": "Faces_easy",
    "leopards": "Leopards",
    "motorbikes": "Motorbikes",
}

# Folders of the data set in the order of OpenAI's names.
EUROSAT = """
Forest PermanentCrop Residential River Pasture SeaLake HerbaceousVegetation AnnualCrop Industrial Highway
""".split()

RESISC45 = [f"{view} {what} of {article}{{}}." for article in ("", "a ", "the ")
            for what in ("imagery", "photo", "view") for view in ("satellite", "aerial")]  # fmt: skip

PATCH_CAMELYON = ["this is a photo of {}"]

# The data set's emotion (its number in fer2013.csv is the position) -> every name OpenAI gives the class.
FER2013 = {
    "Angry": ["angry"],
    "Disgust": ["disgusted"],
    "Fear": ["fearful"],
    "Happy": ["happy", "smiling"],
    "Sad": ["sad", "depressed"],
    "Surprise": ["surprised", "shocked", "spooked"],
    "Neutral": ["neutral", "bored"],
}

# Closest vehicle under 8 m, under 20 m, farther, none: the order of the four sentences.
KITTI = ["below_8", "below_20", "above_20", "none"]

SST2 = ["negative", "positive"]
HATEFUL_MEMES = ["meme", "hatespeech meme"]
CLEVR_COUNTS = ["10", "3", "4", "5", "6", "7", "8", "9"]
BIRDSNAP = ["a photo of a {}, a type of bird."]

# Folder names are camel case; one is not split where its capitals are.
UCF101 = {"HandstandPushups": "Hand Stand Pushups"}

MEDIA = ("a photo", "a video", "a example", "a demonstration")  # "a example": OpenAI's spelling
VERBS = ("using", "doing", "during", "performing", "practicing")


def ucf101_templates() -> list[str]:
    """48 templates: medium x who x verb."""
    return [f"{m} of {who} {verb}{{}}." for verb in ("", *(f"{v} " for v in VERBS))
            for who in ("a person", "the person") for m in MEDIA]  # fmt: skip


def kinetics_templates() -> list[str]:
    """28 templates: medium x (bare, a person, a person + verb)."""
    return [f"{m} of {who}{{}}." for m in MEDIA for who in ("", "a person ", *(f"a person {v} " for v in VERBS))]


# ISO 3166 codes are the folder names, in the order of OpenAI's country names.
COUNTRY211 = """
AD AE AF AG AI AL AM AO AQ AR AT AU AW AX AZ BA BB BD BE BF BG BH BJ BM BN BO BQ BR BS BT BW BY BZ CA CD CF CH CI CK CL
CM CN CO CR CU CV CW CY CZ DE DK DM DO DZ EC EE EG ES ET FI FJ FK FO FR GA GB GD GE GF GG GH GI GL GM GP GR GS GT GU GY
HK HN HR HT HU ID IE IL IM IN IQ IR IS IT JE JM JO JP KE KG KH KN KP KR KW KY KZ LA LB LC LI LK LR LT LU LV LY MA MC MD
ME MF MG MK ML MM MN MO MQ MR MT MU MV MW MX MY MZ NA NC NG NI NL NO NP NZ OM PA PE PF PG PH PK PL PR PS PT PW PY QA RE
RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SS SV SX SY SZ TG TH TJ TL TM TN TO TR TT TW TZ UA UG US UY UZ VA
VE VG VI VN VU WS XK YE ZA ZM ZW
""".split()

IMAGENET_VID = """
airplane antelope bear bicycle bird bus car cattle dog domestic_cat elephant fox giant_panda hamster horse lion lizard
monkey motorcycle rabbit red_panda sheep snake squirrel tiger train turtle watercraft whale zebra
""".split()

# By the data set's class number; 22 is its "none".
YOUTUBE_BB = """
person; bird; bicycle; boat; bus; bear; cow; cat; giraffe; potted plant; horse; motorcycle; knife; airplane; skateboard;
train; truck; zebra; toilet; dog; elephant; umbrella; none; car
""".replace("\n", " ").strip().split("; ")  # fmt: skip
