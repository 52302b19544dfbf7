"""The extractor of sounds: level and movement of every mel band."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from simulacra.evaluation.extractors import Extractor
from simulacra.mathematics.mel import log_mel


def log_mel_extractor(rate: float, *, window: int = 512, hop: int = 128, count: int = 40) -> Extractor:
    """Sounds (b, samples) or (b, 1, samples) to the mean and deviation over time of their log-mel bands, (b, 2 count).

    rate  samples a second; window, hop, count as in ``log_mel``. A fixed rule: nothing is learnt.
    """
    name = f"log-mel {count} bands, {window} samples, hop {hop}, {rate:g} Hz"

    def features(x: Tensor) -> Tensor:
        seen = log_mel(x.flatten(1).float(), rate, window=window, hop=hop, count=count)
        return torch.cat([seen.mean(2), seen.std(2, correction=0)], 1)

    return Extractor(name="log-mel", hash=hashlib.sha256(name.encode()).hexdigest(), features=features)
