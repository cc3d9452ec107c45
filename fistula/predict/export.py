"""Write the network of a run or an ensemble as ONNX or TorchScript; refuse it if it does not score as they do."""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from fistula.errors import ConfigError, DataError, TrainingError
from fistula.evidence.roc import auroc
from fistula.predict.graph import Graph
from fistula.predict.model import LoadedRun
from fistula.predict.model_card import model_card

FORMATS = ("onnx", "torchscript")
PARITY = 1e-4  # largest difference of a probability
SLICES = 256  # of the cohort that parity is tried on, at most
CALIBRATION = 64  # training slices that set the ranges of int8
OPSET = 18

Score = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Exported:
    """What was written: the file's name, the largest difference of a probability, and what int8 cost, if asked."""

    name: str
    difference: float
    int8: dict[str, Any] | None


def export(runs: Sequence[LoadedRun], folder: Path, *, kind: str, int8: bool = False) -> Exported:
    """Fill `folder` with the model, ``export.json`` and ``MODEL_CARD.md``.

    Args:
        runs: One, or those of an ensemble, as `load_runs` gives them: the mean of their probabilities is written.
        folder: An empty one.
        kind: One of `FORMATS`.
        int8: Also write the network in 8-bit integers (ONNX alone), and measure what that costs.

    Raises:
        ConfigError: On an unknown format, or int8 for TorchScript, an ensemble or more than two classes.
        TrainingError: If the exported model's probabilities differ by more than 1e-4.
    """
    if kind not in FORMATS:
        raise ConfigError("format", f"must be one of {', '.join(FORMATS)}", found=kind)
    if int8 and kind != "onnx":
        raise ConfigError("int8", "is for ONNX alone", remedy="Say format=onnx")
    if int8 and len(runs) > 1:
        rule = "is for one run: its loss is measured on test slices, of which an ensemble has none of its own"
        raise ConfigError("int8", rule, found=f"{len(runs)} runs", remedy="Name one run, or leave int8 out")
    run = runs[0]
    if run.unit == "patient":
        rule = "must be of runs that score slices: a network that pools a patient's slices cannot be exported"
        raise ConfigError(
            f"run={run.folder}", rule, found="unit=patient", remedy="Score new images with fistula predict"
        )
    if run.classifier.covariates is not None:
        rule = "must be of runs that look at images alone: covariates cannot be exported"
        raise ConfigError(f"run={run.folder}", rule, remedy="Score new images with fistula predict")
    if int8 and len(run.classes) != 2:
        rule = "is for two classes: its loss is measured by the AUROC of the positive one"
        raise ConfigError("int8", rule, found=f"{len(run.classes)} classes", remedy="Leave it out")
    size = run.cohort.pixels.shape[1]
    graph = Graph([run.classifier for run in runs], size=size, resize=run.resize).eval()
    rows = _sample(len(run.cohort.pixels), SLICES)
    pixels = _input(run, rows)
    path = folder / ("model.onnx" if kind == "onnx" else "model.pt")
    score = _to_onnx(graph, path, pixels[:2]) if kind == "onnx" else _to_torchscript(graph, path, pixels[:2])
    difference = float(np.abs(score(pixels) - np.mean([_probabilities(run, rows) for run in runs], axis=0)).max())
    if not difference <= PARITY:
        rule = f"the exported model must score as {'the run does' if len(runs) == 1 else 'the runs do'}, to {PARITY:g}"
        raise TrainingError(f"format={kind}", rule, found=f"{difference:.2g}", remedy="Try the other format")
    cost = _quantised(run, path, score, folder) if int8 else None
    exported = Exported(path.name, difference, cost)
    _describe(runs, folder, exported, shape=["N", *pixels.shape[1:]])
    return exported


def onnx_scorer(path: Path) -> Score:
    """Score slices with an exported ONNX model."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"slices": np.ascontiguousarray(pixels)})[0]


def _to_onnx(graph: Graph, path: Path, example: NDArray[np.uint8]) -> Score:
    import onnxscript  # noqa: F401 (torch asks for it in the middle of the export)

    for library in ("onnxscript", "onnx_ir"):  # they tell of every step
        logging.getLogger(library).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, on its own use of PyTorch
        torch.onnx.export(
            graph,
            (torch.from_numpy(example),),
            str(path),
            input_names=["slices"],
            output_names=["probabilities", "places"][: 2 if graph.kinds else 1],
            dynamic_shapes={"slices": {0: torch.export.Dim("N")}},
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    return onnx_scorer(path)


def _to_torchscript(graph: Graph, path: Path, example: NDArray[np.uint8]) -> Score:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # TorchScript announces its end
        torch.jit.trace(graph, torch.from_numpy(example), check_trace=False).save(str(path))
        loaded = torch.jit.load(str(path), map_location="cpu")
    first = (lambda found: found[0]) if graph.kinds else (lambda found: found)
    return lambda pixels: first(loaded(torch.from_numpy(pixels))).detach().numpy()


@torch.inference_mode()
def _probabilities(run: LoadedRun, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    return run.classifier(run.images(rows)).numpy()


def _input(run: LoadedRun, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Slices of its cohort as the exported model takes them: ``(N, size, size)``, or with a slice's neighbours."""
    images = np.asarray(run.cohort.pixels[run.channels[rows]])
    return images[:, 0] if images.shape[1] == 1 else images


def _quantised(run: LoadedRun, path: Path, exact: Score, folder: Path) -> dict[str, Any]:
    """Write `model.int8.onnx`; its largest difference of a probability on test slices, and both AUROCs."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    learned = run.learned["row"].to_numpy()
    batches = iter([{"slices": _input(run, rows)} for rows in np.array_split(learned[:CALIBRATION], 8)])

    class Slices(CalibrationDataReader):
        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(batches, None)

    prepared = folder / "prepared.onnx"
    quantised = folder / "model.int8.onnx"
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser advises on the root logger
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(quantised),
        Slices(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Gemm"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()
    test = run.predictions.filter((pl.col("part") == "test") & (pl.col("copy") == 0))
    rows = test.join(run.cohort.labelled.select("slice_key", "row"), on="slice_key", maintain_order="left")[
        "row"
    ].to_numpy()
    pixels, labels = _input(run, rows), test["label"].to_numpy() == len(run.classes) - 1
    before, after = exact(pixels), onnx_scorer(quantised)(pixels)
    return {
        "file": quantised.name,
        "bytes": quantised.stat().st_size,
        "bytes_before": path.stat().st_size,
        "test_slices": len(pixels),
        "largest_difference": float(np.abs(after - before).max()),
        "auroc_before": auroc(labels, before[:, -1].astype(np.float64)),
        "auroc": auroc(labels, after[:, -1].astype(np.float64)),
    }


def _places(run: LoadedRun) -> dict[str, Any]:
    """The second output, in words."""
    kinds = list(run.classifier.head.kinds)
    says = "row and column in pixels of the input, centre of the first at 0, NaN for none; height of the peak"
    return {"name": "places", "type": "float32", "shape": ["N", len(kinds), 3], "kinds": kinds, "values": says}


def _describe(runs: Sequence[LoadedRun], folder: Path, exported: Exported, *, shape: list[Any]) -> None:
    classes = runs[0].classes
    told = ("name", "fingerprint", "checkpoint_sha256", "operating_point")
    record = {
        "runs": [{key: run.record[key] for key in told} for run in runs],
        "input": {"name": "slices", "type": "uint8", "shape": shape},
        "output": {"name": "probabilities", "type": "float32", "shape": ["N", len(classes)]},
        **({"places": _places(runs[0])} if runs[0].classifier.head.kinds else {}),
        "classes": classes,
        # Of two classes; as `fistula predict` decides on a slice: by how far the runs are beyond their own, on average.
        "threshold": float(np.mean([run.threshold for run in runs])) if len(classes) == 2 else None,
        "parity": {"largest_difference": exported.difference, "limit": PARITY},
        "int8": exported.int8,
        "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())},
    }
    (folder / "export.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "MODEL_CARD.md").write_text(model_card(runs, record), encoding="utf-8")


def _sample(num_slices: int, most: int) -> NDArray[np.intp]:
    """Evenly spaced rows of a cohort."""
    if num_slices == 0:
        raise DataError("cohort", "has no slices to try the export on")
    return np.unique(np.linspace(0, num_slices - 1, min(most, num_slices)).astype(np.intp))
