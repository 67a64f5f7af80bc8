"""Layers, losses and optimisers, under PyTorch's names."""

from microtensor.nn import init
from microtensor.nn.activation import (
    CELU,
    ELU,
    GELU,
    GLU,
    SELU,
    Hardshrink,
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
    RReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softmax2d,
    Softmin,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    Threshold,
    rrelu,
)
from microtensor.nn.average import ExponentialMovingAverage
from microtensor.nn.clip import clip_grad_norm_, clip_grad_value_
from microtensor.nn.containers import Concat, Residual, Sequential
from microtensor.nn.conv import Conv1d, Conv2d, conv1d, conv2d
from microtensor.nn.conv_transpose import ConvTranspose1d, ConvTranspose2d, conv_transpose1d, conv_transpose2d
from microtensor.nn.cycles import CosineAnnealingWarmRestarts, OneCycleLR
from microtensor.nn.dice import DiceLoss, dice_loss
from microtensor.nn.dropout import (
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
from microtensor.nn.embedding import Embedding, embedding
from microtensor.nn.group_norm import GroupNorm, InstanceNorm1d, InstanceNorm2d, group_norm, instance_norm
from microtensor.nn.layer_norm import LayerNorm, RMSNorm, layer_norm, normalize, rms_norm
from microtensor.nn.likelihood import (
    BCELoss,
    BCEWithLogitsLoss,
    KLDivLoss,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    kl_div,
)
from microtensor.nn.linear import Bilinear, Flatten, Identity, Linear, Unflatten, linear
from microtensor.nn.lists import ModuleDict, ModuleList, ParameterDict, ParameterList
from microtensor.nn.loss import CrossEntropyLoss, NLLLoss, cross_entropy, nll_loss
from microtensor.nn.module import Buffer, Module, Parameter
from microtensor.nn.norm import BatchNorm1d, BatchNorm2d, batch_norm
from microtensor.nn.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from microtensor.nn.optimizer import Optimizer, decay_groups
from microtensor.nn.plateau import ReduceLROnPlateau
from microtensor.nn.adaptive import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
)
from microtensor.nn.pad import (
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
from microtensor.nn.pool import (
    AvgPool1d,
    AvgPool2d,
    MaxPool1d,
    MaxPool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)
from microtensor.nn.resize import Upsample, UpsamplingBilinear2d, UpsamplingNearest2d, interpolate
from microtensor.nn.shuffle import (
    ChannelShuffle,
    PixelShuffle,
    PixelUnshuffle,
    channel_shuffle,
    pixel_shuffle,
    pixel_unshuffle,
)
from microtensor.nn.unpool import MaxUnpool2d, max_unpool2d
from microtensor.nn.regression import (
    HuberLoss,
    L1Loss,
    MSELoss,
    SmoothL1Loss,
    huber_loss,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from microtensor.nn.response_norm import LocalResponseNorm, local_response_norm
from microtensor.nn.schedule import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from microtensor.nn.scheduler import LRScheduler, SequentialLR
from microtensor.nn.callbacks import Callback, EarlyStopping
from microtensor.nn.checkpoint import Checkpoint
from microtensor.nn.history import History
from microtensor.nn.metrics import accuracy
from microtensor.nn.receptive_field import receptive_field
from microtensor.nn.summary import summary
from microtensor.nn.train import Run, evaluate, fit
from microtensor.nn.windows import Fold, Unfold, fold, unfold
from microtensor.ops.contraction import bilinear

__all__ = [
    "SGD", "Adam", "AvgPool2d", "BatchNorm2d", "Buffer", "CELU", "Concat", "Conv2d", "CosineAnnealingLR", "Dropout", "ELU",
    "Flatten", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU", "Linear", "LogSigmoid", "LogSoftmax",
    "MaxPool2d", "Mish", "Module", "Optimizer", "Parameter", "PReLU", "ReLU", "ReLU6", "Residual", "SELU", "Sequential",
    "Sigmoid", "SiLU", "Softmax", "Softplus", "Softsign", "Tanh", "avg_pool2d", "batch_norm", "conv2d", "cross_entropy",
    "dropout", "accuracy", "Callback", "Checkpoint", "EarlyStopping", "History", "Run", "evaluate", "fit", "fold", "init", "linear", "max_pool2d", "unfold",
    "BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "DiceLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "NLLLoss",
    "SmoothL1Loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "dice_loss", "huber_loss", "kl_div",
    "l1_loss", "mse_loss", "nll_loss", "smooth_l1_loss",
    "Adagrad", "AdamW", "clip_grad_norm_", "clip_grad_value_", "ConstantLR", "CosineAnnealingWarmRestarts", "decay_groups",
    "ExponentialLR", "ExponentialMovingAverage", "LambdaLR", "LinearLR", "LRScheduler", "MultiStepLR", "OneCycleLR",
    "PolynomialLR", "ReduceLROnPlateau", "RMSprop", "SequentialLR", "StepLR",
    "AlphaDropout", "BatchNorm1d", "Bilinear", "Dropout1d", "Dropout2d", "Embedding", "FeatureAlphaDropout", "GLU", "GroupNorm",
    "Hardshrink", "InstanceNorm1d", "InstanceNorm2d", "LayerNorm", "LocalResponseNorm", "RMSNorm", "RReLU", "Softmax2d",
    "Softmin", "Softshrink", "Tanhshrink", "Threshold", "Unflatten", "alpha_dropout", "bilinear", "dropout1d", "dropout2d",
    "embedding", "feature_alpha_dropout", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "normalize",
    "rms_norm", "rrelu",
    "Conv1d", "ConvTranspose1d", "ConvTranspose2d", "Fold", "Unfold", "conv1d", "conv_transpose1d", "conv_transpose2d",
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AvgPool1d", "ChannelShuffle",
    "CircularPad1d", "CircularPad2d", "ConstantPad1d", "ConstantPad2d", "MaxPool1d", "MaxUnpool2d", "PixelShuffle",
    "PixelUnshuffle", "ReflectionPad1d", "ReflectionPad2d", "ReplicationPad1d", "ReplicationPad2d", "Upsample",
    "UpsamplingBilinear2d", "UpsamplingNearest2d", "ZeroPad1d", "ZeroPad2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "avg_pool1d", "channel_shuffle", "interpolate", "max_pool1d", "max_unpool2d",
    "pixel_shuffle", "pixel_unshuffle",
    "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "receptive_field", "summary",
]  # fmt: skip
