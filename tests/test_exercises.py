"""Exercises: solutions pass, typical mistakes get the hint for them, and no file is too strange."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from conftest import ROOT

from zoo import exercises, lessons
from zoo.exercises.process import examine

SOLUTIONS = ROOT / "tests" / "solutions"
BY_HAND = [name for name in exercises.ORDER if name != "net"]
Check = exercises.Check
#: What is wrong: exercise; text of the solution and what stands there instead; check; mistake.
MISTAKES = """
linear | x @ weight.T + bias => x @ weight.T | forward: y | bias_missing
linear | x @ weight.T + bias => x @ weight + bias | forward | transpose
linear | dy @ weight => dy @ weight.T | backward | transpose
linear | dy.T @ x => x.T @ dy | backward: dweight | transpose
linear | dy.T @ x => dy.T @ x / len(x) | backward: dweight | mean_instead_of_sum
linear | dy.T @ x => (dy[:, :, None] * x[:, None]) | backward: dweight | batch_not_summed
linear | dy.sum(axis=0) => dy | backward: dbias | batch_not_summed
linear | dy.sum(axis=0) => dy.mean(axis=0) | backward: dbias | mean_instead_of_sum
linear | dy.sum(axis=0) => dy.sum(axis=1) | backward: dbias | wrong_axis
linear | dy.sum(axis=0) => dy.sum() | backward: dbias | summed_too_much
linear | dy.sum(axis=0) => dy.sum(axis=0, keepdims=True) | backward: dbias | keepdims
linear | dy.sum(axis=0) => -dy.sum(axis=0) | backward: dbias | sign
linear | dy.sum(axis=0) => np.zeros(len(bias)) | backward: dbias | zeros
conv2d | (padded[window], weight, ( => (padded[window], weight[..., ::-1, ::-1], ( | forward: y | kernel_flipped
conv2d | [1, 2, 3])) + bias => [1, 2, 3])) | forward: y | bias_missing
conv2d | tensordot(up, weight, 1) => tensordot(up, weight[..., ::-1, ::-1], 1) | backward: dx | kernel_not_flipped
conv2d | dpadded[window] += => dpadded[window] = | backward: dx | overwritten
conv2d | dx = dpadded[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]] => dx = dpadded | backward: dx | not_cropped
conv2d | tensordot(up.T, padded[window], 1) => tensordot(up.T, padded[window], 1)[..., ::-1, ::-1] | backward: dweight | kernel_flipped
conv2d | return dx, dweight, dbias => return dx, dweight / len(x), dbias | backward: dweight | mean_instead_of_sum
conv2d | tensordot(up.T, padded[window], 1) => tensordot(up[-1:].T, padded[window][-1:], 1) | backward: dweight | overwritten
conv2d | dy.sum(axis=(0, 2, 3)) => dy.sum(axis=(2, 3)) | backward: dbias | batch_not_summed
conv2d | dy.sum(axis=(0, 2, 3)) => dy.sum(axis=0) | backward: dbias | positions_not_summed
conv2d | dy.sum(axis=(0, 2, 3)) => dy.mean(axis=(0, 2, 3)) | backward: dbias | mean_instead_of_sum
conv2d | dy.sum(axis=(0, 2, 3)) => dy[-1].sum(axis=(1, 2)) | backward: dbias | overwritten
max_pool2d | max(axis=(2, 3)) => mean(axis=(2, 3)) | forward: y | mean
max_pool2d | window.max(axis=(2, 3)) => np.maximum(window.max(axis=(2, 3)), 0) | forward: y | starts_at_zero
max_pool2d | dx[n, c, top + i, left + j] += dy[n, c, p, q] => dx[n, c, top : top + kernel_size, left : left + kernel_size] += (window == window.max()) * dy[n, c, p, q] | backward: dx | ties
max_pool2d | window.argmax() => window.size - 1 - window.ravel()[::-1].argmax() | backward: dx | ties
max_pool2d | dx[n, c, top + i, left + j] += => dx[n, c, top : top + kernel_size, left : left + kernel_size] += | backward: dx | everywhere
batch_norm2d | np.sqrt(var + eps)[ => (np.sqrt(var) + eps)[ | forward: y | eps_outside
batch_norm2d | mean, var = x.mean(axis=AXES), x.var(axis=AXES) => mean, var = x.mean(axis=AXES), x.var(axis=AXES, ddof=1) | forward: y | unbiased
batch_norm2d | momentum * var * count / (count - 1) => momentum * var | forward: running_var_after | biased
batch_norm2d | (1 - momentum) * running_mean + momentum * mean => momentum * running_mean + (1 - momentum) * mean | forward: running_mean_after | momentum_swapped
batch_norm2d | if training: => if True: | forward: y | eval_ignored
batch_norm2d | if training: => if True: | forward: running_mean_after | eval_ignored
batch_norm2d | dy - dbias[:, None, None] / count - => dy - 2 * dbias[:, None, None] / count - | backward: dx | mean_twice
batch_norm2d | dx = dy - dbias[:, None, None] / count - z * dweight[:, None, None] / count => dx = dy | backward: dx | statistics_constant
batch_norm2d | - z * dweight[:, None, None] / count =>  | backward: dx | variance_missing
batch_norm2d | dy - dbias[:, None, None] / count - => dy - | backward: dx | mean_missing
batch_norm2d | dbias[:, None, None] / count - z * dweight[:, None, None] / count => dbias[:, None, None] - z * dweight[:, None, None] | backward: dx | count_missing
batch_norm2d | weight[:, None, None] * r * dx => r * dx | backward: dx | weight_missing
batch_norm2d | (dy * z).sum => (dy * x).sum | backward: dweight | not_normalized
batch_norm2d | dbias = dy.sum(axis=AXES) => dbias = dy.mean(axis=AXES) | backward: dbias | mean_instead_of_sum
flatten | x.reshape(len(x), -1) => x.reshape(-1) | forward: y | batch_flattened
flatten | x.reshape(len(x), -1) => x.reshape(len(x), -1, order="F") | forward: y | order
flatten | dy.reshape(x.shape) => dy | backward: dx | shape_not_restored
dropout | x * mask / (1 - p) => x * mask | forward: y | not_rescaled
dropout | x * mask / (1 - p) => x * mask / p | forward: y | scaled_by_p
dropout | x * mask / (1 - p) => x / (1 - p) | forward: y | mask_missing
dropout | dy * mask / (1 - p) => dy * mask | backward: dx | not_rescaled
dropout | mask = u >= p => mask = u < p | forward: y | swapped
dropout | if not training: => if False: | forward: y | eval_ignored
relu | x > 0 => x >= 0 | backward: dx | zero
relu | dy * (x > 0) => (x > 0) * 1.0 | backward: dx | upstream_forgotten
relu | dy * (x > 0) => np.maximum(dy, 0) | backward: dx | mask_of_gradient
relu | np.maximum(x, 0) => np.abs(x) | forward: y | absolute
tanh | 1 - y**2 => 1 - x**2 | backward: dx | of_input
tanh | 1 - y**2 => 1 - y | backward: dx | square_missing
tanh | np.tanh(x) => (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)) | forward: y | overflow
sigmoid | dy * y * (1 - y) => dy * x * (1 - x) | backward: dx | of_input
sigmoid | dy * y * (1 - y) => dy * (1 - y**2) | backward: dx | tanh_derivative
sigmoid | dy * y * (1 - y) => y * (1 - y) | backward: dx | upstream_forgotten
sigmoid | np.where(x >= 0, 1 / (1 + small), small / (1 + small)) => np.exp(x) / (1 + np.exp(x)) | forward: y | overflow
mse_loss | .mean() => .sum() | forward: loss | sum_instead_of_mean
mse_loss | .mean() => .sum() / len(outputs) | forward: loss | rows_alone
mse_loss | 2 * (outputs - targets) => (outputs - targets) | backward: doutputs | half
mse_loss | / outputs.size =>  | backward: doutputs | sum_instead_of_mean
mse_loss | 2 * (outputs - targets) => 2 * (targets - outputs) | backward: doutputs | sign
bce_loss | / outputs.size =>  | backward: doutputs | sum_instead_of_mean
bce_loss | np.maximum(np.log(p), -100) => np.log(p) | forward: loss | unbounded
bce_loss | np.maximum(outputs * (1 - outputs), 1e-12) => outputs * (1 - outputs) | backward: doutputs | unbounded
bce_loss | (outputs - targets) / divisor => (outputs - targets) | backward: doutputs | divisor_missing
bce_loss | -(yes + no).mean() => -yes.mean() | forward: loss | second_term_missing
cross_entropy_loss | axis=1 => axis=0 | forward: loss | wrong_axis
cross_entropy_loss | axis=1 => axis=0 | backward: doutputs | wrong_axis
cross_entropy_loss | gradient / len(targets) => gradient | backward: doutputs | sum_instead_of_mean
cross_entropy_loss | gradient / len(targets) => gradient / gradient.size | backward: doutputs | divided_by_all
cross_entropy_loss | gradient[rows, targets] -= 1 => pass | backward: doutputs | one_hot_missing
cross_entropy_loss | shifted = outputs - outputs.max(axis=1, keepdims=True) => shifted = outputs | forward: loss | overflow
cross_entropy_loss | -log_softmax(outputs)[rows, targets].mean() => -log_softmax(outputs)[rows, targets].sum() | forward: loss | sum_instead_of_mean
cross_entropy_loss | -log_softmax(outputs)[rows, targets].mean() => -np.exp(log_softmax(outputs))[rows, targets].mean() | forward: loss | log_missing
sgd | v = g if velocity is None else => velocity = 0 * w if velocity is None else velocity; v = | step: w_after | dampening_first
sgd | (1 - dampening) * g => g | step: velocity_after | dampening_ignored
sgd | gradient + weight_decay * w => gradient | step: w_after | decay_ignored
sgd | gradient + weight_decay * w => gradient - weight_decay * w | step: w_after | decay_sign
sgd | momentum * velocity + => -momentum * velocity + | step: w_after | velocity_sign
sgd | if nesterov: => if False: | step: w_after | nesterov_ignored
sgd | lr * (g + momentum * v) => lr * (gradient + momentum * v) | step: w_after | nesterov_gradient
sgd | return w - lr * v, v => return w + lr * v, v | step: w_after | direction
sgd | (1 - dampening) * g => (1 - momentum) * g | step: velocity_after | momentum_average
rnn_cell | dz @ w_hh => dz @ w_hh.T | backward: dh | transpose
rnn_cell | h @ w_hh.T => h @ w_hh | forward: h_next | transpose
rnn_cell | dz.T @ h => dz.T @ h_next | backward: dw_hh | new_state
rnn_cell | + b_hh) => ) | forward: h_next | bias_missing
rnn_cell | (1 - h_next**2) => 1 | backward: dx | derivative_missing
rnn_cell | return dx, dh, dw_ih, dw_hh, db, db => return dx, dh, dw_ih, dw_hh, db, dz | backward: db_hh | batch_not_summed
"""


def replaced(name: str, *pairs: str) -> str:
    """The solution of an exercise with some text replaced."""
    text = (SOLUTIONS / f"{name}.py").read_text()
    text = text if "import numpy" in text else f"import numpy as np\n\n{text}"
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text, old
        text = text.replace(old, new)
    return text


def verdict(name: str, text: str, folder: Path) -> dict[str, Check]:
    """The checks of a file, by name, in this process: torch is imported once."""
    path = folder / "student.py"
    path.write_text(text)
    return {check.name: check for check in examine(exercises.get(name), path)}


@pytest.mark.parametrize("name", exercises.ORDER)
def test_a_solution_passes(name: str, tmp_path: Path) -> None:
    checks = verdict(name, (SOLUTIONS / f"{name}.py").read_text(), tmp_path)
    assert {check.state for check in checks.values()} == {"right"}, checks
    returns = [one for function in exercises.get(name).functions for one in function.returns]
    assert len(checks) >= max(len(returns), 3 if name == "net" else 1)
    for check in checks.values() if "backward" in str(checks) else ():
        assert check.name.startswith("forward") or "numerical gradient" in check.message


@pytest.mark.parametrize("line", MISTAKES.strip().splitlines())
def test_a_typical_mistake_gets_its_hint(line: str, tmp_path: Path) -> None:
    name, change, wrong, mistake = (part.strip() for part in line.split(" | "))
    old, _, new = (part.strip() for part in change.partition("=>"))
    checks = verdict(name, replaced(name, old, new), tmp_path)
    assert checks[wrong].state == "wrong", checks
    assert checks[wrong].mistake == mistake, checks[wrong]
    assert checks[wrong].hint
