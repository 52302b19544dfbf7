"""Which way of making fields of a table's numbers a family learns best from; ``modalities.tables`` has them."""

from __future__ import annotations

# families that are not here take normal scores
PREFERRED: dict[str, str] = {
    "gan": "mixture",  # a generator finds many modes one by one, and offsets within them easily (Xu et al. 2019)
    "vqvae": "bins",
    "discrete_diffusion": "bins",
}


def preferred(family: str) -> str:
    """The encoding of numbers that a family is given unless somebody says."""
    return PREFERRED.get(family, "quantile")
