"""Settings survive JSON, and nothing outside the table can be named."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from simulacra.core.optimisers import AdamW, Warmup
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.mathematics.augmentation import mirror
from simulacra.nets.augment import ADA, DiffAugment
from simulacra.recipes.families import FAMILIES
from simulacra.recipes.published import PUBLISHED
from simulacra.recipes.settings import from_json, to_json
from simulacra.recipes.vocabulary import SETTINGS
from simulacra.training.settings import Training

OF_TOKENS = ("transformer", "sequence_vae")  # families of sequences alone
OF_PAIRS = ("pix2pix",)  # of pictures that are given pictures
OF_TABLES = ("any_order", "mixed_diffusion", "table_gan")  # and of tables


@pytest.mark.parametrize("family", FAMILIES)
def test_every_familys_settings_survive_json(family):
    config = FAMILIES[family].config()
    assert from_json(json.loads(json.dumps(to_json(config))), SETTINGS) == config


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_survive_json_and_fit_their_family(name):
    known = PUBLISHED[name]
    for value in (known.config, known.training):
        assert from_json(json.loads(json.dumps(to_json(value))), SETTINGS) == value
    assert isinstance(known.config, FAMILIES[known.family].config)


def test_nested_settings_functions_and_infinities_survive():
    for value in (
        AdamW(lr=1e-5, betas=(0.0, 0.9), schedule=Warmup(steps=7, decay=0.25)),
        Training(minutes=0.5, clip=None),
        ADA(target=0.5, places=(mirror,)),
        DiffAugment(),
        (1, 2.5, "a", None, True, (math.inf,)),
        {"a": (1, 2)},
    ):
        assert from_json(json.loads(json.dumps(to_json(value))), SETTINGS) == value


def test_a_setting_that_no_table_could_name_is_refused():
    with pytest.raises(ValueError, match="named function"):
        to_json(lambda x: x)


@pytest.mark.parametrize("value", [{"is": "os:system"}, {"function": "subprocess:run"}, {"is": "builtins:eval"}])
def test_what_the_table_does_not_list_is_not_looked_up(value):
    with pytest.raises(ValueError, match="no setting is called"):
        from_json(value, SETTINGS)


def test_an_unknown_field_is_named():
    with pytest.raises(ValueError, match=r"no setting \['speed'\]"):
        from_json({**to_json(AdamW()), "speed": 3}, SETTINGS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_survive_json_and_name_their_family(name):
    known = PUBLISHED[name]
    assert from_json(json.loads(json.dumps(to_json(known.config))), SETTINGS) == known.config
    assert isinstance(known.config, FAMILIES[known.family].config)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_recipe_builds_a_model_of_a_small_example_and_survives_json(family):
    space = Space(fields={"x": Continuous(low=-1.0, high=1.0, levels=4, shape=(1, 8, 8))}, measure="pixels")
    if family in OF_TOKENS:
        space = Space(fields={"x": Categorical(k=5, shape=(8,))}, measure="tokens")
    if family in OF_TABLES:
        space = Space(fields={"a": Categorical(k=5), "b": Continuous(low=0, high=1)}, measure="columns")
    if family in OF_PAIRS:
        space = replace(space, y=space)
    if family == "cyclegan":
        space = replace(space, y=Classes(names=("a", "b")))
    if family == "seq2seq":  # the one that needs a condition
        words = Categorical(k=5, shape=(8,), varying=True)
        space = Space(fields={"target": words}, y=Space(fields={"source": words}), measure="tokens")
    config, training = FAMILIES[family].recipe(space, 100)
    assert from_json(json.loads(json.dumps(to_json(config))), SETTINGS) == config
    assert training.steps
    assert FAMILIES[family].build(config, space, rng=0).space == space
