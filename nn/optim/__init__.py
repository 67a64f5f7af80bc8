"""Optimisers, and learning rates that change while training goes on: all names are in `microtensor.nn` too."""

from .adam import SGD, Adagrad, Adam, AdamW, RMSprop
from .clip_grad import clip_grad_norm_, clip_grad_value_
from .grad_scaler import GradScaler
from .lr_cycles import CosineAnnealingWarmRestarts, OneCycleLR
from .lr_plateau import ReduceLROnPlateau
from .lr_preview import preview_lr
from .lr_scheduler import LRScheduler, SequentialLR
from .lr_schedules import ConstantLR, CosineAnnealingLR, ExponentialLR, LambdaLR, LinearLR, MultiStepLR, PolynomialLR, StepLR
from .moving_average import ExponentialMovingAverage
from .optimizer import Optimizer, decay_groups

__all__ = [
    "SGD", "Adagrad", "Adam", "AdamW", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR",
    "ExponentialMovingAverage", "GradScaler", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "OneCycleLR", "Optimizer",
    "PolynomialLR", "RMSprop", "ReduceLROnPlateau", "SequentialLR", "StepLR", "clip_grad_norm_", "clip_grad_value_",
    "decay_groups", "preview_lr",
]  # fmt: skip
