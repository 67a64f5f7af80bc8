"""Optimisers, and learning rates that change while training goes on: all names are in `microtensor.nn` too."""

from microtensor.nn.optim.average import ExponentialMovingAverage
from microtensor.nn.optim.clip import clip_grad_norm_, clip_grad_value_
from microtensor.nn.optim.cycles import CosineAnnealingWarmRestarts, OneCycleLR
from microtensor.nn.optim.optimizer import Optimizer, decay_groups
from microtensor.nn.optim.plateau import ReduceLROnPlateau
from microtensor.nn.optim.preview import preview_lr
from microtensor.nn.optim.rules import SGD, Adagrad, Adam, AdamW, RMSprop
from microtensor.nn.optim.scaler import GradScaler
from microtensor.nn.optim.schedule import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from microtensor.nn.optim.scheduler import LRScheduler, SequentialLR

__all__ = [
    "SGD", "Adagrad", "Adam", "AdamW", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR",
    "ExponentialMovingAverage", "GradScaler", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "OneCycleLR", "Optimizer",
    "PolynomialLR", "RMSprop", "ReduceLROnPlateau", "SequentialLR", "StepLR", "clip_grad_norm_", "clip_grad_value_",
    "decay_groups", "preview_lr",
]  # fmt: skip
