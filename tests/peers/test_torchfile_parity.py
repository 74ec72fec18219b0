"""Torch files against torch itself, both ways, and against OpenAI's own loader."""

import collections
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from checkpoints_convert import torchfile

pytestmark = [
    pytest.mark.peers,
    # torch deprecates TorchScript, and `import clip` asks for pkg_resources: their warnings, not ours.
    pytest.mark.filterwarnings("ignore"),
]
WRITTEN_TYPES = ["float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"]


def as_numpy(tensor) -> np.ndarray:
    import torch

    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def assert_same(ours: dict[str, np.ndarray], theirs) -> None:
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        wanted = as_numpy(tensor)
        assert ours[name].dtype == wanted.dtype, name
        assert ours[name].shape == wanted.shape, name
        assert ours[name].tobytes() == wanted.tobytes(), name


def small_clip(vision_layers):
    """OpenAI's class at its smallest, in fp16 with the buffers of the released archives."""
    import clip.model
    import torch

    torch.manual_seed(0)
    model = clip.model.CLIP(
        embed_dim=16,
        image_resolution=32,
        vision_layers=vision_layers,
        vision_width=64,
        vision_patch_size=None if isinstance(vision_layers, tuple) else 16,
        context_length=8,
        vocab_size=50,
        transformer_width=64,
        transformer_heads=1,
        transformer_layers=2,
    )
    clip.model.convert_weights(model)
    for name, value in {"input_resolution": 32, "context_length": 8, "vocab_size": 50}.items():
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(value))
    return model.eval()


@pytest.mark.parametrize("vision_layers", [2, (1, 1, 1, 1)], ids=["vit", "resnet"])
def test_openai_archive_reads_as_torch_reads_it(vision_layers, tmp_path):
    import torch

    model = small_clip(vision_layers)
    tokens = torch.zeros(2, 8, dtype=torch.int32)
    with torch.no_grad():
        traced = torch.jit.trace(model, (torch.randn(2, 3, 32, 32), tokens), check_trace=False)
    torch.jit.save(traced, tmp_path / "model.pt")

    found = torchfile.read(tmp_path / "model.pt")
    theirs = torch.jit.load(tmp_path / "model.pt", map_location="cpu").state_dict()
    assert found.kind == "torchscript"
    assert set(found.tensors) == set(theirs) == set(model.state_dict())
    assert_same({name: found.tensors[name] for name in theirs}, theirs)
    assert found.tensors["visual.conv1.weight"].dtype == np.float16
    assert found.tensors["vocab_size"] == 50
    assert "torch.sigmoid(" in found.code()  # QuickGELU, in the text encoder of both


def test_scripted_module_reads_as_torch_reads_it(tmp_path):
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.GELU(), nn.Linear(4, 2).bfloat16()))
    torch.jit.save(torch.jit.script(model), tmp_path / "model.pt")
    found = torchfile.read(tmp_path / "model.pt").tensors
    theirs = torch.jit.load(tmp_path / "model.pt").state_dict()
    assert set(found) == set(theirs)
    assert_same({name: found[name] for name in theirs}, theirs)


@pytest.mark.parametrize("kind", WRITTEN_TYPES)
def test_views_of_every_type_read_as_torch_reads_them(kind, tmp_path):
    import torch

    generator = np.random.default_rng(0)
    base = torch.from_numpy(generator.integers(0, 2, 120)).to(getattr(torch, kind))
    views = {
        "base": base,
        "offset": base[7:19],
        "transposed": base.view(10, 12).t(),
        "permuted": base.view(2, 3, 4, 5).permute(3, 1, 0, 2),
        "sliced": base.view(10, 12)[1:9:3, 2:11:4],
        "expanded": base[:3].expand(5, 3),
        "unfolded": base.unfold(0, 8, 3),
        "scalar": base[50],
        "empty": base[:0],
    }
    torch.save(views, tmp_path / "x.pt")
    assert_same(torchfile.read(tmp_path / "x.pt").tensors, torch.load(tmp_path / "x.pt"))


def test_trainer_checkpoint_reads_as_torch_reads_it(tmp_path):
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    checkpoint = {"epoch": 3, "name": "run", "state_dict": state, "optimizer": optimizer.state_dict()}
    torch.save(checkpoint, tmp_path / "x.pt")
    prefix = "state_dict.module."
    found = torchfile.read(tmp_path / "x.pt").tensors
    assert_same({n.removeprefix(prefix): a for n, a in found.items() if n.startswith(prefix)}, model.state_dict())


def test_written_file_opens_in_torch(tmp_path):
    import torch

    numbers = np.random.default_rng(0).integers(0, 2, (3, 4, 5))
    tensors = {kind: numbers.astype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind) for kind in WRITTEN_TYPES}
    tensors |= {"scalar": np.array(2.5, np.float32), "empty": np.zeros((0,)), "axis": np.zeros((2, 0, 3), np.int32)}
    tensors["transposed"] = np.arange(6.0).reshape(2, 3).T
    torchfile.write(tmp_path / "x.pt", tensors)
    for mapped in (False, True):
        theirs = torch.load(tmp_path / "x.pt", weights_only=True, mmap=mapped)
        assert type(theirs) is collections.OrderedDict
        assert all(tensor.is_contiguous() for tensor in theirs.values())
        assert_same(tensors, theirs)
    with pytest.raises(RuntimeError, match=r"constants\.pkl"):
        torch.jit.load(tmp_path / "x.pt")


@pytest.mark.parametrize("vision_layers", [2, (1, 1, 1, 1)], ids=["vit", "resnet"])
def test_clip_load_opens_what_we_write(vision_layers, tmp_path):
    import clip
    import torch

    model = small_clip(vision_layers)
    torch.save(model.state_dict(), tmp_path / "theirs.pt")
    torchfile.write(tmp_path / "ours.pt", torchfile.read(tmp_path / "theirs.pt").tensors)
    path: Path = tmp_path / "ours.pt"
    opened, _ = clip.load(str(path), device="cpu")
    pixels, tokens = torch.randn(2, 3, 32, 32), torch.tensor([[1, 2, 49, 0, 0, 0, 0, 0]])
    with torch.no_grad():
        assert torch.equal(opened.encode_image(pixels), model.float().encode_image(pixels))
        assert torch.equal(opened.encode_text(tokens), model.float().encode_text(tokens))
