"""SigLIP's loss (Zhai et al. 2023) as a ring: a binary loss for every pair, (B/n)^2 logits per device at a time.

    clipjax finetune siglip_ring --config.data.path="shards-{000..099}.tar" --config.batch_size=32768 --out=RUN

For pods: webdataset shards, bfloat16 encoders, rematerialised and scanned blocks, parameters sharded over `fsdp`
devices, two exact accumulation steps per batch. The bias starts at -10 because a batch has many more negatives than
positives. The result holds it as `logit_bias`. The argument is another model: `siglip_ring:ViT-L/14`.

Hardware: a pod, or any number of devices that divides the batch. Measured (2026-11-24, 8 virtual devices on two
shared AMD EPYC cores, emoji-clip, batch 64 in two accumulation steps, float32, four shards of Tux Paint's stamps):
loss 17.4 at step 5 -> 12.6 at step 20, 23 images/s. Not tested on a pod.
"""

from clipjax.runs.finetune_config import finetune_config


def get_config(arg: str = ""):
    """`arg`: config.model."""
    config = finetune_config()
    config.model = arg or "ViT-B/16"
    config.data.source = "webdataset"
    config.loss = "ring_sigmoid"
    config.batch_size, config.parts = 4096, 2
    config.precision, config.remat, config.scan = "bfloat16", "dots", True
    config.optimizer.b2 = 0.95  # SigLIP, section 4.2: more stable with large batches
    config.optimizer.multipliers = "logit_(scale|bias)=10"  # their initial values are far from the final ones
    config.soft_targets = True
    return config
