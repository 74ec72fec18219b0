"""Labels by gender over portraits of Members of Congress ("Evaluating CLIP", section 2.1 and Figure 1).

clipjax probe congress --config.data.path=CONGRESS --config.model=ViT-L/14 --out=runs/occupations
clipjax probe congress ... --config.design=schwemmer:CONGRESS/mc_data.tsv --out=runs/labels
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("labels")
    config.data.source = arg or "congress"
    config.data.group_columns = "gender"
    config.design = "occupations"
    return config
