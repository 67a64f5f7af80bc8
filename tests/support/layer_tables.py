"""What every layer is tested with: one place to add a line for a new layer.

Layers are written as text, as both this library and PyTorch make them; shapes are those of the input.
"""

import inspect

from microtensor import nn

CHANGED = """
Conv1d(4, 4, 3) | 2,4,9 | stride=(2,) stride=2 padding=(1,) padding=1 padding='same' padding='valid' dilation=(2,) dilation=2
Conv1d(4, 4, 3, padding=1) | 2,4,9 | padding=(0,) padding='valid' bias=None
Conv2d(4, 4, 3) | 2,4,9,8 | stride=(2,1) stride=2 padding=(1,2) padding=(1,) padding=1 padding='same' dilation=(2,1) dilation=2 bias=None
Conv2d(4, 4, 3) | 2,4,9,8 | kernel_size=(5,5) in_channels=7 out_channels=9 output_padding=(1,1) transposed=True
Conv2d(4, 4, (3, 1), padding=1, groups=2) | 2,4,9,8 | padding='valid' stride=(3,) groups=2
ConvTranspose1d(4, 4, 3, stride=2) | 2,4,9 | stride=(3,) padding=(1,) output_padding=(1,) dilation=(2,) bias=None
ConvTranspose2d(4, 4, 3, stride=2) | 2,4,9,8 | stride=(3,2) stride=3 padding=(1,0) padding=(1,) output_padding=(1,0) output_padding=(1,) dilation=(2,1) groups=1
Unfold(3) | 2,3,9,8 | kernel_size=2 kernel_size=(2,3) stride=2 padding=(1,0) dilation=2
Fold((5,4), 2) | 2,12,12 | output_size=(4,5) stride=1 padding=0
BatchNorm1d(3) | 5,3,4 | eps=0.5 momentum=0.9 momentum=None weight=None bias=None track_running_stats=False num_features=7 affine=False training=False
BatchNorm2d(3) | 5,3,4,2 | eps=0.5 momentum=0.9 momentum=None momentum=0.0 weight=None bias=None track_running_stats=False num_features=7 affine=False training=False
BatchNorm2d(3, momentum=None) | 5,3,4,2 | momentum=0.3 track_running_stats=False num_batches_tracked=None
BatchNorm2d(3, track_running_stats=False) | 5,3,4,2 | track_running_stats=True eps=0.5 training=False
BatchNorm2d(3).eval() | 5,3,4,2 | eps=0.5 eps=0.0 weight=None bias=None track_running_stats=False training=True
InstanceNorm1d(3) | 5,3,4 | eps=0.5 momentum=0.9 num_features=3
InstanceNorm2d(3, affine=True, track_running_stats=True) | 5,3,4,2 | eps=0.5 momentum=0.9 weight=None affine=False training=False
GroupNorm(2, 4) | 5,4,3 | num_groups=1 num_groups=4 eps=0.5 eps=0.0 weight=None bias=None num_channels=9 affine=False
LayerNorm((3, 4)) | 5,3,4 | eps=0.5 eps=0.0 weight=None bias=None elementwise_affine=False
LayerNorm(4, elementwise_affine=False) | 5,3,4 | normalized_shape=(3,4)
RMSNorm(4) | 5,3,4 | eps=0.5 eps=None weight=None
RMSNorm(4, elementwise_affine=False) | 5,3,4 | normalized_shape=(3,4)
LocalResponseNorm(3) | 5,4,3,3 | size=2 alpha=0.5 beta=0.3 k=2.0
Linear(4, 3) | 5,4 | bias=None in_features=9 out_features=9
Flatten() | 5,4,3,2 | start_dim=0 start_dim=2 end_dim=2 end_dim=-2
Unflatten(1, (2, 3)) | 5,6,6 | dim=2 dim=-1 unflattened_size=(3,2) unflattened_size=(1,6)
MaxPool1d(2) | 2,3,9 | kernel_size=3 stride=1 stride=None padding=1 dilation=2 ceil_mode=True
MaxPool2d(2) | 2,3,9,7 | kernel_size=3 kernel_size=(3,2) kernel_size=(3,) stride=1 stride=(1,2) stride=None padding=1 padding=(1,) dilation=2 ceil_mode=True
MaxPool2d(3, stride=2, padding=1, ceil_mode=True) | 2,3,9,7 | padding=0 ceil_mode=False stride=None kernel_size=2
AvgPool1d(2) | 2,3,9 | kernel_size=3 stride=1 padding=1 ceil_mode=True count_include_pad=False
AvgPool2d(3, padding=1) | 2,3,9,7 | kernel_size=(3,2) stride=1 stride=None padding=(1,) padding=0 ceil_mode=True count_include_pad=False divisor_override=5
AdaptiveAvgPool1d(3) | 2,3,9 | output_size=4 output_size=1
AdaptiveAvgPool2d(3) | 2,3,9,7 | output_size=(4,2) output_size=1 output_size=(None,3)
AdaptiveMaxPool1d(3) | 2,3,9 | output_size=4
AdaptiveMaxPool2d(3) | 2,3,9,7 | output_size=(4,2) output_size=(None,3)
Upsample(scale_factor=2) | 2,3,4,5 | scale_factor=3 scale_factor=(2.0,1.5) mode='bilinear' mode='bicubic' mode='nearest-exact' mode='area'
Upsample(size=6) | 2,3,4,5 | size=7 size=(3,9)
Upsample(scale_factor=1.7, mode='bilinear') | 2,3,4,5 | align_corners=True recompute_scale_factor=True align_corners=False
UpsamplingNearest2d(scale_factor=2) | 2,3,4,5 | scale_factor=3.0
UpsamplingBilinear2d(scale_factor=2) | 2,3,4,5 | scale_factor=3.0 align_corners=False
PixelShuffle(2) | 2,36,3,3 | upscale_factor=3 upscale_factor=1
PixelUnshuffle(2) | 2,1,6,6 | downscale_factor=3
ChannelShuffle(2) | 2,12,3,3 | groups=3
ZeroPad1d(1) | 2,3,4 | padding=(2,0) value=3.0
ZeroPad2d(1) | 2,3,4,4 | padding=(2,0,1,-1)
ConstantPad1d(1, 2.0) | 2,3,4 | padding=(2,0) value=3.5
ConstantPad2d(1, 2.0) | 2,3,4,4 | padding=(2,0,1,0) value=3.5
ReflectionPad1d(1) | 2,3,4 | padding=(2,0)
ReflectionPad2d(1) | 2,3,4,4 | padding=(2,0,1,1)
ReplicationPad1d(1) | 2,3,4 | padding=(2,0)
ReplicationPad2d(1) | 2,3,4,4 | padding=(2,0,1,1)
CircularPad1d(1) | 2,3,4 | padding=(2,0)
CircularPad2d(1) | 2,3,4,4 | padding=(2,0,1,1)
ReLU() | 2,3 | inplace=True
ReLU6() | 2,3 | inplace=True max_val=0.2 min_val=-0.3
LeakyReLU() | 2,3 | negative_slope=0.5 inplace=True
PReLU() | 2,3 | num_parameters=3
RReLU(0.2, 0.4).eval() | 2,3 | lower=0.3 upper=0.8 inplace=True
ELU() | 2,3 | alpha=0.3 inplace=True
CELU() | 2,3 | alpha=0.3 inplace=True
SELU() | 2,3 | inplace=True
SiLU() | 2,3 | inplace=True
Mish() | 2,3 | inplace=True
GELU() | 2,3 | approximate='tanh'
GLU() | 2,4,6 | dim=1
Hardtanh() | 2,3 | min_val=-0.3 max_val=0.2 inplace=True
Hardshrink() | 2,3 | lambd=0.1
Softshrink() | 2,3 | lambd=0.1
Softplus() | 2,3 | beta=3.0 threshold=0.1
Threshold(0.1, 2.0) | 2,3 | threshold=0.5 value=7.0 inplace=True
Hardsigmoid() | 2,3 | inplace=True
Hardswish() | 2,3 | inplace=True
Softmax(1) | 2,3 | dim=0
LogSoftmax(1) | 2,3 | dim=0
Softmin(1) | 2,3 | dim=0
Dropout(0.5) | 2,3 | p=0.0 p=1.0 training=False
Dropout1d(0.5) | 2,3,4 | p=0.0 p=1.0 training=False
Dropout2d(0.5) | 2,3,4,4 | p=0.0 p=1.0 training=False
AlphaDropout(0.5) | 2,3 | p=0.0 training=False
FeatureAlphaDropout(0.5) | 2,3,4 | p=0.0 training=False
"""
"""Layer | shape | settings that are assigned after construction, and take effect."""

WRONG = """
Conv2d(4, 4, 3) | 2,4,9,8 | stride=0 stride=-1 stride=1.5 stride='a' stride=(1,2,3) padding=-1 padding=1.5 padding='full' padding=None dilation=0 dilation=None groups=0 groups=3 groups=2.0 groups=None padding_mode='mirror' padding_mode=None weight=None bias=3
ConvTranspose2d(4, 4, 3) | 2,4,9,8 | stride=0 padding=-1 padding='same' output_padding=1 output_padding=-1 dilation=0 groups=3 padding_mode='reflect'
Unfold(3) | 2,3,9,8 | kernel_size=0 stride=0 padding=-1 dilation=0 kernel_size=99
Fold((5,4), 2) | 2,12,12 | output_size=0 output_size=(9,9) stride=0
BatchNorm2d(3) | 5,3,4,2 | eps=-1.0 eps='a' eps=None eps=float('nan') momentum='a' momentum=True momentum=[1]
BatchNorm2d(3).eval() | 5,3,4,2 | eps=-1.0 eps='a' running_mean=None running_var=None
InstanceNorm2d(3, affine=True, track_running_stats=True) | 5,3,4,2 | eps=-1.0 momentum=None momentum='a'
GroupNorm(2, 4) | 5,4,3 | num_groups=3 num_groups=0 num_groups=2.0 num_groups=None eps=-1.0 eps='a'
LayerNorm(4) | 5,3,4 | eps=-1.0 eps='a' normalized_shape=3 normalized_shape=None normalized_shape=()
RMSNorm(4) | 5,3,4 | eps=-1.0 eps='a' normalized_shape=3
LocalResponseNorm(3) | 5,4,3,3 | size=0 size=1.5 alpha='a' beta=None k='a'
Flatten() | 5,4,3,2 | start_dim=9 start_dim='a' end_dim=0 end_dim=1.5
Unflatten(1, (2, 3)) | 5,6,6 | dim=9 dim='a' unflattened_size=(4,4) unflattened_size=0.5
MaxPool2d(2) | 2,3,9,7 | kernel_size=0 kernel_size=99 stride=0 padding=2 padding=-1 dilation=0 kernel_size=None kernel_size='a'
AvgPool2d(3) | 2,3,9,7 | kernel_size=0 stride=0 padding=2 divisor_override=0 divisor_override=1.5
AdaptiveAvgPool2d(3) | 2,3,9,7 | output_size=0 output_size=1.5 output_size=(1,2,3) output_size='a'
AdaptiveMaxPool2d(3) | 2,3,9,7 | output_size=0 output_size=1.5 output_size=(1,2,3)
Upsample(scale_factor=2) | 2,3,4,5 | scale_factor=0 scale_factor=-1 scale_factor='a' scale_factor=None size=3 mode='x' mode=None align_corners=True align_corners='a'
PixelShuffle(2) | 2,36,3,3 | upscale_factor=0 upscale_factor=5 upscale_factor=1.5
PixelUnshuffle(2) | 2,1,6,6 | downscale_factor=0 downscale_factor=5
ChannelShuffle(2) | 2,12,3,3 | groups=0 groups=5 groups=1.5
ZeroPad2d(1) | 2,3,4,4 | padding=(1,2,3) padding='a' padding=1.5 value='a'
ConstantPad2d(1, 2.0) | 2,3,4,4 | value='a'
ReflectionPad2d(1) | 2,3,4,4 | padding=(9,9,9,9)
LeakyReLU() | 2,3 | negative_slope='a' negative_slope=None
RReLU(0.2, 0.4) | 2,3 | lower=0.8 upper='a' lower=None
ELU() | 2,3 | alpha='a' alpha=None
CELU() | 2,3 | alpha='a' alpha=0.0
GELU() | 2,3 | approximate='x' approximate=None
GLU() | 2,4,6 | dim=9 dim='a'
Hardtanh() | 2,3 | min_val=2.0 max_val='a' min_val=None
ReLU6() | 2,3 | max_val=-1.0
Hardshrink() | 2,3 | lambd='a' lambd=None
Softshrink() | 2,3 | lambd=-1.0 lambd='a'
Softplus() | 2,3 | beta='a' threshold='a' beta=0.0 beta=None
Threshold(0.1, 2.0) | 2,3 | threshold='a' value='a' value=None
Softmax(1) | 2,3 | dim=9 dim='a' dim=None
LogSoftmax(1) | 2,3 | dim=9 dim=None
Dropout(0.5) | 2,3 | p=2.0 p=-0.1 p='a' p=None inplace='a' training=3
AlphaDropout(0.5) | 2,3 | p=2.0
Linear(4,3) | 5,4 | weight=None
Embedding(4,3) | 2 | padding_idx=9 max_norm=-1.0 max_norm='a' norm_type=0.0 sparse=True
CrossEntropyLoss() | 4,4 | reduction='x' ignore_index=1.5 label_smoothing=2.0 label_smoothing='a'
MSELoss() | 4,4 | reduction=None
HuberLoss() | 4,4 | delta=0.0 delta='a'
SmoothL1Loss() | 4,4 | beta=-1.0
KLDivLoss() | 4,4 | reduction='x'
"""
"""Layer | shape | settings that are assigned after construction, and are refused."""

EMPTY_BATCH = """
Conv1d(3, 4, 3): 0,3,9 0,3,130 0,3,5000
Conv1d(3, 4, 1): 0,3,9 0,3,5000
Conv1d(4, 4, 3, groups=4): 0,4,9 0,4,5000
Conv2d(3, 4, 3): 0,3,4,4 0,3,13,13 0,3,14,14 0,3,224,224
Conv2d(3, 4, 3, bias=False): 0,3,14,14
Conv2d(3, 4, 1): 0,3,4,4 0,3,32,32
Conv2d(3, 4, 1, stride=2): 0,3,4,4 0,3,32,32
Conv2d(16, 4, 3, padding=1): 0,16,4,4 0,16,32,32
Conv2d(96, 12, 3, padding=1): 0,96,4,4 0,96,32,32
Conv2d(64, 64, 3, padding=1): 0,64,4,4 0,64,32,32
Conv2d(4, 8, 3, stride=2, padding=1, dilation=2, groups=2): 0,4,9,9 0,4,33,33
Conv2d(4, 4, 3, padding=1, groups=4): 0,4,3,3 0,4,7,7 0,4,32,32
Conv2d(4, 4, 5, padding=2, stride=2, groups=4): 0,4,3,3 0,4,7,7 0,4,32,32
Conv2d(4, 4, 7, padding=3, groups=4): 0,4,3,3 0,4,7,7 0,4,32,32
Conv2d(4, 8, 3, groups=4): 0,4,7,7 0,4,32,32
Conv2d(3, 4, 3, padding="same"): 0,3,5,5 0,3,14,14
Conv2d(3, 4, 3, padding=1, padding_mode="reflect"): 0,3,5,5 0,3,14,14
Conv2d(3, 4, 3, padding=1, padding_mode="circular"): 0,3,5,5 0,3,14,14
ConvTranspose1d(3, 4, 3): 0,3,9 0,3,200
ConvTranspose2d(3, 4, 3): 0,3,4,4 0,3,10,10 0,3,32,32
ConvTranspose2d(3, 4, 3, bias=False): 0,3,10,10
ConvTranspose2d(4, 8, 3, stride=2, padding=1, output_padding=1, groups=2): 0,4,4,4 0,4,32,32
ConvTranspose2d(4, 4, 3, stride=2, groups=4): 0,4,4,4 0,4,32,32
ConvTranspose2d(4, 4, 5, groups=4): 0,4,4,4 0,4,32,32
ConvTranspose2d(64, 12, 3): 0,64,4,4 0,64,32,32
ConvTranspose2d(3, 4, 1): 0,3,4,4 0,3,32,32
Unfold(3, padding=1, stride=2): 0,3,5,5 0,3,33,33
Fold((5, 5), 3, padding=1): 0,27,25
Fold((20, 20), 3, padding=1): 0,27,400
Linear(7, 3): 0,7 0,2,7 3,0,7 0,0,7
Linear(7, 3, bias=False): 0,7
Linear(2000, 1000): 0,2000
Flatten(): 0,3,4,5
Unflatten(1, (3, 2)): 0,6 0,6,4
Identity(): 0,3
BatchNorm1d(3).eval(): 0,3 0,3,9 0,3,130
BatchNorm2d(3).eval(): 0,3,4,4 0,3,12,12 0,3,64,64
BatchNorm2d(3, affine=False).eval(): 0,3,12,12
BatchNorm1d(3): 0,3 0,3,9 0,3,130
BatchNorm2d(3): 0,3,4,4 0,3,12,12 0,3,64,64
BatchNorm2d(3, affine=False): 0,3,12,12
BatchNorm2d(3, track_running_stats=False): 0,3,12,12
BatchNorm2d(3, momentum=None): 0,3,12,12
InstanceNorm1d(3, affine=True): 0,3,9 0,3,130
InstanceNorm2d(3): 0,3,12,12
InstanceNorm2d(3, affine=True): 0,3,4,4 0,3,12,12 0,3,64,64
InstanceNorm2d(3, affine=True, track_running_stats=True): 0,3,4,4 0,3,12,12
InstanceNorm2d(3, affine=True, track_running_stats=True).eval(): 0,3,4,4 0,3,12,12
GroupNorm(1, 4): 0,4,4,4 0,4,12,12 0,4
GroupNorm(2, 4): 0,4,4,4 0,4,12,12 0,4,9 0,4,64,64
GroupNorm(4, 4): 0,4,12,12
GroupNorm(2, 4, affine=False): 0,4,12,12
LayerNorm(7): 0,7 0,2,7 3,0,7
LayerNorm((3, 130)): 0,3,130
LayerNorm(7, bias=False): 0,7
LayerNorm(7, elementwise_affine=False): 0,7
RMSNorm(7): 0,7 3,0,7
LocalResponseNorm(3): 0,4,5,5 0,4,64,64
MaxPool1d(2): 0,3,9 0,3,200
MaxPool2d(2): 0,3,4,4 0,3,64,64
MaxPool2d(3, stride=2, padding=1): 0,3,4,4 0,3,64,64
MaxPool2d(2, ceil_mode=True): 0,3,5,5
MaxPool2d(2, dilation=2): 0,3,5,5
AvgPool1d(2): 0,3,9 0,3,200
AvgPool2d(2): 0,3,4,4 0,3,64,64
AvgPool2d(3, stride=2, padding=1, count_include_pad=False): 0,3,4,4 0,3,64,64
AvgPool2d(2, ceil_mode=True, divisor_override=3): 0,3,5,5
AdaptiveAvgPool1d(3): 0,3,9 0,3,10
AdaptiveAvgPool2d(1): 0,3,4,4 0,3,64,64
AdaptiveAvgPool2d(3): 0,3,9,9 0,3,10,10 0,3,64,64
AdaptiveMaxPool1d(3): 0,3,9 0,3,10
AdaptiveMaxPool2d(1): 0,3,4,4 0,3,64,64
AdaptiveMaxPool2d(3): 0,3,9,9 0,3,10,10 0,3,64,64
Upsample(scale_factor=2): 0,3,4,4 0,3,64,64 0,3,9
Upsample(size=7, mode="nearest-exact"): 0,3,4,4 0,3,64,64
Upsample(scale_factor=2, mode="linear"): 0,3,9
Upsample(scale_factor=2, mode="bilinear"): 0,3,4,4 0,3,64,64
Upsample(size=(3, 9), mode="bicubic", align_corners=True): 0,3,4,4 0,3,64,64
Upsample(size=(3, 9), mode="area"): 0,3,6,9 0,3,64,64
UpsamplingNearest2d(scale_factor=2): 0,3,4,4
UpsamplingBilinear2d(scale_factor=2): 0,3,4,4
ZeroPad1d(1): 0,3,4
ZeroPad2d((1, -1, 0, 2)): 0,3,4,4
ConstantPad1d(2, 1.5): 0,3,4
ConstantPad2d(2, 1.5): 0,3,4,4
ReflectionPad1d(2): 0,3,4
ReflectionPad2d(2): 0,3,4,4
ReplicationPad1d(2): 0,3,4
ReplicationPad2d(2): 0,3,4,4
CircularPad1d(2): 0,3,4
CircularPad2d(2): 0,3,4,4
PixelShuffle(2): 0,8,3,4
PixelUnshuffle(2): 0,2,4,6
ChannelShuffle(2): 0,4,3,3
PReLU(): 0,3 0,3,12,12 0
PReLU(3): 0,3 0,3,12,12
Dropout(0.5): 0,3 3,0
Dropout1d(0.5): 0,3,4
Dropout2d(0.5): 0,3,4,4 0,3,64,64
AlphaDropout(0.5): 0,3
FeatureAlphaDropout(0.5): 0,3,4,4
RReLU(): 0,3
GLU(1): 0,4 0,4,3
Threshold(0.1, 2.0): 0,3
GLU(): 0,4
Softmax(1): 0,3 0,3,4,4
Softmax(0): 0,3
LogSoftmax(1): 0,3 0,3,4,4
LogSoftmax(0): 0,3
Softmin(1): 0,3
Softmax2d(): 0,3,4,4
"""
"""Layer: shapes of empty batches. Sizes lie on both sides of each threshold at which an implementation is chosen."""

ELEMENTWISE = (
    "CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish ReLU ReLU6 SELU Sigmoid SiLU "
    "Softplus Softshrink Softsign Tanh Tanhshrink"
)
"""Layers that need no arguments, and treat each element alike."""

EMPTY_AXIS = """
Conv2d(3, 4, 3): 2,3,0,4
Conv2d(3, 4, 3, padding=2): 2,3,0,4
Conv2d(3, 4, 1): 2,3,0,4 2,3,0,0
ConvTranspose2d(3, 4, 3): 2,3,0,4
Linear(3, 2): 2,0,3
Flatten(): 0,3,0 2,3,0
BatchNorm1d(3): 2,3,0
BatchNorm2d(3): 2,3,0,4 0,3,1,1
BatchNorm2d(3).eval(): 2,3,0,4
InstanceNorm2d(3): 2,3,0,4
InstanceNorm2d(3, affine=True, track_running_stats=True): 2,3,0,4
GroupNorm(3, 3): 0,3 0,3,1,1
GroupNorm(3, 3, affine=False): 2,3,0,4
LayerNorm(1): 0,1
MaxPool2d(2): 2,3,0,4 2,0,4,4
MaxPool2d(2, padding=1): 2,3,0,4
AvgPool2d(2): 2,3,0,4 2,0,4,4
AvgPool2d(2, padding=1, count_include_pad=False): 2,3,0,4
AvgPool2d(2, padding=1): 2,3,0,4
MaxPool1d(2, padding=1): 2,3,0
AdaptiveAvgPool2d(1): 2,0,4,4
AdaptiveAvgPool2d(2): 2,0,4,4 2,3,0,4
AdaptiveMaxPool2d(2): 2,0,4,4 2,3,0,4
AdaptiveMaxPool1d(2): 2,0,4 2,3,0
Upsample(scale_factor=2): 2,3,0,4 2,0,4,4
Upsample(scale_factor=2, mode="bilinear"): 2,0,4,4
Upsample(scale_factor=2, mode="bicubic"): 2,0,4,4
Upsample(scale_factor=2, mode="area"): 2,0,4,4
ZeroPad2d(1): 2,3,0,4 2,0,4,4
ReflectionPad2d(1): 2,0,4,4 2,3,0,4
ReplicationPad2d(1): 2,3,0,4 2,0,4,4
CircularPad2d(1): 2,0,4,4 2,3,0,4
CircularPad2d(0): 2,3,0,4
PixelShuffle(2): 2,0,4,4 2,4,0,4
PixelUnshuffle(2): 2,1,0,4
ChannelShuffle(2): 2,0,3,3 2,4,0,3
Unfold(2): 2,0,4,4 2,3,0,4
Unfold(2, padding=2): 2,3,0,4
Fold(4, 2): 2,0,9
Softmax(1): 2,0
LogSoftmax(1): 2,0
Softmax2d(): 0,0,2,2
Dropout2d(0.5): 2,0,4,4 2,3,0,4
LocalResponseNorm(3): 2,0,4,4 2,3,0,4
GLU(1): 2,0
PReLU(): 2,0,3
"""
"""Layer: shapes with another empty axis than that of the batch."""


def _shape(text):
    return tuple(map(int, text.split(",")))


def settings(table):
    """(layer, shape, setting, value) of each assignment in a table."""
    rows = (map(str.strip, line.split(" | ")) for line in table.strip().splitlines())
    return [(layer, _shape(shape), *change.split("=", 1)) for layer, shape, changes in rows for change in changes.split()]


def shapes(table):
    """(layer, shape) of each shape in a table."""
    rows = (line.rsplit(": ", 1) for line in table.strip().splitlines())
    return [(layer, _shape(shape)) for layer, several in rows for shape in several.split()]


def names(*tables):
    """The classes of the layers in tables."""
    return {line.split("(")[0] for table in tables for line in table.strip().splitlines()} | set(ELEMENTWISE.split())


def layers():
    """The names of all layers of one input in `microtensor.nn`, found where they are defined."""
    found = {name for name, value in vars(nn).items() if inspect.isclass(value) and ".nn.layers." in value.__module__}
    return found - {"Bilinear", "Embedding", "MaxUnpool2d"}  # two inputs, or integers: they have tests of their own
