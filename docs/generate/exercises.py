"""Which of the zoo's exercises belong to which lesson."""

from __future__ import annotations

import importlib
import importlib.util

#: Lesson -> exercises of `zoo exercise`, which check themselves.
_EXERCISES = {
    "nn_standard_flow": ("net",),
    "linear_model": ("linear",),
    "gradient_descent": ("sgd",),
    "back_propagation": ("linear",),
    "dataset_and_dataloader": ("net",),
    "loading_mnist": ("net",),
    "inception_block": ("net",),
    "googlenet": ("net",),
    "resnet": ("net",),
    "cnn_by_hand": ("net",),
    "activations": ("relu", "tanh", "sigmoid"),
    "basic_cnn": ("net", "conv2d"),
    "softmax_classifier": ("cross_entropy_loss", "net"),
    "logistic_regression": ("bce_loss", "sigmoid"),
    "linear_regression": ("mse_loss",),
    "rnn_and_rnn_cell": ("rnn_cell",),
    "optim": ("sgd",),
    "convolution_by_hand": ("conv2d",),
    "conv2d_by_hand": ("conv2d",),
    "max_pool2d_by_hand": ("max_pool2d",),
    "batch_norm2d_by_hand": ("batch_norm2d",),
    "flatten_by_hand": ("flatten",),
    "linear_by_hand": ("linear",),
    "dropout_by_hand": ("dropout",),
    "relu_by_hand": ("relu",),
    "tanh_by_hand": ("tanh",),
    "sigmoid_by_hand": ("sigmoid",),
    "mse_loss_by_hand": ("mse_loss",),
    "bce_loss_by_hand": ("bce_loss",),
    "cross_entropy_loss_by_hand": ("cross_entropy_loss",),
    "nll_loss_by_hand": ("cross_entropy_loss",),
    "sgd_by_hand": ("sgd",),
}


def of(lesson: str) -> tuple[str, ...]:
    """Return the exercises of a lesson that the zoo has."""
    if importlib.util.find_spec("zoo.exercises") is None:
        return ()
    names = set(importlib.import_module("zoo.exercises").names())
    return tuple(name for name in _EXERCISES.get(lesson, ()) if name in names)
