"""The base of every layer by hand: parameters, their names, and the bookkeeping of backward.

A layer is a function y = f(x, w). Let L be the loss, a number. Backward is the chain rule: from
dy = dL/dy (the shape of y) it computes

    dx = dL/dx = (dy/dx)^T dL/dy    the shape of x; returned: the dy of the layer before
    dw = dL/dw = (dy/dw)^T dL/dy    the shape of w; added to `Parameter.grad`

A layer writes `_forward(x) -> y, what backward needs` and `_backward(dy, what it needs) -> dx`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import DTypeLike, NDArray

from zoo.errors import DataError, ZooError

Array = NDArray[Any]


class How(TypedDict, total=False):
    """Options of every layer with weights: their random generator, and float32 or float64."""

    rng: np.random.Generator
    dtype: DTypeLike


class Parameter:
    """A learned array `data` and its gradient `grad`, None until there is one."""

    def __init__(self, data: Array) -> None:
        self.data = data
        self.grad: Array | None = None

    def add(self, gradient: Array) -> None:
        """Add to the gradient; the first array becomes it, without a copy."""
        if self.grad is None:
            self.grad = gradient
        else:
            self.grad += gradient


class Module:
    """A tree of parameters and buffers with the names of torch's `state_dict`."""

    training = True
    buffers: tuple[str, ...] = ()  # attributes that belong to the state, but are not learned
    _kept: tuple[DTypeLike, tuple[int, ...], tuple[Any, ...]] | None = None

    def children(self) -> dict[str, Module]:
        """Return the modules directly below, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Module)}

    def modules(self, _seen: set[int] | None = None) -> Iterator[tuple[str, Module]]:
        """Yield ("", self) and all below, as ("rblock1.conv1.", module); a shared one once."""
        seen = set() if _seen is None else _seen
        if id(self) not in seen:
            seen.add(id(self))
            yield "", self
            for name, child in self.children().items():
                for prefix, module in child.modules(seen):
                    yield f"{name}.{prefix}", module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield names and parameters, in torch's order."""
        for prefix, module in self.modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter):
                    yield prefix + name, value

    def parameters(self) -> Iterator[Parameter]:
        """Yield the parameters, in torch's order."""
        return (parameter for _, parameter in self.named_parameters())

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays themselves, no copies, of all parameters and buffers by name."""
        state: dict[str, Array] = {}
        for prefix, module in self.modules():
            own = {name: v.data for name, v in vars(module).items() if isinstance(v, Parameter)}
            own |= {name: getattr(module, name) for name in module.buffers}
            state |= {prefix + name: array for name, array in own.items()}
        return state

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Copy arrays into the parameters and buffers: all of them, or none.

        Raises:
            DataError: missing or unexpected names, other shapes; all of them are named.
        """
        state = self.state_dict()
        faults = [f"{name} is missing" for name in state if name not in arrays]
        faults += [f"{name} is unexpected" for name in arrays if name not in state]
        faults += [
            f"{name}: expected {list(state[name].shape)}, given {list(array.shape)}"
            for name, array in arrays.items()
            if name in state and array.shape != state[name].shape
        ]
        if faults:
            raise DataError(f"{self}: the state does not fit: {'; '.join(faults)}")
        for name, array in arrays.items():
            state[name][...] = array

    def train(self, mode: bool = True) -> None:
        """Switch to training: dropout drops, batch normalization uses the batch's statistics."""
        for _, module in self.modules():
            module.training = mode

    def eval(self) -> None:
        """Switch to evaluation."""
        self.train(False)

    def _keep(self, y: Array, *what: Any) -> Array:
        self._kept = y.dtype, y.shape, what
        return y

    def _recall(self, dy: Array | None) -> tuple[Any, ...]:
        """Check dy; return what forward kept, and free it: it is needed once."""
        if self._kept is None:
            raise ZooError(f"{self}.backward: expected a forward pass before each backward pass")
        dtype, shape, what = self._kept
        if dy is not None:
            expect(f"{self}.backward", dy, dtype, *shape)
        self._kept = None
        return what

    def __str__(self) -> str:
        return type(self).__name__


class Layer(Module):
    """One float array in, one out: `y = layer(x)`, `dx = layer.backward(dy)`.

    Raises:
        DataError: x or dy of another shape or dtype. ZooError: a backward without its forward.
    """

    def __call__(self, x: Array) -> Array:
        """Compute y, and keep what backward needs."""
        expect(self, x, "float")
        y, what = self._forward(x)
        return self._keep(y, *what)

    def backward(self, dy: Array) -> Array:
        """From dL/dy compute dL/dx, and add dL/dw to each parameter's gradient."""
        return self._backward(dy, *self._recall(dy))

    def accumulate(self, dy: Array) -> None:
        """Do what `backward` does but for dL/dx: all that a network's first layer has to do."""
        self._accumulate(dy, *self._recall(dy))

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        raise NotImplementedError

    def _backward(self, *args: Any, **kwargs: Any) -> Array:
        raise NotImplementedError

    def _accumulate(self, *args: Any, **kwargs: Any) -> Any:
        self._backward(*args, **kwargs)


def expect(who: object, x: Any, dtype: DTypeLike, *shape: int | str) -> None:
    """Check an array's dtype and shape; without a shape, any is accepted.

    Args:
        who: named in the error.
        x: the array.
        dtype: "float" and "integer" stand for any dtype of that kind.
        shape: sizes; a name stands for any size.

    Raises:
        DataError: what was given and what was expected.
    """
    if not isinstance(x, np.ndarray):
        raise DataError(f"{who}: expected a NumPy array, given {type(x).__name__}")
    kinds = {"float": "f", "integer": "iu"}.get(str(dtype))
    fits = x.dtype.kind in kinds if kinds else x.dtype == dtype
    shape = shape or x.shape
    pairs = zip(shape, x.shape, strict=False)
    if not fits or x.ndim != len(shape) or any(size not in (n, str(size)) for size, n in pairs):
        kind = dtype if kinds else np.dtype(dtype)
        expected, given = (", ".join(map(str, sizes)) for sizes in (shape, x.shape))
        raise DataError(f"{who}: expected {kind} [{expected}], given {x.dtype} [{given}]")


def uniform(shape: tuple[int, ...], fan_in: int, how: How) -> Parameter:
    """Draw a parameter as torch does by default: uniform in +-1 / sqrt(fan_in)."""
    rng, bound = how.get("rng") or np.random.default_rng(), 1 / max(fan_in, 1) ** 0.5
    return Parameter(rng.uniform(-bound, bound, shape).astype(how.get("dtype", np.float32)))
