"""Optimizers and learning rate schedules. All names are in `microtensor.nn` too."""

from .adagrad import Adagrad
from .adam import Adam, AdamW
from .clip_grad import clip_grad_norm_, clip_grad_value_
from .grad_scaler import GradScaler
from .lr_cycles import CosineAnnealingWarmRestarts, OneCycleLR
from .lr_plateau import ReduceLROnPlateau
from .lr_preview import preview_lr
from .lr_scheduler import LRScheduler
from .lr_schedules import ConstantLR, CosineAnnealingLR, ExponentialLR, LambdaLR, LinearLR, MultiStepLR, PolynomialLR, StepLR
from .lr_sequential import SequentialLR
from .moving_average import ExponentialMovingAverage
from .optimizer import Optimizer, decay_groups
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = [
    "SGD", "Adagrad", "Adam", "AdamW", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR",
    "ExponentialMovingAverage", "GradScaler", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "OneCycleLR", "Optimizer",
    "PolynomialLR", "RMSprop", "ReduceLROnPlateau", "SequentialLR", "StepLR", "clip_grad_norm_", "clip_grad_value_",
    "decay_groups", "preview_lr",
]  # fmt: skip
