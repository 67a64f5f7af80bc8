"""Published convolutional networks: one paper, one file.

`list_models()` names them all, `build(name)` creates one, `table()` lists year, size and cost of each. Each also has a factory
function here, such as `resnet50()`. Weights are not downloaded: `load_weights(model, path)` loads them from a file.
"""

from typing import TYPE_CHECKING, Any

from microtensor.runtime.names import missing

from .alexnet import alexnet, alexnet_2012
from .autoencoder import conv_autoencoder, conv_vae, denoising_autoencoder, vae_loss
from .card import Card
from .catalogue import build, cards, list_models, table
from .cifar_resnet import (
    cifar_plain20,
    cifar_plain32,
    cifar_plain44,
    cifar_plain56,
    cifar_resnet18,
    cifar_resnet20,
    cifar_resnet32,
    cifar_resnet34,
    cifar_resnet44,
    cifar_resnet50,
    cifar_resnet56,
    cifar_resnet101,
    cifar_resnet110,
    cifar_resnet152,
)
from .densenet import cifar_densenet, densenet121, densenet161, densenet169, densenet201
from .efficientnet_lite import (
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
    efficientnet_lite3,
    efficientnet_lite4,
)
from .fcn import fcn8s_vgg16, fcn16s_vgg16, fcn32s_vgg16, fcn_resnet50, fcn_resnet101
from .googlenet import googlenet, googlenet_2014
from .inception_resnet import inception_resnet_v1, inception_resnet_v2
from .inception_v3 import inception_v3
from .lecun_1989 import lecun_1989
from .lenet import lenet5, lenet5_1998
from .mobilenet_v1 import mobilenet_v1
from .mobilenet_v2 import mobilenet_v2
from .resnet import plain18, plain34, resnet18, resnet34, resnet50, resnet101, resnet152
from .resnext import resnext50_32x4d, resnext101_32x8d
from .senet import se_resnet50, se_resnext50_32x4d
from .shufflenet_v1 import shufflenet_v1
from .shufflenet_v2 import shufflenet_v2_x0_5, shufflenet_v2_x1_0, shufflenet_v2_x1_5, shufflenet_v2_x2_0
from .squeezenet import squeezenet1_0, squeezenet1_1
from .tdnn import tdnn
from .unet import unet, unet_2015
from .vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from .weights import load_weights
from .wide_resnet import wide_resnet50_2, wide_resnet101_2, wrn
from .xception import xception
from .zfnet import zfnet

__all__ = [
    "alexnet", "alexnet_2012", "build", "Card", "cifar_densenet", "cifar_plain20", "cifar_plain32", "cifar_plain44",
    "cifar_plain56", "cifar_resnet101", "cifar_resnet110", "cifar_resnet152", "cifar_resnet18", "cifar_resnet20",
    "cifar_resnet32", "cifar_resnet34", "cifar_resnet44", "cifar_resnet50", "cifar_resnet56", "conv_autoencoder", "conv_vae",
    "denoising_autoencoder", "densenet121", "densenet161", "densenet169", "densenet201", "efficientnet_lite0",
    "efficientnet_lite1", "efficientnet_lite2", "efficientnet_lite3", "efficientnet_lite4", "fcn16s_vgg16", "fcn32s_vgg16",
    "fcn8s_vgg16", "fcn_resnet101", "fcn_resnet50", "googlenet", "googlenet_2014", "inception_resnet_v1",
    "inception_resnet_v2", "inception_v3", "lecun_1989", "lenet5", "lenet5_1998", "list_models", "load_weights",
    "mobilenet_v1", "mobilenet_v2", "plain18", "plain34", "resnet101", "resnet152", "resnet18", "resnet34", "resnet50",
    "resnext101_32x8d", "resnext50_32x4d", "se_resnet50", "se_resnext50_32x4d", "shufflenet_v1", "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0", "squeezenet1_0", "squeezenet1_1", "table", "tdnn",
    "unet", "unet_2015", "vae_loss", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
    "wide_resnet101_2", "wide_resnet50_2", "wrn", "xception", "zfnet",
]  # fmt: skip


globals().update((name, card.factory) for name, card in cards().items())  # explaining `pretrained=True`

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name, __all__)
