"""Gender, race and age accuracy, zero-shot and by linear probe (OpenAI's model card; CLIP paper, Tables 3 to 5).

clipjax probe fairface_attributes --config.data.path=FAIRFACE --config.model=ViT-L/14 --out=runs/attributes
clipjax probe fairface_attributes ... --config.classifier=zero-shot
"""

from clipjax.runs.config import design_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = design_config("attributes")
    config.data.source = arg or "fairface"
    config.data.group_columns = "race,gender,age"
    config.attributes = "race=fairface-race,gender=fairface-gender,age=fairface-age"
    config.binary = "race=White"  # the paper's reading of race, footnote 7
    config.groups = "race,gender,age,race*gender"
    config.classifier = "zero-shot,linear"
    config.train_split = "train"
    config.feature = "pre_proj"
    config.C = 0.0  # 0: the sweep
    config.max_iter = 1000
    return config
