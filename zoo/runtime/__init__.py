"""Running a bundle without torch: sessions, devices, engines. Only here is onnxruntime used."""

import os

# From 1.29 on, ONNX Runtime writes a device identifier into the user's cache and sends events to
# its makers as soon as it is loaded; ORT_DISABLE_TELEMETRY=0 in the environment permits it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
