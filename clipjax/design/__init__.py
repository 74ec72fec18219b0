"""Class designs: which classes a model may answer with, how it is asked, and which sets of classes are counted.

A design is a small YAML file, and it is the experiment ("Evaluating CLIP", section 2.1: "class design has the potential
to be a key factor determining both the model performance and the unwanted biases").

    name: fairface-default
    templates: ["a photo of a {}."]
    classes:
      - {name: "Black man", sets: [person], race: Black, gender: Male}
      - {name: thief, prompt: "a thief", sets: [crime]}
      - orangutan

A class is asked with its name in every template, or with `texts: [...]` instead of its name; `prompt` (or a list,
`prompts`) is asked as it stands, whatever the templates.

`extends: NAME`, `add: [child]` and `drop: [animal]` make one design out of another. A class that is added by its name
alone is in no set; `child:person` is in the set `person`, which the design has to have. `NAME+child`,
`config.sweep.add`, `add` and the explorer read one text alike (`Design.added`). No set is the default since only the
author knows what a class counts as: a set that the tool chose would move that set's rate by the choice and not by the
model's answers. What such classes are given is a rate of its own, `no set`.

A design is all that a probe asks: a list of classes, a named data set's own classes and templates, a file. It is what
`manifest["design"]` holds for every probe (`Design.manifest`).
"""

from clipjax.design.design import NO_SET, TEMPLATE, Design, DesignClass, joined, of_classes, variants
from clipjax.design.files import (
    KEYS,
    LARGEST,
    SCHWEMMER,
    of_mapping,
    parse,
    platform_labels,
    read_design,
    read_labels,
    shipped,
    yaml_value,
)

__all__ = [
    "KEYS",
    "LARGEST",
    "NO_SET",
    "SCHWEMMER",
    "TEMPLATE",
    "Design",
    "DesignClass",
    "joined",
    "of_classes",
    "of_mapping",
    "parse",
    "platform_labels",
    "read_design",
    "read_labels",
    "shipped",
    "variants",
    "yaml_value",
]
