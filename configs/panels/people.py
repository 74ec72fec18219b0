"""A panel over a table of people: accuracy, confidence and wording, grey images, roles, and skew, of several models.

    clipjax panel people:people.csv --config.models=emoji-clip,ViT-B/32 --out=panel

The argument is a table with the columns file, gender, skin_tone and age, as `clipjax demo` writes one
(clipjax-demo/people/people.csv). Copy this file to ask your own probes of your own data sets: the name before the
parentheses of a probe is its config, everything else in it a key of that config.
"""

from clipjax.runs.panel_config import panel_config


def get_config(arg: str = ""):
    """`arg`: the table."""
    config = panel_config()
    config.models = "emoji-clip"
    config.data_sets = {"people": {"source": "csv", "csv": arg or "people.csv"}}
    labels = {"label_column": "gender", "group_columns": "skin_tone"}
    config.probes = {
        "gender": {
            "config": "zeroshot", "data": labels, "calibration": {"bins": 15},
            "sweep": {"rename": "male=man|boy,female=woman|girl"},
        },
        "grey": {"config": "zeroshot", "data": labels | {"perturb": "grey"}},
        "roles": {"config": "rates", "design": "people-roles", "data": {"group_columns": "age,skin_tone,gender"}},
        "skew": {
            "config": "skew", "classes": "doctor,judge,farmer", "k": (50,),
            "data": {"group_columns": "gender,skin_tone"},
        },
    }  # fmt: skip
    return config
