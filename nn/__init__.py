"""Layers, losses and optimisers, under PyTorch's names."""

from microtensor.nn import init
from microtensor.nn.activation import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from microtensor.nn.containers import Concat, Residual, Sequential
from microtensor.nn.conv import Conv2d, conv2d
from microtensor.nn.dropout import Dropout, dropout
from microtensor.nn.linear import Flatten, Identity, Linear, linear
from microtensor.nn.loss import cross_entropy
from microtensor.nn.module import Buffer, Module, Parameter
from microtensor.nn.norm import BatchNorm2d, batch_norm
from microtensor.nn.optim import SGD, Adam, Optimizer
from microtensor.nn.pool import AvgPool2d, MaxPool2d, avg_pool2d, max_pool2d
from microtensor.nn.schedule import CosineAnnealingLR
from microtensor.nn.train import evaluate, fit
from microtensor.nn.windows import fold, unfold

__all__ = [
    "SGD", "Adam", "AvgPool2d", "BatchNorm2d", "Buffer", "CELU", "Concat", "Conv2d", "CosineAnnealingLR", "Dropout", "ELU",
    "Flatten", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU", "Linear", "LogSigmoid", "LogSoftmax",
    "MaxPool2d", "Mish", "Module", "Optimizer", "Parameter", "PReLU", "ReLU", "ReLU6", "Residual", "SELU", "Sequential",
    "Sigmoid", "SiLU", "Softmax", "Softplus", "Softsign", "Tanh", "avg_pool2d", "batch_norm", "conv2d", "cross_entropy",
    "dropout", "evaluate", "fit", "fold", "init", "linear", "max_pool2d", "unfold",
]  # fmt: skip
