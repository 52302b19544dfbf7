"""Which way of writing data a family learns best from: fields of a table's numbers (``modalities.tables``), frames of
keys (``modalities.music.frames``)."""

from __future__ import annotations

# families that are not here take normal scores
PREFERRED: dict[str, str] = {
    "frames": "roll",  # all keys of a frame at once
    "any_order": "bins:256",  # so that each of a few weighty numbers, such as capital gains, has a bin of its own
    "table_gan": "mixture",  # a generator finds modes one by one, and offsets within them easily (Xu et al. 2019)
    "vqvae": "bins",
}


def preferred(family: str) -> str:
    """The encoding of numbers, or of frames, that a family is given unless somebody says."""
    return PREFERRED.get(family, "quantile")
