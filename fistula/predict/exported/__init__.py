"""Networks for other programs."""

import os

# Before ONNX Runtime is imported anywhere: from 1.29 on it reports its use to its maker otherwise, from Linux too.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
