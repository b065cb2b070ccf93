"""Running a bundle without torch: sessions, devices, engines. The only home of onnxruntime."""
