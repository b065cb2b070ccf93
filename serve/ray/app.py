"""A Ray Serve application: the addresses and the answers of `zoo serve`, in replicas on a cluster.

serve run serve.ray.app:app                          # all shipped models
serve run serve.ray.app:app models=cnn,resnet device=cuda
"""

from __future__ import annotations

from ray import serve as ray_serve
from ray.serve import Application

from serve.http.app import App
from serve.models import Models, bundles
from serve.options import Options
from zoo.bundle.folder import shipped
from zoo.errors import unknown

_KNOWN = ("models", "device")


def app(args: dict[str, str]) -> Application:
    """Build the application.

    Args:
        args: `models`, names or paths of bundles with commas between them, all shipped ones if
            left out; `device`, as of `zoo.Session`, "cuda" and "tensorrt" take a GPU a replica.

    Raises:
        UsageError: another argument, or no such bundle.
    """
    for name in args:
        if name not in _KNOWN:
            raise unknown("argument", name, _KNOWN)
    device = args.get("device", "cpu")
    models = args["models"].split(",") if "models" in args else shipped()
    bundles(models)  # a misspelled one is an error here, not first in each replica
    options = Options(models=tuple(models), device=device, log="off")

    def build() -> App:
        return App(Models(options))

    deployment = ray_serve.deployment(
        ray_serve.ingress(build)(),
        name="zoo",
        max_ongoing_requests=options.max_queue,  # what waits together is one batch
        ray_actor_options={"num_cpus": 1, "num_gpus": int(device in ("cuda", "tensorrt"))},
    )
    return deployment.bind()
