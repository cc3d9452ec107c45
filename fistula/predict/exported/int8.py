"""An exported network in 8-bit integers, and what that costs on test slices."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.evidence.ranking.roc import auroc
from fistula.predict.exported.tried import given_slices
from fistula.predict.runs.model import LoadedRun

CALIBRATION = 64  # training slices that set the ranges

Score = Callable[..., NDArray[np.float32]]


def quantised(
    run: LoadedRun, path: Path, folder: Path, *, exact: Score, scorer: Callable[[Path], Score]
) -> dict[str, Any]:
    """Write `model.int8.onnx`; its largest difference of a probability on test slices, and both AUROCs."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    learned = run.learned["row"].to_numpy()
    batches = iter([{"slices": given_slices(run, rows)} for rows in np.array_split(learned[:CALIBRATION], 8)])

    class Slices(CalibrationDataReader):
        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(batches, None)

    prepared = folder / "prepared.onnx"
    written = folder / "model.int8.onnx"
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser advises on the root logger
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(written),
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
    pixels, labels = given_slices(run, rows), test["label"].to_numpy() == len(run.classes) - 1
    before, after = exact(pixels), scorer(written)(pixels)
    return {
        "file": written.name,
        "bytes": written.stat().st_size,
        "bytes_before": path.stat().st_size,
        "test_slices": len(pixels),
        "largest_difference": float(np.abs(after - before).max()),
        "auroc_before": auroc(labels, before[:, -1].astype(np.float64)),
        "auroc": auroc(labels, after[:, -1].astype(np.float64)),
    }
