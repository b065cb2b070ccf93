"""Running a bundle without torch: sessions, devices, engines. Only here is onnxruntime used."""
