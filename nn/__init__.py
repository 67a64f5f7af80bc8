"""Layers, losses and optimisers, under PyTorch's names."""

from typing import TYPE_CHECKING, Any

from microtensor.ops.contraction import bilinear
from microtensor.runtime.names import missing

from . import init, transfer
from .containers import Concat, Residual, Sequential
from .inspect.effective_field import effective_receptive_field, seen_pixels
from .inspect.layer_outputs import activations
from .inspect.pooling import trace_max_pool
from .inspect.receptive_field import receptive_field
from .inspect.summary import summary
from .inspect.top_patches import top_patches
from .layers.activation import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    RReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    Threshold,
    rrelu,
)
from .layers.adaptive import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
)
from .layers.axis_activation import GLU, LogSoftmax, Softmax, Softmax2d, Softmin
from .layers.batch_norm import BatchNorm1d, BatchNorm2d, batch_norm
from .layers.conv import Conv1d, Conv2d, conv1d, conv2d
from .layers.conv_transpose import ConvTranspose1d, ConvTranspose2d, conv_transpose1d, conv_transpose2d
from .layers.convolution.ways import convolution_ways
from .layers.dropout import (
    AlphaDropout,
    Dropout,
    Dropout1d,
    Dropout2d,
    FeatureAlphaDropout,
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    feature_alpha_dropout,
)
from .layers.embedding import Embedding, embedding
from .layers.group_norm import GroupNorm, InstanceNorm1d, InstanceNorm2d, group_norm, instance_norm
from .layers.layer_norm import LayerNorm, RMSNorm, layer_norm, normalize, rms_norm
from .layers.linear import Bilinear, Flatten, Identity, Linear, Unflatten, linear
from .layers.pad import (
    CircularPad1d,
    CircularPad2d,
    ConstantPad1d,
    ConstantPad2d,
    ReflectionPad1d,
    ReflectionPad2d,
    ReplicationPad1d,
    ReplicationPad2d,
    ZeroPad1d,
    ZeroPad2d,
)
from .layers.pool import AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d, avg_pool1d, avg_pool2d, max_pool1d, max_pool2d
from .layers.resize import Upsample, UpsamplingBilinear2d, UpsamplingNearest2d, interpolate
from .layers.response_norm import LocalResponseNorm, local_response_norm
from .layers.shuffle import ChannelShuffle, PixelShuffle, PixelUnshuffle, channel_shuffle, pixel_shuffle, pixel_unshuffle
from .layers.unpool import MaxUnpool2d, max_unpool2d
from .layers.windows import Fold, Unfold, fold, unfold
from .lists import ModuleDict, ModuleList, ParameterDict, ParameterList
from .losses.classification import CrossEntropyLoss, NLLLoss, cross_entropy, nll_loss
from .losses.dice import DiceLoss, dice_loss
from .losses.likelihood import (
    BCELoss,
    BCEWithLogitsLoss,
    KLDivLoss,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    kl_div,
)
from .losses.regression import HuberLoss, L1Loss, MSELoss, SmoothL1Loss, huber_loss, l1_loss, mse_loss, smooth_l1_loss
from .module import Buffer, Module, Parameter
from .optim import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    ExponentialMovingAverage,
    GradScaler,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    Optimizer,
    PolynomialLR,
    ReduceLROnPlateau,
    RMSprop,
    SequentialLR,
    StepLR,
    clip_grad_norm_,
    clip_grad_value_,
    decay_groups,
    preview_lr,
)
from .training.callbacks import Callback, EarlyStopping
from .training.checkpoint_callback import Checkpoint
from .training.history import History
from .training.metrics import accuracy
from .training.run import Run
from .training.train import evaluate, fit

__all__ = [
    "accuracy", "activations", "Adagrad", "Adam", "AdamW", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d", "alpha_dropout", "AlphaDropout", "avg_pool1d", "avg_pool2d", "AvgPool1d", "AvgPool2d",
    "batch_norm", "BatchNorm1d", "BatchNorm2d", "BCELoss", "BCEWithLogitsLoss", "Bilinear", "bilinear",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "Buffer", "Callback", "CELU", "channel_shuffle",
    "ChannelShuffle", "Checkpoint", "CircularPad1d", "CircularPad2d", "clip_grad_norm_", "clip_grad_value_", "Concat",
    "ConstantLR", "ConstantPad1d", "ConstantPad2d", "Conv1d", "conv1d", "Conv2d", "conv2d", "conv_transpose1d",
    "conv_transpose2d", "ConvTranspose1d", "ConvTranspose2d", "convolution_ways", "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "cross_entropy", "CrossEntropyLoss", "decay_groups", "dice_loss", "DiceLoss", "Dropout", "dropout", "Dropout1d",
    "dropout1d", "Dropout2d", "dropout2d", "EarlyStopping", "effective_receptive_field", "ELU", "Embedding", "embedding",
    "evaluate", "ExponentialLR", "ExponentialMovingAverage", "feature_alpha_dropout", "FeatureAlphaDropout", "fit",
    "Flatten", "Fold", "fold", "GELU", "GLU", "GradScaler", "group_norm", "GroupNorm", "Hardshrink", "Hardsigmoid",
    "Hardswish", "Hardtanh", "History", "huber_loss", "HuberLoss", "Identity", "init", "instance_norm", "InstanceNorm1d",
    "InstanceNorm2d", "interpolate", "kl_div", "KLDivLoss", "l1_loss", "L1Loss", "LambdaLR", "layer_norm", "LayerNorm",
    "LeakyReLU", "Linear", "linear", "LinearLR", "local_response_norm", "LocalResponseNorm", "LogSigmoid", "LogSoftmax",
    "LRScheduler", "max_pool1d", "max_pool2d", "max_unpool2d", "MaxPool1d", "MaxPool2d", "MaxUnpool2d", "Mish", "Module",
    "ModuleDict", "ModuleList", "mse_loss", "MSELoss", "MultiStepLR", "nll_loss", "NLLLoss", "normalize", "OneCycleLR",
    "Optimizer", "Parameter", "ParameterDict", "ParameterList", "pixel_shuffle", "pixel_unshuffle", "PixelShuffle",
    "PixelUnshuffle", "PolynomialLR", "PReLU", "preview_lr", "receptive_field", "ReduceLROnPlateau", "ReflectionPad1d",
    "ReflectionPad2d", "ReLU", "ReLU6", "ReplicationPad1d", "ReplicationPad2d", "Residual", "rms_norm", "RMSNorm",
    "RMSprop", "RReLU", "rrelu", "Run", "seen_pixels", "SELU", "Sequential", "SequentialLR", "SGD", "Sigmoid", "SiLU",
    "smooth_l1_loss", "SmoothL1Loss", "Softmax", "Softmax2d", "Softmin", "Softplus", "Softshrink", "Softsign", "StepLR",
    "summary", "Tanh", "Tanhshrink", "Threshold", "top_patches", "trace_max_pool", "transfer",
    "Unflatten", "Unfold", "unfold", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d", "ZeroPad1d", "ZeroPad2d",
]  # fmt: skip


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name, __all__)
