"""More peers on the same features, in float64: torch-fidelity, clean-fid, torchmetrics; and 50,000 rows a side in 4 GB.

KID is measured as it is published, by subsets of 1,000 rows at D = 2048, each side given the same subsets.
torch-fidelity and clean-fid import torchvision for their networks, which none of these functions touches: an empty one
stands in for it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.harness import Row

HERE = Path(__file__).resolve()
SUBSET = 1000
SEED = 2020


def features(n: int, d: int) -> tuple[Any, Any]:
    """The features of ``bench/evaluation.py``."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("evaluation_features", HERE.with_name("evaluation.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["evaluation_features"] = module
    spec.loader.exec_module(module)
    return module.features(n, d)


def _without_torchvision() -> None:
    from unittest.mock import MagicMock

    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.models",
                 "torchvision.datasets", "torchvision.utils"):  # fmt: skip
        sys.modules[name] = MagicMock(name=name)


# kernel distances of subsets


def our_subsets(n: int, d: int, subsets: int, peer: str) -> Any:
    """Ours, of the subsets that a peer draws: each has its own order of drawing."""
    import numpy as np
    import torch

    from simulacra.mathematics.two_sample import kernel_distances

    fake, real = map(torch.from_numpy, features(n, d))
    rows = []
    if peer == "torchmetrics":
        torch.manual_seed(SEED)
        for _ in range(subsets):
            b = torch.randperm(n)[:SUBSET]
            rows.append((torch.randperm(n)[:SUBSET], b))
    else:
        rng = np.random.RandomState(SEED)
        for _ in range(subsets):
            pair = [torch.from_numpy(rng.choice(n, SUBSET, replace=False)) for _ in range(2)]
            rows.append((pair[0], pair[1]) if peer == "torch_fidelity" else (pair[1], pair[0]))
    return lambda: {"value": float(kernel_distances(fake, real, rows).mean()), "work": subsets}


def torch_fidelity_subsets(n: int, d: int, subsets: int) -> Any:
    import torch

    _without_torchvision()
    from torch_fidelity.metric_kid import kid_features_to_metric

    fake, real = map(torch.from_numpy, features(n, d))
    settings = {"kid_subsets": subsets, "kid_subset_size": SUBSET, "rng_seed": SEED, "verbose": False}

    def one_round() -> dict[str, float]:
        found = kid_features_to_metric(fake, real, **settings)
        return {"value": found["kernel_inception_distance_mean"], "work": subsets}

    return one_round


def clean_fid_subsets(n: int, d: int, subsets: int) -> Any:
    import numpy as np

    _without_torchvision()
    from cleanfid.fid import kernel_distance

    fake, real = features(n, d)

    def one_round() -> dict[str, float]:
        np.random.seed(SEED)  # noqa: NPY002 - the peer draws its subsets from there
        return {"value": kernel_distance(fake, real, num_subsets=subsets, max_subset_size=SUBSET), "work": subsets}

    return one_round


def torchmetrics_subsets(n: int, d: int, subsets: int) -> Any:
    import torch
    from torchmetrics.image.kid import KernelInceptionDistance

    class Given(torch.nn.Module):
        num_features = d

        def forward(self, x: Any) -> Any:
            return x

    fake, real = map(torch.from_numpy, features(n, d))

    def one_round() -> dict[str, float]:
        metric = KernelInceptionDistance(feature=Given(), subsets=subsets, subset_size=SUBSET)
        metric.set_dtype(torch.float64)
        metric.update(real, real=True)
        metric.update(fake, real=False)
        torch.manual_seed(SEED)
        return {"value": float(metric.compute()[0]), "work": subsets}

    return one_round


# Frechet distance, class score, precision and recall


def our_frechet(n: int, d: int) -> Any:
    import torch

    from simulacra.mathematics.frechet import frechet_distance

    fake, real = map(torch.from_numpy, features(n, d))
    return lambda: {"value": frechet_distance(fake, real)}


def torch_fidelity_frechet(n: int, d: int) -> Any:
    import torch

    _without_torchvision()
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    fake, real = map(torch.from_numpy, features(n, d))

    def one_round() -> dict[str, float]:
        both = [fid_features_to_statistics(x) for x in (fake, real)]
        return {"value": fid_statistics_to_metric(*both, False)["frechet_inception_distance"]}

    return one_round


def clean_fid_frechet(n: int, d: int) -> Any:
    import numpy as np

    _without_torchvision()
    from cleanfid.fid import fid_from_feats

    fake, real = features(n, d)
    return lambda: {"value": float(np.real(fid_from_feats(fake, real)))}


def our_class_score(n: int, d: int) -> Any:
    import numpy as np
    import torch

    from simulacra.mathematics.two_sample import class_scores

    logits = torch.from_numpy(features(n, d)[0])[np.random.RandomState(SEED).permutation(n)]
    return lambda: {"value": float(class_scores(logits.softmax(1)).mean())}


def torch_fidelity_class_score(n: int, d: int) -> Any:
    import torch

    _without_torchvision()
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = torch.from_numpy(features(n, d)[0])
    return lambda: {"value": isc_features_to_metric(logits, 10, True, SEED)["inception_score_mean"]}


def our_precision(n: int, d: int) -> Any:
    import torch

    from simulacra.mathematics.two_sample import manifolds

    fake, real = map(torch.from_numpy, features(n, d))

    def one_round() -> dict[str, list[float]]:
        found = manifolds(fake, real, k=3)
        return {"value": [float(found.precise.mean()), float(found.recalled.mean())]}

    return one_round


def torch_fidelity_precision(n: int, d: int) -> Any:
    import torch

    _without_torchvision()
    from torch_fidelity.metric_prc import prc_features_to_metric

    fake, real = map(torch.from_numpy, features(n, d))

    def one_round() -> dict[str, list[float]]:
        found = prc_features_to_metric(
            fake, real, prc_neighborhood=3, prc_batch_size=10_000, save_cpu_ram=False, verbose=False
        )
        return {"value": [found["precision"], found["recall"]]}

    return one_round


def run() -> list[Row]:
    """Every peer that is not in ``bench/evaluation.py``."""
    from bench.evaluation import agreement, peers
    from bench.harness import Side, compare, environment, faster

    # apart from torchmetrics, which imports torch-fidelity where it finds it, and with it torchvision
    apart = environment(
        "fidelity", ["numpy", "scipy", "torch", "tqdm", "requests", "pillow"],
        bare=["torch-fidelity==0.4.0", "clean-fid==0.1.35"],
    )  # fmt: skip
    rows = []
    for peer in ("torch_fidelity", "clean_fid", "torchmetrics"):
        # twenty subsets a round: what 100 cost is five times that, and three rounds show the spread
        settings = {"n": 10_000, "d": 2048, "subsets": 20}
        python = peers() if peer == "torchmetrics" else apart
        both = compare(
            Side(file=HERE, function="our_subsets", settings={**settings, "peer": peer}),
            Side(file=HERE, function=f"{peer}_subsets", settings=settings, python=python), rounds=3, warm_up=0,
        )  # fmt: skip
        what = f"kernel distance of subsets of 1,000, D = 2048, a subset, against {peer}"
        rows.append(faster(what, both, at_least=1.2))
        rows.append(agreement(f"mean of 20 of them, against {peer}", both, 1e-6))
    for what, name, n, d, who, least in (
        ("Frechet distance, N = 10000, D = 2048", "frechet", 10_000, 2048, "torch_fidelity", 4.0),
        ("Frechet distance, N = 10000, D = 2048", "frechet", 10_000, 2048, "clean_fid", 4.0),
        ("class score of ten parts, N = 10000, 100 classes", "class_score", 10_000, 100, "torch_fidelity", None),
        ("precision, recall (k=3), 5k x 5k, D = 64", "precision", 5_000, 64, "torch_fidelity", None),
    ):
        settings = {"n": n, "d": d}
        both = compare(
            Side(file=HERE, function=f"our_{name}", settings=settings),
            Side(file=HERE, function=f"{who}_{name}", settings=settings, python=apart), rounds=1, warm_up=0,
        )  # fmt: skip
        rows.append(faster(f"{what}, against {who}", both, at_least=least))
        rows.append(agreement(f"{what}, values, against {who}", both, 1e-6))
    return rows


def our_large(n: int, d: int) -> Any:
    """Features in float32, as networks give them; drawn in slices, to measure what the figures need and no more."""
    import torch

    from simulacra.core.randomness import Rng
    from simulacra.mathematics.two_sample import manifolds

    fake, real = (torch.empty(n, d) for _ in range(2))
    for i in range(0, n, 1000):
        fake[i : i + 1000] = Rng(0)("fake", i).normal((1000, d))
        real[i : i + 1000] = Rng(0)("real", i).normal((1000, d)) * 1.02

    def one_round() -> dict[str, list[float]]:
        found = manifolds(fake, real, k=5)
        return {"value": [float(t.mean()) for t in (found.precise, found.recalled, found.dense, found.covered)]}

    return one_round


def large() -> list[Row]:
    """Precision, recall, density and coverage of 50,000 against 50,000 features of Inception's size."""
    from bench.harness import Row, Side, measure

    side = Side(file=HERE, function="our_large", settings={"n": 50_000, "d": 2048})
    (found,) = measure(side, rounds=1, warm_up=0, timeout=3600)
    gigabytes = found.peak_rss / 1e9
    values = " ".join(f"{v:.4g}" for v in found.value)
    return [
        Row(
            what="precision, recall, density, coverage, 50k x 50k, D = 2048, peak memory", unit="GB", ours=gigabytes,
            target="<= 4", met=gigabytes <= 4,
            note=f"{found.cpu_s:.0f} CPU-s, one thread; the features themselves are 0.82 GB; values {values}",
        )
    ]  # fmt: skip
