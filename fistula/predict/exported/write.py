"""Write the network of a run or an ensemble as ONNX or TorchScript; refuse it if it does not score as they do."""

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fistula.errors import TrainingError, refuse_other
from fistula.folder import digests_of
from fistula.learning.data.channels import channels_of
from fistula.predict.exported.graph import Graph
from fistula.predict.exported.tried import Example, Score, examples, probabilities
from fistula.predict.out.model_card import model_card
from fistula.predict.runs.model import LoadedRun

FORMATS = ("onnx", "torchscript")
PARITY = 1e-4  # largest difference of a probability
OPSET = 18


@dataclass(frozen=True)
class Exported:
    """What was written: the file's name, and the largest difference of a probability."""

    name: str
    difference: float


def export(runs: Sequence[LoadedRun], folder: Path, *, kind: str) -> Exported:
    """Fill `folder` with the model, ``export.json`` and ``MODEL_CARD.md``.

    The runs are one, or those of an ensemble, the mean of whose probabilities is written; the folder is an empty one,
    and `kind` one of `FORMATS`.

    Raises:
        ConfigError: On an unknown format.
        TrainingError: If the exported model's probabilities differ by more than 1e-4.
    """
    refuse_other("format", kind, FORMATS)
    run = runs[0]
    size = run.cohort.pixels.shape[1]
    graph = Graph([one.classifier for one in runs], size=size, resize=run.resize, unit=run.unit).eval()
    path = folder / ("model.onnx" if kind == "onnx" else "model.pt")
    tried = examples(run, has_bags=graph.has_bags)
    score = _to_onnx(graph, path, tried[0]) if kind == "onnx" else _to_torchscript(graph, path, tried[0])
    expected = [np.mean([probabilities(one, example, graph.takes) for one in runs], axis=0) for example in tried]
    parts = zip(tried, expected, strict=True)
    difference = max(float(np.abs(score(*example.given) - wanted).max()) for example, wanted in parts)
    if not difference <= PARITY:
        rule = f"the exported model must score as {'the run does' if len(runs) == 1 else 'the runs do'}, to {PARITY:g}"
        raise TrainingError(f"format={kind}", rule, found=f"{difference:.2g}", remedy="Try the other format")
    exported = Exported(path.name, difference)
    _describe(runs, folder, exported, graph, shape=["N", *tried[0].given[0].shape[1:]])
    return exported


def onnx_scorer(path: Path) -> Score:
    """Score slices, or the slices of a patient, with an exported ONNX model."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda *given: session.run(
        None, {name: np.ascontiguousarray(values) for name, values in zip(names, given, strict=True)}
    )[0]


def _to_onnx(graph: Graph, path: Path, example: Example) -> Score:
    import onnxscript  # noqa: F401 (torch asks for it in the middle of the export)

    for library in ("onnxscript", "onnx_ir"):  # they tell of every step
        logging.getLogger(library).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, on its own use of PyTorch
        rows = {0: torch.export.Dim("N")}
        lengths = {"slices": rows, "positions": rows, "covariates": None if graph.has_bags else rows}
        first, *further = (lengths[name] for name in graph.takes)
        torch.onnx.export(
            graph,
            tuple(torch.from_numpy(values[:2] if not graph.has_bags else values) for values in example.given),
            str(path),
            input_names=graph.takes,
            output_names=graph.gives,
            dynamic_shapes={"slices": first} | ({"further": tuple(further)} if further else {}),
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    return onnx_scorer(path)


def _to_torchscript(graph: Graph, path: Path, example: Example) -> Score:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # TorchScript announces its end
        given = tuple(torch.from_numpy(values) for values in example.given)
        torch.jit.trace(graph, given, check_trace=False).save(str(path))
        loaded = torch.jit.load(str(path), map_location="cpu")
    first = (lambda found: found[0]) if len(graph.gives) > 1 else (lambda found: found)
    return lambda *given: first(loaded(*(torch.from_numpy(values) for values in given))).detach().numpy()


def _places(run: LoadedRun) -> dict[str, Any]:
    """The second output, in words."""
    kinds = list(run.classifier.head.kinds)
    says = "row and column in pixels of the input, center of the first at 0, NaN if none; height of the peak"
    return {"name": "places", "type": "float32", "shape": ["N", len(kinds), 3], "kinds": kinds, "values": says}


def _describe(runs: Sequence[LoadedRun], folder: Path, exported: Exported, graph: Graph, *, shape: list[Any]) -> None:
    run, classes = runs[0], runs[0].classes
    patient, number = graph.has_bags, len(runs[0].classes)
    names = run.classifier.covariates.names if run.classifier.covariates else []
    further: dict[str, dict[str, Any]] = {
        "positions": {"type": "float32", "shape": ["N"], "values": "mm along the normal of the slices"},
        "covariates": {"type": "float32", "shape": [1 if patient else "N", len(names)], "names": names,
                       "values": "NaN for what is not known; sex: 1 for F, 0 for M",
                       "words": {one: run.cohort.record.get("covariates", {}).get(one, []) for one in names}},
        "weights": {"type": "float32", "shape": ["N"], "values": "of each slice in the score; they add up to 1"},
        "alone": {"type": "float32", "shape": ["N", number], "values": "probabilities of each slice by itself"},
    }  # fmt: skip
    told = ("name", "fingerprint", "checkpoint_sha256", "operating_point")
    record = {
        "unit": run.unit,
        "runs": [{key: one.record[key] for key in told} for one in runs],
        "input": {"name": "slices", "type": "uint8", "shape": shape, **channels_of(run.classifier.backbone)},
        "output": {"name": "probabilities", "type": "float32", "shape": [1 if patient else "N", number]},
        **{name: {"name": name, **further[name]} for name in (*graph.takes[1:], *graph.gives[1:]) if name in further},
        **({"places": _places(run)} if run.classifier.head.kinds else {}),
        "classes": classes,
        # Of two classes; as `fistula predict` decides on a slice: by how far the runs are beyond their own, on average.
        "threshold": float(np.mean([one.threshold for one in runs])) if number == 2 else None,
        "parity": {"largest_difference": exported.difference, "limit": PARITY},
        "sha256": digests_of(folder),
    }
    (folder / "export.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "MODEL_CARD.md").write_text(model_card(runs, record), encoding="utf-8")
