"""A model that decodes a latent in one pass as an ONNX graph, tried against torch before it is written.

The graph is ``decode``: codes z, N(0, 1) if they are to be samples, and a class for each where the model has classes,
to the most typical example of each, one output a field. A style-based generator's own noise is the fixed one there.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simulacra.core.batch import Values
from simulacra.core.capabilities import Decoder, require_smooth
from simulacra.core.checkpoint import write
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Space
from simulacra.evaluation.likelihood import resting

CLOSE = 1e-4  # largest difference between the graph's outputs and torch's, in units of each field's scale
TRIED = (1, 5)  # batches that a graph is tried on; it was traced with another
TRACED = 3
MISSING = "ONNX needs the packages onnx, onnxscript and onnxruntime: pip install 'simulacra[onnx]'"


class Decoding(nn.Module):
    """(z, y) -> the fields of the decoded examples, in the space's order."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.names = model, tuple(model.space.fields)

    def forward(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:
        x: Values = self.model.decode(z, y=y)
        return (x,) if isinstance(x, Tensor) else tuple(x[name] for name in self.names)


def write_onnx(model: object, path: Path, about: Mapping[str, str] | None = None) -> float:
    """Write a model's ``decode`` as an ONNX file of any batch size; the largest difference from torch it was seen with.

    Inputs: z (batch, *latent); y int64 (batch,) where there are classes. about: what is kept in the file beside the
    weights. Raises ValueError for a model that does not decode in one pass, for one with an operation that ONNX
    lacks, and where onnxruntime's outputs are further than ``CLOSE`` from torch's; ImportError without the packages.
    """
    decoding, space = Decoding(_decoder(model)), model.space  # type: ignore[attr-defined]
    with resting(model), torch.no_grad():
        content = _graph(decoding.eval(), space, _inputs(decoding.model, TRACED), about or {})
        worst = max(_apart(decoding, space, content, _inputs(decoding.model, n)) for n in TRIED)
    if not worst <= CLOSE:
        raise ValueError(
            f"onnxruntime's outputs differ from torch's by {worst:.2g} of a field's scale, more than {CLOSE:g}; "
            "nothing was written: please report it with the run's recipe.json"
        )
    write(path, content)
    return worst


def _decoder(model: object) -> Decoder:
    """The model, known to decode N(0, I) codes to one example each in one pass; ValueError saying why it does not."""
    name = type(model).__name__
    decoder = require_smooth(model, "export onnx")
    space: Space = model.space  # type: ignore[attr-defined]
    if "steps" in inspect.signature(decoder.decode).parameters:
        raise ValueError(f"export onnx writes models that decode in one pass; {name} decodes in many steps")
    if isinstance(space.y, Space):
        raise ValueError(f"export onnx writes models of classes or of nothing; {name} is given {space.y.measure}")
    varying = [field for field, f in space.fields.items() if f.varying]
    if varying:
        raise ValueError(f"export onnx writes examples of one length; those of {name} vary in {', '.join(varying)}")
    return decoder


def _inputs(model: Any, n: int) -> tuple[Tensor, ...]:
    """n codes, and classes where there are any."""
    like = next(iter(model.parameters()))
    rng = Rng(n, ("tried",))
    z = rng("z").normal((n, *model.latent.only.shape), dtype=like.dtype, device=like.device)
    y = model.space.y
    return (z, rng("y").integers(len(y), (n,), device=like.device)) if isinstance(y, Classes) else (z,)


def _graph(decoding: Decoding, space: Space, inputs: tuple[Tensor, ...], about: Mapping[str, str]) -> bytes:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(MISSING) from error
    batch = torch.export.Dim("batch", min=1)
    try:
        with _quiet():
            program = torch.onnx.export(
                decoding,
                inputs,
                dynamo=True,
                verbose=False,
                dynamic_shapes=tuple({0: batch} for _ in inputs),
                input_names=["z", "y"][: len(inputs)],
                output_names=list(space.fields),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        cause = error.__cause__ or error
        first = str(cause).strip().splitlines()[0]
        raise ValueError(
            f"{type(decoding.model).__name__} decodes by what cannot be written as an ONNX graph: {first}"
        ) from error
    assert program is not None
    told = {"space": json.dumps(space.to_json()), "z": "N(0, 1) for samples", **about}
    program.model.metadata_props.update(told)
    return program.model_proto.SerializeToString()


def _apart(decoding: Decoding, space: Space, content: bytes, inputs: tuple[Tensor, ...]) -> float:
    """The largest difference between the graph's outputs and torch's, in units of each field's scale."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    given = dict(zip(("z", "y"), (t.cpu().numpy() for t in inputs), strict=False))
    theirs = session.run(list(space.fields), given)
    scales = [float(getattr(f, "scale", 1.0)) for f in space.fields.values()]
    differences = [
        float(np.abs(np.asarray(b, np.float64) - a.cpu().double().numpy()).max()) / scale
        for a, b, scale in zip(decoding(*inputs), theirs, scales, strict=True)
    ]
    return max(differences)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporter without its remarks on what it makes, and on libraries that it can do without."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
