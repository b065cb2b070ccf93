"""SGD: stochastic gradient descent, with momentum. Lesson: gradient descent.

    g <- dL/dw + weight_decay w
    v <- momentum v + (1 - dampening) g         at the first step v <- g; without momentum v = g
    w <- w - lr v                               Nesterov: w <- w - lr (g + momentum v)

g, v [the shape of w]. The same steps as `torch.optim.SGD`.

Source: I. Sutskever et al., On the importance of initialization and momentum, 2013.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zoo.errors import UsageError
from zoo.scratch.layer import Array, Parameter


class SGD:
    """As `torch.optim.SGD`; parameters without a gradient stay as they are.

    Raises:
        UsageError: no parameters, a negative number, Nesterov without momentum or with dampening.
    """

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 1e-3, momentum: float = 0,
        dampening: float = 0, weight_decay: float = 0, nesterov: bool = False,
    ) -> None:  # fmt: skip
        self.parameters = list(parameters)
        if not self.parameters:
            raise UsageError("SGD: expected at least one parameter, given none")
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise UsageError(f"SGD: expected {name} of at least 0, given {value}")
        if nesterov and (momentum == 0 or dampening != 0):
            raise UsageError("SGD: nesterov needs a momentum above 0 and no dampening")
        self.lr, self.momentum, self.dampening = lr, momentum, dampening
        self.weight_decay, self.nesterov = weight_decay, nesterov
        self._velocities: list[Array | None] = [None] * len(self.parameters)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Move every parameter, in place."""
        for number, parameter in enumerate(self.parameters):
            if (g := parameter.grad) is None:
                continue
            if self.weight_decay:
                g = g + self.weight_decay * parameter.data
            if self.momentum:
                v = self._velocities[number]
                if v is None:
                    v = self._velocities[number] = g.copy()
                else:
                    v *= self.momentum
                    v += (1 - self.dampening) * g if self.dampening else g
                g = g + self.momentum * v if self.nesterov else v
            parameter.data -= self.lr * g

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays that the next step needs, by name."""
        velocities = enumerate(self._velocities)
        return {f"{number}.velocity": v for number, v in velocities if v is not None}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Put back what `state_dict` returned."""
        for number in range(len(self._velocities)):
            v = state.get(f"{number}.velocity")
            self._velocities[number] = None if v is None else v.copy()
