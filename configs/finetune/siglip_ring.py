"""SigLIP's loss (Zhai et al. 2023) as a ring: every pair a question of its own, (B/n)^2 logits per device at any time.

    clipjax finetune siglip_ring --config.data.path="shards-{000..099}.tar" --config.batch_size=32768 --out=RUN

For pods: webdataset shards, bfloat16 towers, rematerialised and scanned blocks, parameters cut over `fsdp` devices,
the batch in two exact parts. The bias starts at -10, so that a batch's many negatives do not drown its positives; it is
kept in the result's `source`, as a CLIP file has none. The argument is another model: `siglip_ring:ViT-L/14`.

Hardware: a pod, or any number of devices that divides the batch. Measured (2026-11-24, 8 virtual devices on two AMD
EPYC cores beside other work, emoji-clip, batch 64 in two parts, float32, four shards of Tux Paint's stamps): loss 17.4
at step 5 -> 12.6 at step 20, 23 images/s. Not run on a pod: nobody here has one.
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
    config.optimizer.b2 = 0.95  # SigLIP, section 4.2: steadier at large batches
    config.optimizer.multipliers = "logit_(scale|bias)=10"  # they start far from where they end
    config.soft_targets = True
    return config
