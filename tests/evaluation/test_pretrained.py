"""Networks of others, by construction: numbers of parameters, names, shapes, layers by hand, a library's outputs."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.evaluation import pretrained
from simulacra.nets.inception import Inception, block_e, largest, mean_within
from simulacra.nets.initialise import initialise, normal
from simulacra.nets.vision import VisionConfig, VisionTransformer, quick_gelu

RGB = Space(fields={"p": Continuous(low=-1, high=1, levels=256, shape=(3, 28, 28))})
DINOV2 = {"image_size": 28, "patch_size": 14, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
CLIP_VISION = {"image_size": 28, "patch_size": 14, "hidden_size": 32, "num_hidden_layers": 2,
               "num_attention_heads": 4, "intermediate_size": 64}  # fmt: skip


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def network():
    made = Inception().eval().requires_grad_(False)
    initialise(made, Rng(0), linear=lambda w, rng: normal((2 / w[0].numel()) ** 0.5)(w, rng))
    return made


def test_inception_has_the_published_number_of_parameters():
    """27,161,264 of the published network, less 3,326,696 of its second output, and eight classes of 2,049 more."""
    with torch.device("meta"):
        assert count(Inception()) == 27_161_264 - 3_326_696 + 8 * 2049


def test_inception_s_names_and_shapes():
    with torch.device("meta"):
        state = Inception().state_dict()
    shapes = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_4a_3x3.bn.running_var": (192,),
        "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
        "Mixed_5d.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
        "Mixed_6b.branch7x7dbl_5.conv.weight": (192, 128, 1, 7),
        "Mixed_6e.branch7x7_3.conv.weight": (192, 192, 7, 1),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7b.branch3x3_2b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch3x3dbl_3a.conv.weight": (384, 384, 1, 3),
        "Mixed_7c.branch1x1.conv.weight": (320, 2048, 1, 1),
        "fc.weight": (1008, 2048),
        "fc.bias": (1008,),
    }
    assert {n: tuple(state[n].shape) for n in shapes} == shapes
    assert sum(n.endswith("conv.weight") for n in state) == 94  # convolutions of the published network


@pytest.mark.slow
def test_inception_sees_pictures_of_its_size(network):
    sizes: dict[str, tuple[int, ...]] = {}
    for name, layer in network.named_children():
        layer.register_forward_hook(lambda m, i, o, name=name: sizes.update({name: tuple(o.shape[1:])}))
    out = network(torch.full((1, 3, 299, 299), 128.0))
    # Szegedy et al. 2016, table 1
    assert sizes["Conv2d_1a_3x3"] == (32, 149, 149)
    assert sizes["Conv2d_2b_3x3"] == (64, 147, 147)
    assert sizes["Mixed_5d"] == (288, 35, 35)
    assert sizes["Mixed_6e"] == (768, 17, 17)
    assert sizes["Mixed_7c"] == (2048, 8, 8)
    # a picture of 128 is nought after scaling, and without biases stays so
    assert torch.equal(out, torch.zeros(1, 2048))
    with torch.no_grad():
        network.fc.bias.fill_(7.0)
    assert float(network.logits(torch.zeros(1, 2048)).abs().sum()) == 0


def test_means_leave_out_the_padding():
    x = torch.ones(1, 1, 4, 4)
    assert torch.equal(mean_within(x), x)
    x[0, 0, 0, 0] = 9
    assert float(mean_within(x)[0, 0, 0, 0]) == pytest.approx((9 + 3) / 4)
    assert float(largest(x)[0, 0, 1, 1]) == 9


def test_a_block_joins_its_paths_in_order():
    """Of the last kind: 320, twice 384 and twice 384 that part at their ends, 192 of the pool."""
    block = block_e(8, largest).eval()
    initialise(block, Rng(1))
    x = Rng(2)("x").normal((1, 8, 5, 5))
    with torch.no_grad():
        whole = block(x)
        assert whole.shape == (1, 2048, 5, 5)
        torch.testing.assert_close(whole[:, :320], block.branch1x1(x))
        h = block.branch3x3_1(x)
        torch.testing.assert_close(whole[:, 320:704], block.branch3x3_2a(h))
        torch.testing.assert_close(whole[:, 704:1088], block.branch3x3_2b(h))
        h = block.branch3x3dbl_2(block.branch3x3dbl_1(x))
        torch.testing.assert_close(whole[:, 1472:1856], block.branch3x3dbl_3b(h))
        torch.testing.assert_close(whole[:, 1856:], block.branch_pool(F.max_pool2d(x, 3, 1, 1)))


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        # published counts: DINOv2 ViT-S/14 and ViT-B/14 without their mask token, CLIP ViT-B/32's picture side
        ({"width": 384, "depth": 12, "heads": 6, "hidden": 1536, "side": 518, "patch": 14}, 22_056_576 - 384),
        ({"width": 768, "depth": 12, "heads": 12, "hidden": 3072, "side": 518, "patch": 14}, 86_580_480 - 768),
        (
            {"width": 768, "depth": 12, "heads": 12, "hidden": 3072, "side": 224, "patch": 32, "before": True,
             "scaled": False, "projected": 512},
            87_849_216,
        ),
    ],
)  # fmt: skip
def test_transformers_have_the_published_number_of_parameters(config, parameters):
    with torch.device("meta"):
        assert count(VisionTransformer(VisionConfig(**config))) == parameters


def test_quick_gelu():
    x = torch.tensor([-1.0, 0.0, 2.0])
    torch.testing.assert_close(quick_gelu(x), x / (1 + (-1.702 * x).exp()))


def test_positions_are_stretched_smoothly_and_kept_as_they_are():
    network = VisionTransformer(VisionConfig(side=28, patch=7, width=8, depth=1, heads=2, hidden=16))
    with torch.no_grad():
        network.position.copy_(torch.arange(17.0)[:, None].expand(-1, 8))
    assert network.positions(4, 4) is network.position
    wide = network.positions(4, 8)
    assert wide.shape == (33, 8)
    assert torch.equal(wide[0], network.position[0])
    assert float(wide[1:].mean().detach()) == pytest.approx(float(network.position[1:].mean().detach()), rel=1e-3)
    assert network(torch.zeros(2, 3, 28, 56)).shape == (2, 8)


def hub(folder, name: str):
    """A tiny model of the library's own with random weights, written as a hub directory has it; the model."""
    transformers = pytest.importorskip("transformers", reason="the extra `hub` brings the oracle")
    if name == "dinov2":
        model = transformers.Dinov2Model(transformers.Dinov2Config(**DINOV2))
    else:
        config = transformers.CLIPConfig(vision_config=CLIP_VISION, text_config={"num_hidden_layers": 1}).to_dict()
        model = transformers.CLIPModel(transformers.CLIPConfig.from_dict({**config, "projection_dim": 24}))
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(0.3 * Rng(i)("p").normal((p.numel(),)).reshape(p.shape))
    model.eval().save_pretrained(folder)
    return model


@pytest.mark.parametrize("name", ["dinov2", "clip"])
def test_outputs_are_those_of_transformers(tmp_path, name):
    model = hub(tmp_path, name)
    extractor = getattr(pretrained, name)(RGB, tmp_path)
    x = Rng(0)("x").integers(256, (3, 3, 28, 28)) / 127.5 - 1
    found = extractor(x)
    side, of = (224, 256) if name == "dinov2" else (28, 28)
    mean, spread = (torch.tensor(t).reshape(1, 3, 1, 1) for t in (pretrained.IMAGENET, pretrained.CLIP)[name == "clip"])
    seen = (pretrained.cropped((x + 1) * 127.5, side, of).clamp(0, 255) / 255 - mean) / spread
    with torch.no_grad():
        if name == "dinov2":
            expected = model(seen).last_hidden_state[:, 0]
        else:
            expected = model.visual_projection(model.vision_model(seen).pooler_output)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert extractor.hash == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()


def written(folder, config: VisionConfig, names: dict[str, str]) -> VisionTransformer:
    """A network of ours under a hub's names."""
    network = VisionTransformer(config).eval()
    with torch.no_grad():
        for i, p in enumerate(network.parameters()):
            p.copy_(0.3 * Rng(i)("p").normal((p.numel(),)).reshape(p.shape))
    tensors = {}
    for name, t in network.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        tensors[name] = t.clone()
    save_file(tensors, folder / "model.safetensors")
    return network


def test_clip_s_names_lead_home(tmp_path):
    """The names of a CLIP checkpoint, spelt out: what is read is what was written, the text side left aside."""
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": CLIP_VISION, "projection_dim": 24}))
    seen = "vision_model.encoder.layers"
    names = {"blocks": seen, ".query": ".self_attn.q_proj", ".key": ".self_attn.k_proj", ".out": ".self_attn.out_proj",
             ".value": ".self_attn.v_proj", "norm1": "layer_norm1", "norm2": "layer_norm2", "fc": "mlp.fc",
             "before": "vision_model.pre_layrnorm", "after": "vision_model.post_layernorm",
             "patches": "vision_model.embeddings.patch_embedding", "token": "vision_model.embeddings.class_embedding",
             "position": "vision_model.embeddings.position_embedding.weight",
             "projection": "visual_projection"}  # fmt: skip
    network = written(tmp_path, pretrained.clip_config(json.loads((tmp_path / "config.json").read_text())), names)
    extractor = pretrained.clip(RGB, tmp_path)
    x = Rng(0)("x").integers(256, (2, 3, 28, 28)) / 127.5 - 1
    mean, spread = (torch.tensor(t).reshape(1, 3, 1, 1) for t in pretrained.CLIP)
    with torch.no_grad():
        torch.testing.assert_close(extractor(x), network(((x + 1) / 2 - mean) / spread), rtol=1e-4, atol=1e-4)
    assert extractor.name == "CLIP ViT-32/14"


def test_pictures_are_shown_as_bytes():
    grey = Space(fields={"p": Continuous(low=0, high=1, levels=17, shape=(1, 2, 2))})
    seen = pretrained.bytes_of(torch.tensor([0.0, 0.5, 0.001, 1.2]).reshape(1, 1, 2, 2), grey)
    assert seen.shape == (1, 3, 2, 2)
    assert seen[0, 0].flatten().tolist() == [0, 128, 0, 255]
    with pytest.raises(ValueError, match=r"pictures of shape \(3, 2, 2\); expected \(1, 2, 2\)"):
        pretrained.bytes_of(torch.zeros(1, 3, 2, 2), grey)
    clear = Space(fields={"p": Continuous(low=0, high=1, shape=(4, 2, 2))})
    with pytest.raises(ValueError, match="grey or RGB pictures"):
        pretrained.bytes_of(torch.zeros(1, 4, 2, 2), clear)


@pytest.mark.slow
def test_inception_is_read_from_its_file(tmp_path, network):
    path = tmp_path / "weights.pth"
    torch.save({n: t for n, t in network.state_dict().items() if "num_batches" not in n}, path)
    with pytest.raises(ValueError, match="expected 6726825d: it is damaged, or of other weights"):
        pretrained.inception(RGB, path)
    extractor = pretrained.inception(RGB, path, sha=None)
    x = Rng(0)("x").integers(256, (2, 3, 28, 28)) / 127.5 - 1
    assert extractor(x).shape == (2, 2048)
    torch.testing.assert_close(extractor.probabilities(x).sum(1), torch.ones(2))
    assert extractor.published("Frechet distance", 50_000) == "Frechet distance"


def test_published_names_need_the_published_protocol():
    known = pretrained.INCEPTION_STANDARD
    extractor = pretrained.Extractor(name="x", hash="0", features=lambda x: x, standard=known)
    assert extractor.published("Frechet distance", 50_000) == "FID-50k"
    assert extractor.published("Frechet distance", 10_000) == "Frechet distance"
    assert extractor.published("kernel distance, mean of 100 subsets", 50_000) == "KID"
    assert extractor.published("kernel distance", 50_000) == "kernel distance"  # of all pairs: not the protocol's
    assert extractor.published("coverage (k=5)", 50_000) == "coverage (k=5)"


def test_weights_of_another_network_are_named(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(DINOV2))
    with pytest.raises(ValueError, match=r"the network lacks token and \d+ more; these are weights of another network"):
        pretrained.dinov2(RGB, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="no weights that can be read"):
        pretrained.dinov2(RGB, tmp_path)
    with pytest.raises(ValueError, match="no weights at .*nothing is fetched"):
        pretrained.inception(RGB, tmp_path / "absent.pth")
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="has no config.json"):
        pretrained.clip(RGB, tmp_path)
