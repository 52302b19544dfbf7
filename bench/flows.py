"""Flows of vectors against zuko 1.6, nflows 0.14 and normflows 1.7.3: speed, nats after equal time, float32.

Neural spline flows (couplings and autoregressive), RealNVP and MAF, five transforms each, two hidden layers, ReLU, in
6, 21 and 63 dimensions, as many parameters as ours. Every library trains in the same plain loop with the same fused
Adam; what differs is the flow.
``python -m bench flows`` runs all three parts; ``python -m bench.flows speed | nats | inversion`` one of them.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
REQUIREMENTS = ["torch", "numpy", "tqdm", "typing_extensions", "matplotlib", "zuko==1.6.0"]
BARE = ["nflows==0.14", "normflows==1.7.3", "UMNN"]  # without their dependencies: boards, notebooks
LIBRARIES = {"ours": "simulacra", "zuko": "zuko 1.6.0", "nflows": "nflows 0.14", "normflows": "normflows 1.7.3"}
FLOWS = {"NSF coupling": True, "NSF autoregressive": True, "RealNVP": False, "MAF": False}
WIDTH = {6: 64, 21: 64, 63: 128}
LAYERS, BINS, BOUND, BATCH = 5, 8, 5.0, 256
DRAWN = {6: 1024, 21: 256, 63: 128}  # rows drawn at a time: the peers' autoregressive flows take seconds for more
MODES = {"train": "steps", "score": "rows", "sample": "rows"}
ROUNDS, SLICE = 3, 0.15  # CPU-seconds that a round gives every task
SECONDS = 4.0  # of training in the part that compares nats
AT_LEAST = 1.2


def run(parts: tuple[str, ...] = ("speed", "nats", "inversion")) -> list[Any]:
    """The rows of the parts asked for."""
    rows: list[Any] = []
    for part in parts:
        rows += {"speed": speed, "nats": nats, "inversion": inversion}[part]()
    return rows


def _sides(function: str, **settings: Any) -> dict[str, Any]:
    from bench.harness import Side, environment

    peer = environment("flows", REQUIREMENTS, bare=BARE)
    return {
        name: Side(file=HERE, function=function, settings={"library": name, **settings},
                   python=None if name == "ours" else peer)
        for name in LIBRARIES
    }  # fmt: skip


# -- speed ------------------------------------------------------------------------------------------------------------


def speed() -> list[Any]:
    """Rates of every task: the libraries take turns, each round a slice of CPU time a task."""
    import statistics

    from bench.harness import Ratio, Row, Worker

    rows: list[Any] = []
    for dims in WIDTH:
        with _opened({n: Worker(s) for n, s in _sides("rates", dims=dims).items()}) as workers:
            found = [
                {n: w.go().value for n, w in (list(workers.items()) if r % 2 else list(workers.items())[::-1])}
                for r in range(ROUNDS + 1)
            ][1:]
        for flow in FLOWS:
            for mode, unit in MODES.items():
                key = f"{flow}, {mode}"
                ours = [r["ours"][key] for r in found]
                ratios = {n: statistics.median(ours) / statistics.median(r[n][key] for r in found)
                          for n in LIBRARIES if n != "ours"}  # fmt: skip
                mean = math.exp(statistics.mean(map(math.log, ratios.values())))
                paired = [
                    math.exp(statistics.mean(math.log(r["ours"][key] / r[n][key]) for n in ratios)) for r in found
                ]
                best = max(statistics.median(r[n][key] for r in found) for n in ratios)
                rows.append(
                    Row(
                        what=f"{flow}, {dims} dimensions: {mode}, beside the best peer; ratio: the geometric mean",
                        unit=f"{unit}/CPU-s",
                        ours=statistics.median(ours),
                        peer=best,
                        ratio=Ratio(value=mean, low=min(paired), high=max(paired)),
                        target=f">= {AT_LEAST:g}x, ahead of each",
                        met=mean >= AT_LEAST and min(ratios.values()) > 1,
                        note=", ".join(f"{LIBRARIES[n]} {r:.2f}x" for n, r in ratios.items())
                        + f"; parameters {', '.join(str(found[0][n][f'{flow}, size']) for n in LIBRARIES)}",
                        rounds=found,
                    )
                )
    return rows


def rates(library: str, dims: int) -> Callable[[], dict[str, Any]]:
    """Steps, scored rows and drawn rows a CPU-second of every flow of one library."""
    import torch

    x, _ = world(dims, 20_000, 0)
    tasks: dict[str, tuple[float, Callable[[], Any]]] = {}
    sizes: dict[str, float] = {}
    for flow in FLOWS:
        model = Model(library, flow, dims)
        sizes[f"{flow}, size"] = sum(p.numel() for p in model.parameters)
        tasks[f"{flow}, train"] = (1.0, _stepper(model, x))
        tasks[f"{flow}, score"] = (4 * BATCH, _quietly(lambda m=model: m.log_prob(x[: 4 * BATCH])))
        tasks[f"{flow}, sample"] = (DRAWN[dims], _quietly(lambda m=model: m.sample(DRAWN[dims])))
    for _, task in tasks.values():
        task()

    def one_round() -> dict[str, Any]:
        return {"value": {**sizes, **{name: _rate(task) * work for name, (work, task) in tasks.items()}}}

    torch.set_num_threads(1)
    return one_round


def _rate(task: Callable[[], Any]) -> float:
    """Calls a CPU-second."""
    start, calls = time.process_time(), 0
    while (spent := time.process_time() - start) < SLICE:
        task()
        calls += 1
    return calls / spent


def _quietly(task: Callable[[], Any]) -> Callable[[], Any]:
    import torch

    def without_gradient() -> None:
        with torch.no_grad():
            task()

    return without_gradient


def _stepper(model: Model, x: Any) -> Callable[[], None]:
    """One training step after another, on batches in order."""
    import torch

    optimiser = torch.optim.AdamW(model.parameters, lr=1e-3, weight_decay=0.0, fused=True)
    first = 0

    def step() -> None:
        nonlocal first
        loss = -model.log_prob(x[first : first + BATCH]).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        first = (first + BATCH) % (len(x) - BATCH)

    return step


# -- nats at equal CPU time -------------------------------------------------------------------------------------------


def nats() -> list[Any]:
    """Held-out nats above the entropy after equal CPU-seconds of training, the world's own density known."""
    from bench.harness import Row, measure

    rows: list[Any] = []
    for dims in WIDTH:
        found = {n: measure(s, rounds=1, warm_up=0)[0].value for n, s in _sides("learned", dims=dims).items()}
        for flow in FLOWS:
            peers = {n: found[n][flow]["nats"] for n in LIBRARIES if n != "ours"}
            ours = found["ours"][flow]["nats"]
            rows.append(
                Row(
                    what=f"{flow}, {dims} dimensions: nats above the entropy after {SECONDS:g} CPU-s of training",
                    unit="nats",
                    ours=ours,
                    peer=min(peers.values()),
                    target="below each peer's",
                    met=ours < min(peers.values()),
                    note=", ".join(f"{LIBRARIES[n]} {v:.3f}" for n, v in peers.items())
                    + f"; steps {', '.join(str(found[n][flow]['steps']) for n in LIBRARIES)}",
                    rounds=found,
                )
            )
    return rows


def learned(library: str, dims: int) -> Callable[[], dict[str, Any]]:
    """Trains every flow of a library for so many CPU-seconds, and scores what it has not seen."""
    import torch

    torch.set_num_threads(1)
    x, _ = world(dims, 100_000, 0)
    held_out, exact = world(dims, 10_000, 1)

    def one_round() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for flow in FLOWS:
            model = Model(library, flow, dims)
            step, start, steps = _stepper(model, x), time.process_time(), 0
            while time.process_time() - start < SECONDS:
                step()
                steps += 1
            with torch.no_grad():
                gap = (exact - torch.cat([model.log_prob(part) for part in held_out.split(1000)])).double()
            found[flow] = {"nats": float(gap.mean()), "steps": steps}
        return {"value": found}

    return one_round


def world(dims: int, n: int, seed: int) -> tuple[Any, Any]:
    """Points x (n, dims) and their log density: a chain of bent conditionals, its dimensions shuffled.

    x_i ~ N(sin(2 x_i-1), (0.3 + 0.5 sigmoid(2 x_i-1))^2), near zero mean and unit variance.
    """
    import torch

    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, dims, generator=g)
    before, columns, log_p = torch.zeros(n), [], -0.5 * (noise.square() + math.log(2 * math.pi)).sum(1)
    for i in range(dims):
        scale = 0.3 + 0.5 * torch.sigmoid(2 * before)
        before = torch.sin(2 * before) + scale * noise[:, i]
        columns.append(before)
        log_p = log_p - scale.log()
    order = torch.randperm(dims, generator=torch.Generator().manual_seed(7))
    return torch.stack(columns, 1)[:, order].contiguous(), log_p


# -- float32 ----------------------------------------------------------------------------------------------------------


def inversion() -> list[Any]:
    """Splines of parameters N(0, 5^2) and flows of such weights, there and back in float32."""
    from bench.harness import Row, measure

    found = {n: measure(s, rounds=1, warm_up=0)[0].value for n, s in _sides("inverted").items()}
    rows: list[Any] = []
    for what in found["ours"]:
        peers = {n: found[n].get(what) for n in LIBRARIES if n != "ours"}
        numbers = [v for v in peers.values() if isinstance(v, float)]
        ours = found["ours"][what]
        target = 1e-4 if what.startswith("spline") and "backward" in what else None
        rows.append(
            Row(
                what=what,
                unit="largest error",
                ours=ours,
                peer=min(numbers) if numbers else None,
                target="" if target is None else f"<= {target:g}",
                met=None if target is None else isinstance(ours, float) and ours <= target,
                note=", ".join(f"{LIBRARIES[n]} {_said(v)}" for n, v in peers.items() if v is not None),
                rounds=found,
            )
        )
    return rows


def _said(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2g}"


def inverted(library: str) -> Callable[[], dict[str, Any]]:
    """Largest errors of one library's inverses; what it raises, in its own words."""
    import torch

    def one_round() -> dict[str, Any]:
        torch.manual_seed(0)
        z, raw = torch.randn(100_000), 5 * torch.randn(100_000, 3 * BINS - 1)
        forth, back = spline_of(library)
        found: dict[str, Any] = {
            "spline, backward: forward(inverse(z)) - z": _error(lambda: forth(back(z, raw), raw) - z),
            "spline, forward: inverse(forward(x)) - x": _error(lambda: back(forth(z, raw), raw) - z),
        }
        for flow in FLOWS:
            for layers in (1, LAYERS):
                model = Model(library, flow, 6, layers)
                with torch.no_grad():
                    for p in model.parameters:
                        p.copy_(5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
                    codes = torch.randn(256, 6)
                    found[f"{flow}, {layers} transforms, all weights N(0, 5^2): backward"] = _error(
                        lambda m=model, c=codes: m.forward(m.inverse(c)) - c
                    )
        return {"value": found}

    return one_round


def _error(task: Callable[[], Any]) -> float | str:
    try:
        return float(task().abs().max())
    except Exception as error:
        return f"raises {type(error).__name__}"


def spline_of(library: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The library's rational-quadratic spline: (x (n,), raw (n, 3 bins - 1)) -> y, and its inverse."""
    if library == "ours":
        from simulacra.mathematics.bijections import spline, spline_inverse

        upright = lambda f: lambda x, raw: f(x[None], raw.t()[None], BOUND)[0][0]  # noqa: E731
        return upright(spline), upright(spline_inverse)
    if library == "zuko":
        from zuko.transforms import MonotonicRQSTransform

        made = lambda raw: MonotonicRQSTransform(*raw.split([BINS, BINS, BINS - 1], 1), bound=BOUND)  # noqa: E731
        return lambda x, raw: made(raw)(x), lambda y, raw: made(raw).inv(y)
    if library == "nflows":
        from nflows.transforms.splines.rational_quadratic import unconstrained_rational_quadratic_spline as function
    else:
        from normflows.utils.splines import unconstrained_rational_quadratic_spline as function

    def either(inverse: bool) -> Callable[..., Any]:
        return lambda x, raw: function(
            x, *raw.split([BINS, BINS, BINS - 1], 1), inverse=inverse, tails="linear", tail_bound=BOUND
        )[0]

    return either(inverse=False), either(inverse=True)


# -- the libraries ----------------------------------------------------------------------------------------------------


class Model:
    """One library's flow: log_prob(x), sample(n), forward(x) -> z, inverse(z) -> x, parameters."""

    def __init__(self, library: str, flow: str, dims: int, layers: int = LAYERS) -> None:
        import torch

        torch.manual_seed(0)
        make = {"ours": _ours, "zuko": _zuko, "nflows": _nflows, "normflows": _normflows}[library]
        self.log_prob, self.sample, self.forward, self.inverse, module = make(flow, dims, WIDTH[dims], layers)
        self.parameters = [p for p in module.parameters() if p.requires_grad]


def _ours(flow: str, dims: int, width: int, layers: int) -> tuple[Any, ...]:
    from simulacra.core.batch import Batch
    from simulacra.core.randomness import Rng
    from simulacra.core.space import Continuous, Space
    from simulacra.families import flow as family

    presets = (family.nsf_coupling, family.nsf_autoregressive, family.realnvp, family.maf)
    preset = dict(zip(FLOWS, presets, strict=True))[flow]
    space = Space(fields={"x": Continuous(low=-math.inf, high=math.inf, shape=(dims,))}, measure="x")
    model = family.Flow(family.FlowConfig(transforms=preset(layers=layers, hidden=(width, width))), space)
    score = lambda x: model.log_density(Batch(x=x).x, None, Rng(0))  # noqa: E731
    drawn = iter(range(1 << 30))
    return (
        score,
        lambda n: model.sample(n, rng=next(drawn)),
        lambda x: model.to_latent(x)[0],
        model.from_latent,
        model,
    )


def _zuko(flow: str, dims: int, width: int, layers: int) -> tuple[Any, ...]:
    import torch
    import zuko
    from zuko.distributions import DiagNormal
    from zuko.flows import Flow, GeneralCouplingTransform, UnconditionalDistribution
    from zuko.transforms import MonotonicRQSTransform

    hidden: dict[str, Any] = {"transforms": layers, "hidden_features": (width, width)}
    spline: dict[str, Any] = {"univariate": MonotonicRQSTransform, "shapes": [(BINS,), (BINS,), (BINS - 1,)]}
    if flow == "NSF coupling":
        model: Any = Flow(
            [
                GeneralCouplingTransform(
                    dims, mask=torch.arange(dims) % 2 == i % 2, hidden_features=(width, width), **spline
                )
                for i in range(layers)
            ],
            UnconditionalDistribution(DiagNormal, torch.zeros(dims), torch.ones(dims), buffer=True),
        )
    else:
        kind = {"NSF autoregressive": zuko.flows.NSF, "RealNVP": zuko.flows.RealNVP, "MAF": zuko.flows.MAF}[flow]
        model = kind(dims, **({**hidden, "bins": BINS} if kind is zuko.flows.NSF else hidden))
    return (lambda x: model().log_prob(x), lambda n: model().sample((n,)), lambda x: model().transform(x),
            lambda z: model().transform.inv(z), model)  # fmt: skip


def _nflows(flow: str, dims: int, width: int, layers: int) -> tuple[Any, ...]:
    import torch
    import torch.nn.functional as F
    from nflows import transforms as t
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.nn.nets import MLP

    class Net(MLP):
        def forward(
            self, inputs: Any, context: Any = None
        ) -> Any:  # couplings hand on a context, which it does not know
            return super().forward(inputs)

    def net(into: int, out: int) -> Any:
        return Net((into,), (out,), [width, width], activation=F.relu)

    tails: dict[str, Any] = {"num_bins": BINS, "tails": "linear", "tail_bound": BOUND}
    made: dict[str, Any] = {"num_blocks": 1, "use_residual_blocks": False}
    steps: list[Any] = []
    for i in range(layers):
        mask = torch.arange(dims) % 2 == i % 2
        if flow == "NSF coupling":
            steps.append(t.PiecewiseRationalQuadraticCouplingTransform(mask.int(), net, **tails))
        elif flow == "RealNVP":
            steps.append(t.AffineCouplingTransform(mask.int(), net))
        elif flow == "MAF":
            steps += [t.MaskedAffineAutoregressiveTransform(dims, width, **made), t.ReversePermutation(dims)]
        else:
            steps += [
                t.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(dims, width, **made, **tails),
                t.ReversePermutation(dims),
            ]
    transform = t.CompositeTransform(steps)
    model = Flow(transform, StandardNormal([dims]))
    return (model.log_prob, model.sample, lambda x: transform(x)[0], lambda z: transform.inverse(z)[0], model)


def _normflows(flow: str, dims: int, width: int, layers: int) -> tuple[Any, ...]:
    import normflows as nf

    kept = dims // 2
    into, out = (kept, (dims - kept) * (3 * BINS - 1)) if flow == "NSF coupling" else (dims, dims * (3 * BINS - 1))
    wanted = layers * ((into + 1) * width + (width + 1) * width + (width + 1) * out)
    # its spline layers know residual networks alone, with a hidden layer more: so narrow that the parameters are equal
    while True:
        steps = _normflows_steps(flow, dims, width, layers)
        model = nf.NormalizingFlow(nf.distributions.DiagGaussian(dims, trainable=False), steps)
        if not flow.startswith("NSF") or sum(p.numel() for p in model.parameters()) <= wanted:
            return (model.log_prob, model.sample, model.inverse, model.forward, model)
        width -= 1


def _normflows_steps(flow: str, dims: int, width: int, layers: int) -> list[Any]:
    import normflows as nf

    steps: list[Any] = []
    for i in range(layers):
        if flow == "NSF coupling":
            steps.append(nf.flows.CoupledRationalQuadraticSpline(
                dims, 1, width, num_bins=BINS, tail_bound=BOUND, reverse_mask=i % 2 == 1))  # fmt: skip
        elif flow == "NSF autoregressive":
            steps.append(nf.flows.AutoregressiveRationalQuadraticSpline(
                dims, 1, width, num_bins=BINS, tail_bound=BOUND))  # fmt: skip
            steps.append(nf.flows.Permute(dims, mode="swap"))
        elif flow == "RealNVP":
            kept = (dims + 1) // 2
            steps.append(nf.flows.AffineCouplingBlock(nf.nets.MLP([kept, width, width, 2 * (dims - kept)])))
            steps.append(nf.flows.Permute(dims, mode="swap"))
        else:
            # its own direction of the autoregressive layer is that of an inverse autoregressive flow
            steps.append(nf.flows.Reverse(nf.flows.MaskedAffineAutoregressive(
                dims, width, num_blocks=1, use_residual_blocks=False)))  # fmt: skip
            steps.append(nf.flows.Permute(dims, mode="swap"))
    return steps


class _opened:
    """Several workers entered together, and left together."""

    def __init__(self, workers: dict[str, Any]) -> None:
        self.workers = workers

    def __enter__(self) -> dict[str, Any]:
        for worker in self.workers.values():
            worker.__enter__()
        return self.workers

    def __exit__(self, *error: object) -> None:
        for worker in self.workers.values():
            worker.__exit__()


if __name__ == "__main__":
    from bench.harness import save, show

    for part in sys.argv[1:] or ["speed", "nats", "inversion"]:
        rows = run((part,))
        show(f"flows-{part}", rows)
        print(save(f"flows-{part}", rows, command=f"python -m bench.flows {part}"))
