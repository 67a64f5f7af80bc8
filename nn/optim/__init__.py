"""Optimisers, and learning rates that change while training goes on: all names are in `microtensor.nn` too."""

from .average import ExponentialMovingAverage
from .clip import clip_grad_norm_, clip_grad_value_
from .cycles import CosineAnnealingWarmRestarts, OneCycleLR
from .lr_scheduler import LRScheduler, SequentialLR
from .optimizer import Optimizer, decay_groups
from .optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from .plateau import ReduceLROnPlateau
from .preview import preview_lr
from .scaler import GradScaler
from .schedules import ConstantLR, CosineAnnealingLR, ExponentialLR, LambdaLR, LinearLR, MultiStepLR, PolynomialLR, StepLR

__all__ = [
    "SGD", "Adagrad", "Adam", "AdamW", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR",
    "ExponentialMovingAverage", "GradScaler", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "OneCycleLR", "Optimizer",
    "PolynomialLR", "RMSprop", "ReduceLROnPlateau", "SequentialLR", "StepLR", "clip_grad_norm_", "clip_grad_value_",
    "decay_groups", "preview_lr",
]  # fmt: skip
