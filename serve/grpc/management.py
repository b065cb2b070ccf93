"""Triton's extensions over gRPC: statistics, configuration, repository, trace, logging, memory.

Source: https://github.com/triton-inference-server/common, protobuf/grpc_service.proto
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serve import protocol, repository
from serve.errors import HttpError, Unsupported
from serve.models import Models

#: Of a request, and of each of its tensors.
_PARAMETERS = 100


def parameters(fields: Any) -> dict[str, Any]:
    """Return a message's map of parameters or settings, each of them one of several types.

    Raises:
        HttpError: 400, there are too many.
    """
    if len(fields) > _PARAMETERS:
        raise HttpError(400, f"expected at most {_PARAMETERS} parameters, given {len(fields):,}")
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in fields.items()}
    return {name: getattr(fields[name], kind) if kind else None for name, kind in chosen.items()}


def functions(models: Models) -> dict[str, Callable[[Any], Any]]:
    """Return what answers each method: from its request to the fields of its answer."""

    def name(request: Any) -> str:
        version = request.version or protocol.VERSION
        return models.session(request.name, version).card.name

    def statistics(request: Any) -> dict[str, Any]:
        names = [name(request)] if request.name else list(models.sessions)
        return {"model_stats": [models.counts[name].document() for name in names]}

    async def load(request: Any) -> dict[str, Any]:
        await repository.load(models, request.model_name, parameters(request.parameters))
        return {}

    async def unload(request: Any) -> dict[str, Any]:
        await repository.unload(models, request.model_name)
        return {}

    def trace(request: Any) -> dict[str, Any]:
        if request.model_name:
            models.session(request.model_name)
        wanted = {name: list(setting.value) or None for name, setting in request.settings.items()}
        settings = protocol.unchanged(wanted, protocol.TRACE, "trace").items()
        return {"settings": {
            name: {"value": value if isinstance(value, list) else [value]}
            for name, value in settings
        }}  # fmt: skip

    def logging(request: Any) -> dict[str, Any]:
        wanted = parameters(request.settings)
        settings = protocol.unchanged(wanted, protocol.LOGGING, "logging").items()
        kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
        return {"settings": {name: {kinds[type(value)]: value} for name, value in settings}}

    def memory_status(request: Any) -> dict[str, Any]:
        if request.name:
            raise HttpError(404, f"no shared memory region {request.name!r} is registered")
        return {}

    def memory_register(request: Any) -> dict[str, Any]:
        raise Unsupported(protocol.NO_SHARED_MEMORY)

    return {
        "ModelStatistics": statistics,
        "ModelConfig": lambda request: {"config": models.config(name(request))},
        "RepositoryIndex": lambda request: {
            "models": repository.index(models, ready=request.ready)
        },
        "RepositoryModelLoad": load,
        "RepositoryModelUnload": unload,
        "TraceSetting": trace,
        "LogSettings": logging,
        "SystemSharedMemoryStatus": memory_status,
        "SystemSharedMemoryRegister": memory_register,
        "SystemSharedMemoryUnregister": lambda request: {},  # as Triton: nothing is registered
        "CudaSharedMemoryStatus": memory_status,
        "CudaSharedMemoryRegister": memory_register,
        "CudaSharedMemoryUnregister": lambda request: {},
    }
