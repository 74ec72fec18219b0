"""Gender, race and age accuracy, zero-shot and by linear probe (OpenAI's model card; CLIP paper, Tables 3 to 5).

clipjax probe fairface_attributes --config.data.path=FAIRFACE --config.model=ViT-L/14 --out=runs/attributes
clipjax probe fairface_attributes ... --config.classifier=zero-shot
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("attributes")
    config.data.source = arg or "fairface"
    config.data.group_columns = "race,gender,age"
    config.groups = "race,gender,age,race*gender"
    return config
