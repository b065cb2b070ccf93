"""What unmodified gRPC clients get from a server; run in a process of its own.

python tests/grpc_check.py GRPC_ADDRESS HTTP_ADDRESS
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as over_http
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from serve.grpc import service as ours
from zoo.datasets import mnist

Code = grpc.StatusCode


def the_definitions_are_the_public_ones() -> None:
    """Every message of ours: the same fields, numbers and types as in the clients' own code."""

    def fields(descriptor: Any) -> dict[str, Any]:
        proto = descriptor_pb2.DescriptorProto()
        descriptor.CopyToProto(proto)
        nested = {f"{n.name}.{f.name}": (f.number, f.type, f.label, f.type_name)
                  for n in proto.nested_type for f in n.field}  # fmt: skip
        return nested | {f.name: (f.number, f.type, f.label, f.type_name) for f in proto.field}

    seen = 0
    public = service_pb2.DESCRIPTOR.services_by_name[ours.SERVICE.rpartition(".")[2]]
    for method in ours._pool.FindServiceByName(ours.SERVICE).methods:
        theirs = public.methods_by_name[method.name]
        for mine, other in ((method.input_type, theirs.input_type),
                            (method.output_type, theirs.output_type)):  # fmt: skip
            assert mine.full_name == other.full_name
            assert fields(mine) == fields(other), mine.full_name
            seen += 1
    for name in ("InferParameter", "InferTensorContents"):
        mine = ours._pool.FindMessageTypeByName(f"inference.{name}")
        assert fields(mine) == fields(service_pb2.DESCRIPTOR.message_types_by_name[name])
    assert seen == 2 * len(public.methods)
    others = model_config_pb2.DESCRIPTOR
    for name in ("ModelConfig", "ModelInput", "ModelOutput", "ModelInstanceGroup",
                 "ModelDynamicBatching"):  # fmt: skip
        mine = fields(ours._pool.FindMessageTypeByName(f"inference.{name}"))
        theirs = fields(others.message_types_by_name[name])
        # of a large message, a part; protobuf passes over the rest
        assert mine == {field: theirs[field] for field in mine}, name
    for name in ("StatisticDuration", "InferStatistics"):
        mine = fields(ours._pool.FindMessageTypeByName(f"inference.{name}"))
        assert mine == fields(service_pb2.DESCRIPTOR.message_types_by_name[name])


def infer(client: Any, kind: Any, images: np.ndarray, **more: Any) -> Any:
    tensor = kind.InferInput("images", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    return client.infer("cnn", [tensor], **more)


def tritonclient_works(address: str, http_address: str) -> None:
    client = triton.InferenceServerClient(address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("cnn")
    assert client.is_model_ready("cnn", "1")
    assert not client.is_model_ready("cnn", "2")
    assert not client.is_model_ready("nope")
    about = client.get_server_metadata(as_json=True)
    assert about["name"] == "torch-tutorial-zoo"
    metadata = client.get_model_metadata("cnn", as_json=True)
    assert metadata["inputs"] == [
        {"name": "images", "datatype": "UINT8", "shape": ["-1", "28", "28", "1"]}
    ]

    test = mnist.load_test()
    web = over_http.InferenceServerClient(http_address)
    for count in (1, 3, 300):
        images = test.inputs[:count]
        wanted = [triton.InferRequestedOutput(name) for name in ("probabilities", "logits")]
        found = infer(client, triton, images, outputs=wanted, request_id="x7", model_version="1")
        same = infer(web, over_http, images)
        assert found.get_response().id == "x7"
        assert [output.name for output in found.get_response().outputs] == [
            "probabilities", "logits",
        ]  # fmt: skip
        for name in ("logits", "probabilities"):
            assert found.as_numpy(name).shape == (count, 10)
            assert found.as_numpy(name).tobytes() == same.as_numpy(name).tobytes()
        for packing in ("gzip", "deflate"):
            packed = infer(client, triton, images, compression_algorithm=packing)
            assert packed.as_numpy("logits").tobytes() == found.as_numpy("logits").tobytes()
    assert np.mean(found.as_numpy("logits").argmax(axis=1) == test.targets[:300]) > 0.98
    web.close()

    answers: list[Any] = []

    def done(at: int, result: Any, error: Any) -> None:
        answers.append((at, result, error))

    for at in range(0, 64, 4):
        tensor = triton.InferInput("images", [4, 28, 28, 1], "UINT8")
        tensor.set_data_from_numpy(test.inputs[at : at + 4])
        client.async_infer("cnn", [tensor], partial(done, at))
    while len(answers) < 16:
        time.sleep(0.01)
    client.close()
    for at, result, error in answers:
        assert error is None
        rows = result.as_numpy("logits")
        np.testing.assert_allclose(rows, found.as_numpy("logits")[at : at + 4], atol=1e-4)


def typed(images: np.ndarray, **changes: Any) -> Any:
    """A request with typed contents; some fields changed."""
    contents = changes.pop("contents", {"uint_contents": images.ravel().tolist()})
    tensor = {"name": "images", "datatype": "UINT8", "shape": images.shape, "contents": contents}
    known = {key: changes.pop(key) for key in list(changes) if key in tensor}
    return service_pb2.ModelInferRequest(
        **({"model_name": "cnn", "inputs": [tensor | known]} | changes)
    )


def plain_stubs_work(address: str) -> None:
    test = mnist.load_test()
    images = test.inputs[:3]
    with grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(typed(images, id="t"))
        assert (answer.model_name, answer.model_version, answer.id) == ("cnn", "1", "t")
        assert not answer.raw_output_contents
        assert [output.name for output in answer.outputs] == ["logits", "probabilities"]
        assert list(answer.outputs[1].shape) == [3, 10]
        rows = np.array(answer.outputs[1].contents.fp32_contents).reshape(3, 10)
        raw = typed(images, contents=None, raw_input_contents=[images.tobytes()])
        again = stub.ModelInfer(raw)
        assert not again.outputs[1].HasField("contents")
        np.testing.assert_array_equal(
            rows, np.frombuffer(again.raw_output_contents[1], "<f4").reshape(3, 10)
        )
        assert rows.argmax(axis=1).tolist() == test.targets[:3].tolist()
        features = {"name": "features", "datatype": "FP32", "shape": [2, 10],
                    "contents": {"fp32_contents": [0.5] * 20}}  # fmt: skip
        linear = service_pb2.ModelInferRequest(model_name="linear", inputs=[features])
        assert len(stub.ModelInfer(linear).outputs[0].contents.fp32_contents) == 2

        def refused(call: Callable[[Message], Any], request: Message, code: Any, why: str) -> None:
            with pytest.raises(grpc.RpcError) as caught:
                call(request)
            assert (caught.value.code(), why in caught.value.details()) == (code, True), caught

        bad = Code.INVALID_ARGUMENT
        pixels = images.ravel().tolist()
        for request, code, why in (
            (typed(images, model_name="nope"), Code.NOT_FOUND, "unknown model 'nope', known: "),
            (typed(images, model_version="9"), Code.NOT_FOUND, "has no version '9'"),
            (typed(images, name="pictures"), bad, "expected 'images' alone, given pictures"),
            (typed(images, inputs=[]), bad, "expected 'images' alone, given none"),
            (typed(images, datatype="FP32"), bad, "expected datatype UINT8, given FP32"),
            (typed(images, shape=[3, 28, 28]), bad, "expected shape [batch, 28, 28, 1], given [3,"),
            (typed(images, shape=[0, 28, 28, 1]), bad, "expected shape"),
            (typed(images, shape=[2**62, 28, 28, 1]), bad, "values, given 2352"),
            (typed(images, shape=[2, 28, 28, 1]), bad, "needs 1568 values, given 2352"),
            (typed(images, contents={"uint_contents": [256, *pixels[1:]]}), bad, "0 to 255"),
            (typed(images, contents={"int_contents": pixels}), bad,
             "expected uint_contents alone, given int_contents"),
            (typed(images, contents=None), bad, "expected uint_contents alone, given no contents"),
            (typed(images, raw_input_contents=[b"x"]), bad,
             "given uint_contents, raw_input_contents"),
            (typed(images, contents=None, raw_input_contents=[b"x", b"y"]), bad,
             "expected raw_input_contents alone, given raw_input_contents, raw_"),
            (typed(images, contents=None, raw_input_contents=[b"x" * 99]), bad,
             "needs 2352 bytes, given 99"),
            (typed(images, outputs=[{"name": "y"}]), bad, "outputs: no 'y', known: logits"),
            (typed(images, outputs=[{"name": "logits"}] * 20_000), bad, "'logits' is named twice"),
        ):  # fmt: skip
            refused(stub.ModelInfer, request, code, why)
        features["contents"] = {"fp32_contents": [float("nan")] * 20}
        nan = service_pb2.ModelInferRequest(model_name="linear", inputs=[features])
        refused(stub.ModelInfer, nan, bad, "expected finite numbers")
        refused(stub.ModelMetadata, service_pb2.ModelMetadataRequest(name="nope"), Code.NOT_FOUND,
                "unknown model")  # fmt: skip
        large = typed(images, contents=None, raw_input_contents=[bytes(16_000_001)])
        refused(stub.ModelInfer, large, Code.RESOURCE_EXHAUSTED, "larger than max")
        for method, request in (
            (stub.ModelConfig, service_pb2.ModelConfigRequest(name="nope")),
            (stub.ModelStatistics, service_pb2.ModelStatisticsRequest(name="nope")),
            (stub.TraceSetting, service_pb2.TraceSettingRequest(model_name="nope")),
        ):
            refused(method, request, Code.NOT_FOUND, "unknown model 'nope', known: ")
        damaged = channel.unary_unary(f"/{ours.SERVICE}/ModelInfer")
        refused(damaged, b"\xff\xff", bad, "expected the message of inference.GRPCInferenceService")


def extensions_work(address: str) -> None:
    """The extensions, by tritonclient: from statistics to shared memory, which is refused."""
    client = triton.InferenceServerClient(address)
    (before,) = client.get_inference_statistics("cnn").model_stats
    images = mnist.load_test().inputs[:3]
    wanted = [triton.InferRequestedOutput("probabilities", class_count=2),
              triton.InferRequestedOutput("logits")]  # fmt: skip
    answer = infer(client, triton, images, outputs=wanted)
    texts, logits = answer.as_numpy("probabilities"), answer.as_numpy("logits")
    assert texts.shape == (3, 2)
    for row, numbers in zip(texts, np.argsort(-logits, axis=1), strict=True):
        assert [int(bytes(text).split(b":")[1]) for text in row] == numbers[:2].tolist()
    (after,) = client.get_inference_statistics("cnn").model_stats
    assert after.inference_count == before.inference_count + 3
    success = after.inference_stats.success
    assert success.count == before.inference_stats.success.count + 1
    assert success.ns > before.inference_stats.success.ns
    names = {row.name for row in client.get_inference_statistics().model_stats}
    assert names == {"cnn", "linear"}
    config = client.get_model_config("cnn").config
    assert (config.name, config.max_batch_size, config.backend) == ("cnn", 64, "onnxruntime")
    assert [(t.name, t.data_type, list(t.dims)) for t in config.input] == [
        ("images", model_config_pb2.TYPE_UINT8, [28, 28, 1])
    ]
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    index = client.get_model_repository_index().models
    assert [(row.name, row.version, row.state) for row in index] == [
        ("cnn", "1", "READY"), ("linear", "1", "READY"),
    ]  # fmt: skip
    assert list(client.get_trace_settings("cnn").settings["trace_level"].value) == ["OFF"]
    client.update_trace_settings(settings={"trace_level": ["OFF"], "trace_rate": None})
    assert client.update_log_settings({"log_info": True}).settings["log_info"].bool_param
    assert not client.get_system_shared_memory_status().regions
    client.unregister_system_shared_memory()
    output = triton.InferRequestedOutput("logits")
    output.set_shared_memory("region", 120)
    tensor = triton.InferInput("images", [3, 28, 28, 1], "UINT8")
    tensor.set_shared_memory("region", 3 * 784)
    memory = "shared memory is not supported"
    for call, code, why in (
        (lambda: client.load_model("cnn"), Code.UNIMPLEMENTED, "--model-control explicit"),
        (lambda: client.unload_model("cnn"), Code.UNIMPLEMENTED, "--model-control explicit"),
        (lambda: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}),
         Code.UNIMPLEMENTED, "trace: cannot be changed"),
        (lambda: client.update_log_settings({"log_verbose_level": 3}), Code.UNIMPLEMENTED,
         "logging: cannot be changed"),
        (lambda: client.register_system_shared_memory("r", "/k", 9), Code.UNIMPLEMENTED, memory),
        (lambda: client.register_cuda_shared_memory("r", b"aGk=", 0, 9), Code.UNIMPLEMENTED,
         memory),
        (lambda: infer(client, triton, images, outputs=[output]), Code.UNIMPLEMENTED,
         f"logits: {memory}"),
        (lambda: client.infer("cnn", [tensor]), Code.UNIMPLEMENTED, f"images: {memory}"),
        (lambda: infer(client, triton, mnist.load_test().inputs[:5000], timeout=1),
         Code.UNAVAILABLE, "no answer within 1e-06 s"),
        (lambda: infer(client, triton, images, timeout=-1), Code.INVALID_ARGUMENT, "timeout: "),
    ):  # fmt: skip
        with pytest.raises(InferenceServerException) as caught:
            call()
        assert str(code) in caught.value.status(), caught.value
        assert why in caught.value.message(), caught.value
    client.close()


def streams_work(address: str) -> None:
    """Answers come in the order of their requests, errors between them."""
    client = triton.InferenceServerClient(address)
    images = mnist.load_test().inputs
    answers: list[tuple[Any, Any]] = []
    client.start_stream(lambda result, error: answers.append((result, error)))
    for at in range(40):
        rows = images[at : at + 2]
        tensor = triton.InferInput("images", list(rows.shape), "UINT8")
        tensor.set_data_from_numpy(rows)
        client.async_stream_infer("nope" if at == 20 else "cnn", [tensor], request_id=str(at))
    client.stop_stream()
    assert len(answers) == 40
    whole = infer(client, triton, images[:41]).as_numpy("logits")
    for at, (result, error) in enumerate(answers):
        if at == 20:
            assert "unknown model 'nope'" in str(error)
            continue
        assert error is None
        response = result.get_response()
        assert response.id == str(at)
        assert response.parameters["triton_final_response"].bool_param
        np.testing.assert_allclose(result.as_numpy("logits"), whole[at : at + 2], atol=1e-4)
    client.close()


def reflection_shows_the_services(address: str) -> None:
    """As grpcurl asks: the services, then the file of one, enough to make a request of it."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        names = ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", ours.SERVICE]
        assert sorted(database.get_services()) == sorted(names)
        pool = descriptor_pool.DescriptorPool(database)
        assert pool.FindServiceByName("grpc.health.v1.Health").methods_by_name["Check"]
        method = pool.FindServiceByName(ours.SERVICE).methods_by_name["ModelMetadata"]
        request = message_factory.GetMessageClass(method.input_type)(name="linear")
        call = channel.unary_unary(f"/{ours.SERVICE}/{method.name}")
        found = message_factory.GetMessageClass(method.output_type).FromString(
            call(request.SerializeToString())
        )
        assert found.inputs[0].name == "features"


def decompression_is_bounded(address: str) -> None:
    """A gigabyte of zeros that travels as a megabyte is refused."""
    with grpc.insecure_channel(address, compression=grpc.Compression.Gzip) as channel:
        call = channel.unary_unary(f"/{ours.SERVICE}/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            call(bytes(100_000_000))
        assert caught.value.code() is Code.RESOURCE_EXHAUSTED, caught.value


def health_is_told(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", ours.SERVICE):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="nope"))
        assert caught.value.code() is Code.NOT_FOUND
        watched = stub.Watch(health_pb2.HealthCheckRequest(service="nope"))
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watched.cancel()


def main(address: str, http_address: str) -> None:
    the_definitions_are_the_public_ones()
    tritonclient_works(address, http_address)
    plain_stubs_work(address)
    extensions_work(address)
    streams_work(address)
    reflection_shows_the_services(address)
    decompression_is_bounded(address)
    health_is_told(address)
    print("all right")


if __name__ == "__main__":
    main(*sys.argv[1:])
