"""模型与数据迁移到 GPU · Model and data on the GPU

Code: zoo/network/device.py
"""

import time

import torch

import zoo
from zoo import lessons
from zoo.datasets import mnist
from zoo.errors import DeviceError
from zoo.network.device import torch_device
from zoo.network.pipeline import Pipeline

# 有什么用什么 The best device that is there; "cuda" by name would be an error without one.
device = torch_device("auto")
if device.type == "cpu":
    print("no GPU here: the same lines run on the CPU")
    try:
        torch_device("cuda")
    except DeviceError as error:
        print("asked for cuda:", error)
    else:
        raise SystemExit("auto took the CPU although cuda is there")
print("device:", device)

card = zoo.card("cnn")
images = torch.from_numpy(mnist.load_test().inputs[:1000])
model = Pipeline(zoo.load("cnn"), card.spec, card.task).eval()
with torch.inference_mode():
    on_cpu = model(images)[0]

    # 模型和数据都要迁移 Both the model and the data go there.
    model = model.to(device)
    there = images.to(device)
    print("parameters on", next(model.parameters()).device, "- images on", there.device)
    model(there)  # warm-up
    began = time.perf_counter()
    logits = model(there)[0].cpu()  # 取回结果 back again; this waits for the device
    seconds = time.perf_counter() - began
print(f"{len(images) / seconds:,.0f} images/s")
# GPU 的卷积舍入不同 A GPU rounds its convolutions in another way; the answers are the same.
lessons.agree("the same logits", logits, on_cpu, tolerance=0.0 if device.type == "cpu" else 0.1)
same = int((logits.argmax(dim=1) == on_cpu.argmax(dim=1)).sum())
print(f"the same answer for {same} of {len(images)} digits")
assert same >= 998
