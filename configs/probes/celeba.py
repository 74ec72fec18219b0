"""Names assigned to faces, with candidate lists of different size ("Evaluating CLIP", Table 1). Keeps totals only.

    clipjax probe celeba --config.data.path=CELEBA --config.data.options=names=names.csv \
        --config.model=ViT-L/14 --out=runs/celeba

You supply the names. Face recognition is always out of scope of any use (OpenAI's model card).
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("identities")
    config.data.source = arg or "celeba"
    return config
