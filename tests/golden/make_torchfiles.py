"""Makes tests/golden/torchfile with torch itself; tests/checkpoints_convert/test_torchfile.py reads it without torch.

    python tests/golden/make_torchfiles.py        (extra [peers]; last made with torch 2.14.1)

`expected.npz` holds what torch sees in each file, as "file|tensor"; bfloat16 as its bits, marked "file|tensor|bf16".
"""

import argparse
import collections
from pathlib import Path

import numpy as np
import torch
from torch import nn

OUT = Path(__file__).parent / "torchfile"
VERSIONS = f"torch {torch.__version__}, numpy {np.__version__}"


class Attention(nn.Module):
    """Two levels below the root, with a parameter of its own beside its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(9, 3))
        self.out_proj = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out_proj((x @ self.in_proj_weight.t())[:, :3])


class Model(nn.Module):
    """The kinds of attribute that OpenAI's archives have: fp16 weights, integer buffers, scalars, a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = Attention()
        self.blocks = nn.Sequential(collections.OrderedDict(c_fc=nn.Linear(3, 4), gelu=nn.GELU(), norm=nn.LayerNorm(4)))
        self.logit_scale = nn.Parameter(torch.tensor(4.6052))
        self.register_buffer("input_resolution", torch.tensor(224))
        self.eps = 1e-5
        self.title = "tiny"
        self.sizes = [1, 2, 3]
        self.nothing = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.attn(x)) * self.logit_scale.exp() * self.eps


def half_weights(model: nn.Module) -> nn.Module:
    """As OpenAI's `convert_weights`: linear layers in fp16, the rest in fp32."""
    for name, module in model.named_modules():
        if name in ("attn.out_proj", "blocks.c_fc"):  # by name, as a traced module has lost its class
            module.half()
    return model


def views() -> dict[str, torch.Tensor]:
    """Tensors that are no plain run of a storage of their own, and every dtype that is read."""
    base = torch.arange(24, dtype=torch.float32)
    plain = {
        "whole": base,
        "offset": base[5:9],
        "reshaped": base.view(2, 3, 4),
        "transposed": base.view(4, 6).t(),
        "permuted": base.view(2, 3, 4).permute(2, 0, 1),
        "sliced": base.view(4, 6)[1:3, 1:5:2],
        "expanded": torch.tensor([1.0, 2.0]).expand(3, 2),
        "diagonal": base[:16].view(4, 4).diagonal(),
        "scalar": torch.tensor(2.5),
        "scalar_of_many": base[7],
        "empty": torch.zeros(0),
        "empty_axis": torch.zeros(3, 0, 2),
        "parameter": nn.Parameter(torch.randn(2, 2)),
        "parameter_with_attribute": nn.Parameter(torch.randn(2)),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "one_axis_one": torch.randn(4, 4)[:, :1].t(),
    }
    plain["parameter_with_attribute"].is_gain = True
    names = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool"
    return plain | {name: torch.tensor([0, 1, 2]).to(getattr(torch, name)) for name in names.split()}


def trainer() -> dict[str, object]:
    """A checkpoint as training scripts leave it: DDP's prefix, Adam's state, numbers, a schedule."""
    model = nn.Sequential(collections.OrderedDict(fc=nn.Linear(2, 3), norm=nn.BatchNorm1d(3)))
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 2, 5])
    model(torch.randn(4, 2)).square().sum().backward()
    optimizer.step()
    schedule.step()
    return {
        "epoch": 7,
        "name": "run-7",
        "best": torch.tensor(0.25),
        "state_dict": collections.OrderedDict((f"module.{k}", v) for k, v in model.state_dict().items()),
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
    }


def refused() -> dict[str, object]:
    """What torch saves and clipjax names and refuses."""
    ones = torch.ones(3)
    return {
        "sparse": {"w": ones.to_sparse()},
        "sparse_csr": {"w": torch.eye(3).to_sparse_csr()},
        "quantised": {"w": torch.quantize_per_tensor(ones, 0.1, 0, torch.qint8)},
        "complex": {"w": ones.to(torch.complex64)},
        "float8": {"w": ones.to(torch.float8_e4m3fn)},
        "meta": {"w": torch.ones(2, device="meta")},
        "conjugated": {"w": ones.to(torch.complex64).conj()},
        "whole_model": nn.Linear(1, 1),
        "list": [ones, ones],
    }


def values(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Torch's own values, in a form that npz keeps."""
    found = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        if tensor.dtype == torch.bfloat16:
            found[f"{prefix}|{name}|bf16"] = tensor.view(torch.int16).numpy()
        else:
            found[f"{prefix}|{name}"] = tensor.numpy()
    return found


def main() -> None:
    """Writes every file."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    OUT.mkdir(exist_ok=True)
    torch.manual_seed(0)
    expected = {"versions": np.array(VERSIONS)}

    traced = half_weights(torch.jit.trace(Model(), torch.randn(2, 3)))
    scripted = torch.jit.script(half_weights(Model()))
    for name, module in {"traced": traced, "scripted": scripted}.items():
        torch.jit.save(module, OUT / f"{name}.pt")
        expected |= values(name, torch.jit.load(OUT / f"{name}.pt", map_location="cpu").state_dict())

    for name, content in {"views": views(), "trainer": trainer()}.items():
        torch.save(content, OUT / f"{name}.pt")
    expected |= values("views", torch.load(OUT / "views.pt"))
    expected |= values("trainer", torch.load(OUT / "trainer.pt")["state_dict"])

    for name, content in refused().items():
        torch.save(content, OUT / f"refused_{name}.pt")
    torch.save({"w": torch.ones(3)}, OUT / "refused_legacy.pt", _use_new_zipfile_serialization=False)
    np.savez_compressed(OUT / "expected.npz", **expected)


if __name__ == "__main__":
    main()
