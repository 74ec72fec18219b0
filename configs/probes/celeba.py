"""Names given to faces, over growing lists of candidates ("Evaluating CLIP", Table 1). Names are yours; totals only.

    clipjax probe celeba --config.data.path=CELEBA --config.data.options=names=names.csv \
        --config.model=ViT-L/14 --out=runs/celeba

Face recognition is always out of scope of any use (OpenAI's model card).
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("identities")
    config.data.source = arg or "celeba"
    return config
