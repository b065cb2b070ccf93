"""FastAPI and uvicorn over ONNX Runtime, as most people write it: one request, one run.

python fastapi_server.py --port P --model model.onnx [--threads N] [--plain] [--workers N]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime as ort
import orjson
import uvicorn
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field


class Digit(BaseModel):
    """The request: 784 pixels, row by row."""

    data: list[Annotated[int, Field(ge=0, le=255)]]


class Answer(BaseModel):
    """The response."""

    probabilities: list[float]


def app() -> FastAPI:
    """Build the application; uvicorn calls this in each worker."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
    model = os.environ["BENCH_MODEL"]
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    api = FastAPI()

    def run(pixels: list[int]) -> list[float]:
        image = np.array(pixels, np.uint8).reshape(1, 28, 28, 1)
        return session.run(["probabilities"], {"images": image})[0][0].tolist()

    if os.environ["BENCH_PLAIN"] == "1":

        @api.post("/predict", response_model=None)
        async def predict(request: Request) -> dict[str, Any]:
            return {"probabilities": run(orjson.loads(await request.body())["data"])}
    else:

        @api.post("/predict")
        async def predict_checked(digit: Digit) -> Answer:
            return Answer(probabilities=run(digit.data))

    return api


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    os.environ["BENCH_MODEL"], os.environ["BENCH_THREADS"] = args.model, str(args.threads)
    os.environ["BENCH_PLAIN"] = "1" if args.plain else "0"
    uvicorn.run(
        f"{Path(__file__).stem}:app",
        factory=True,
        host="127.0.0.1",
        port=args.port,
        workers=args.workers,
        access_log=False,
        log_level="warning",
    )
