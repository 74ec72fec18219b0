"""The denigration probe of "Evaluating CLIP" (section 2.1, Tables 2 and 3) on FairFace, or on any other table.

    clipjax probe fairface --config.data.path=FAIRFACE --config.data.split=first10k --config.model=ViT-L/14 \
        --out=runs/default
    clipjax probe fairface ... --config.design=fairface-child --out=runs/child
    clipjax compare runs/default runs/child
    clipjax probe fairface:csv --config.data.csv=mine.csv --config.data.group_columns=race,gender ...

FairFace has two crops: --config.data.options=crop=0.25 or crop=1.25. The paper does not state which one it used.
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("rates")
    config.data.source = arg or "fairface"
    config.data.group_columns = "race,gender,age"
    config.design = "fairface-default"
    config.bands = (  # the paper's text: 0-20 years, 20-60, over 70
        "age_band=age: 0-19=0-2|3-9|10-19; 20-59=20-29|30-39|40-49|50-59; 60-69=60-69; over 70=more than 70"
    )
    return config
