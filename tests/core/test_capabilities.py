"""What a model can do is which methods it has."""

import pytest
import torch

from simulacra.core import capabilities as c
from simulacra.core.capabilities import capabilities, require

METHODS = {
    c.Modelled: ["space"],
    c.Learner: ["players", "turns"],
    c.Fitter: ["fit"],
    c.Sampler: ["sample"],
    c.ConditionalSampler: ["sample_given"],
    c.Likelihood: ["log_likelihood"],
    c.LogProb: ["log_prob_of"],
    c.Decoder: ["latent", "decode"],
    c.Invertible: ["latent", "to_latent", "from_latent"],
    c.Codec: ["latent", "encode", "decode", "posterior"],
    c.LatentVariable: ["latent", "log_prob_given", "sample_from"],
    c.Factorised: ["latent", "choice_log_probs"],
    c.Completer: ["complete"],
    c.Prompted: ("steps", "continue_from"),
    c.Stepwise: ("walk",),
    c.Denoiser: ("denoise",),
    c.Critic: ["criticise"],
    c.Labelled: ["label_log_prob"],
}


def model(*methods: str) -> object:
    return type("Stranger", (), {name: lambda self: None for name in methods})()


def test_every_capability_is_listed_once():
    assert set(METHODS) == set(c.CAPABILITIES)
    assert len(set(c.CAPABILITIES)) == len(c.CAPABILITIES)


@pytest.mark.parametrize(("capability", "methods"), METHODS.items(), ids=lambda v: getattr(v, "__name__", None))
def test_a_model_has_it_with_all_of_its_methods_and_not_with_fewer(capability, methods):
    assert capability in capabilities(model(*methods))
    for missing in methods:
        assert capability not in capabilities(model(*(m for m in methods if m != missing)))


def test_a_codec_is_a_decoder_and_nothing_else_follows():
    assert capabilities(model(*METHODS[c.Codec])) == (c.Decoder, c.Codec)
    assert capabilities(object()) == ()


def test_a_module_s_registered_parts_count():
    class Stranger(torch.nn.Module):
        def sample(self): ...

    assert capabilities(Stranger()) == (c.Sampler,)


@pytest.mark.parametrize(("capability", "methods"), METHODS.items(), ids=lambda v: getattr(v, "__name__", None))
def test_a_refusal_names_the_use_what_is_missing_and_what_there_is(capability, methods):
    stranger = model("sample", *methods) if capability is not c.Sampler else model("fit")
    if capability is not c.Sampler:
        assert require(stranger, capability, "anything") is stranger
        stranger = model("sample")
    with pytest.raises(ValueError, match=f"compress needs a {capability.__name__} ") as error:
        require(stranger, capability, "compress")
    words = str(error.value)
    assert all(method in words for method in methods)
    assert "Stranger is " + ("Fitter" if capability is c.Sampler else "Sampler") in words


def test_a_model_that_can_do_nothing_is_said_so():
    with pytest.raises(ValueError, match="nothing we know of"):
        require(object(), c.Codec, "compress")
