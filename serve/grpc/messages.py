"""The messages of the gRPC services, as a pool of protobuf's descriptors."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

#: Not the default pool: a client's generated code in the same process has messages of these names.
POOL = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(
    (Path(__file__).parent / "proto" / "services.binpb").read_bytes()
).file:
    POOL.Add(_file)
for _module in (health_pb2, reflection_pb2):  # for reflection, which shows one pool
    _file = descriptor_pb2.FileDescriptorProto()
    _module.DESCRIPTOR.CopyToProto(_file)
    POOL.Add(_file)
