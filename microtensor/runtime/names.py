"""Hints for a name that a module does not have: a close match, the equivalent of another library's, or where it is instead."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable
from opcode import opmap
from typing import Any

PARTS = (
    "microtensor", "microtensor.nn", "microtensor.models", "microtensor.data", "microtensor.data.transforms",
    "microtensor.saliency", "microtensor.plot",
)  # fmt: skip
"""The modules that are searched for a name that one of them lacks."""

SHORT = {"microtensor": "mt", "microtensor.nn.init": "nn.init"}

NO_RECURRENCE = "there are no recurrent layers"
DTYPES = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32", "short": "int16"}
DTYPES |= {name: name for name in ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")}

KNOWN = {
    "microtensor": {
        **{name: f'a dtype is text, or NumPy\'s: write dtype="{dtype}"' for name, dtype in DTYPES.items()},
        "bfloat16": 'there is no bfloat16; "float16" is the half precision',
        "FloatTensor": 'write mt.tensor(…, dtype="float32")',
        "DoubleTensor": 'write mt.tensor(…, dtype="float64")',
        "LongTensor": 'write mt.tensor(…, dtype="int64")',
        "BoolTensor": 'write mt.tensor(…, dtype="bool")',
        "ByteTensor": 'write mt.tensor(…, dtype="uint8")',
        "Variable": "write mt.Tensor(…, requires_grad=True)",
        "Size": "a shape is a tuple",
        "dtype": 'a dtype is text, "float32", or NumPy\'s',
        "array": "write mt.tensor(…)",
        "asarray": "write mt.as_tensor(…)",
        "concat": "write mt.cat([…], dim)",
        "concatenate": "write mt.cat([…], dim)",
        "mul": "write mt.multiply(x, y), or x * y",
        "sub": "write mt.subtract(x, y), or x - y",
        "div": "write mt.divide(x, y), or x / y",
        "true_divide": "write mt.divide(x, y), or x / y",
        "power": "write mt.pow(x, y), or x ** y",
        "negative": "write mt.neg(x), or -x",
        "absolute": "write mt.abs(x)",
        "invert": "write mt.bitwise_not(x), or ~x",
        "t": "write x.T",
        "transpose_": "write mt.transpose(x, dim0, dim1)",
        "numel": "write x.numel()",
        "is_tensor": "write isinstance(x, mt.Tensor)",
        "narrow": "write a slice: x[:, start : start + length]",
        "swapdims": "write mt.swapaxes(x, dim0, dim1)",
        "addmm": "write m + x @ y",
        "bincount": "write mt.one_hot(x).sum(0)",
        "set_grad_enabled": "write with mt.no_grad(): … or with mt.enable_grad(): …",
        "inference_mode": "write with mt.no_grad(): …",
        "func": "write mt.jacobian, mt.hessian, mt.vjp, mt.jvp",
        "optim": "the optimisers are nn.SGD, nn.Adam …, in microtensor.nn and in microtensor.nn.optim",
        "utils": "the loader is microtensor.data.DataLoader; clipping is nn.clip_grad_norm_",
        "seed": "write mt.manual_seed(number)",
        "set_default_dtype": 'new tensors are float32; give dtype="float64"',
        "draw": "write mt.draw_graph(y)",
        "compile": "there is nothing to compile",
        "jit": "there is nothing to compile",
    },
    "microtensor.autograd": {
        "grad": "write mt.grad(outputs, inputs)",
        "Function": "write an operation and its derivative as one function, decorated with mt.op",
        "Variable": "write mt.Tensor(…, requires_grad=True)",
        "functional": "write mt.jacobian, mt.hessian, mt.vjp, mt.jvp",
        **{name: f"write mt.{name}" for name in ("no_grad", "enable_grad", "detect_anomaly", "jacobian", "hessian")},
        "gradcheck": "write mt.gradcheck.check_gradients(f, x)",
        "profiler": "write mt.profile",
    },
    "microtensor.nn": {
        "functional": "the functions are in nn beside the layers, nn.cross_entropy, nn.conv2d, or in mt, mt.relu, mt.softmax",
        "utils": "write nn.clip_grad_norm_, nn.clip_grad_value_",
        "lr_scheduler": "write nn.StepLR, nn.OneCycleLR …",
        "Dense": "write nn.Linear(in_features, out_features)",
        "Activation": "write nn.ReLU(), nn.Tanh() …",
        "BatchNormalization": "write nn.BatchNorm2d(channels)",
        "LayerNormalization": "write nn.LayerNorm(shape)",
        "BatchNorm": "write nn.BatchNorm1d or nn.BatchNorm2d",
        "Conv": "write nn.Conv1d or nn.Conv2d",
        "MaxPooling2D": "write nn.MaxPool2d(kernel_size)",
        "AveragePooling2D": "write nn.AvgPool2d(kernel_size)",
        "GlobalAveragePooling2D": "write nn.AdaptiveAvgPool2d(1)",
        "GlobalAvgPool2d": "write nn.AdaptiveAvgPool2d(1)",
        "UpSampling2D": "write nn.Upsample(scale_factor=2)",
        "ZeroPadding2D": "write nn.ZeroPad2d(padding)",
        "Model": "write class Net(nn.Module)",
        "Input": "a layer takes its input when it is called; nn.summary(model, shape) shows all shapes",
        "Conv3d": "there are no layers of three axes",
        "RNN": NO_RECURRENCE,
        "LSTM": NO_RECURRENCE,
        "GRU": NO_RECURRENCE,
        "Transformer": "there is no attention layer",
        "MultiheadAttention": "there is no attention layer",
        "DataParallel": "one process computes on one device",
        "CategoricalCrossentropy": "write nn.CrossEntropyLoss()",
        "SparseCategoricalCrossentropy": "write nn.CrossEntropyLoss()",
        "BinaryCrossentropy": "write nn.BCEWithLogitsLoss()",
        "MeanSquaredError": "write nn.MSELoss()",
        "L2Loss": "write nn.MSELoss()",
        "train": "write nn.fit(model, loader, …), or model.train()",
    },
    "microtensor.nn.init": {
        "xavier": "write nn.init.xavier_uniform_, or nn.init.xavier_normal_",
        "kaiming": "write nn.init.kaiming_uniform_, or nn.init.kaiming_normal_",
    },
    "microtensor.models": {
        "LeNet": "write models.lenet5()",
        "ResNet": "write models.resnet18(), models.resnet50() …",
        "VGG": "write models.vgg16() …",
        "DenseNet": "write models.densenet121() …",
        "inception": "write models.googlenet(), or models.inception_v3()",
        "MobileNet": "write models.mobilenet_v1(), or models.mobilenet_v2()",
        "mobilenet": "write models.mobilenet_v1(), or models.mobilenet_v2()",
        "mobilenet_v3_small": "write models.mobilenet_v2()",
        "mobilenet_v3_large": "write models.mobilenet_v2()",
        "efficientnet_b0": "write models.efficientnet_lite0()",
        "vit_b_16": "there are convolutional networks only: models.table() lists them",
        "get_model": "models.build(name) makes a network, and models.list_models() names them",
        "create_model": "models.build(name) makes a network, and models.list_models() names them",
    },
    "microtensor.data": {
        "datasets": "write data.MNIST, data.CIFAR10, data.ImageFolder …",
        "load_mnist": "write data.mnist_sample() for the 7,000 digits that come with it, or data.MNIST(root)",
        "IterableDataset": "a data set has a length and gives sample i: write class Mine(data.Dataset)",
        "default_collate": "write a data.Dataset whose samples are tuples of arrays of one shape",
        "WeightedRandomSampler": "there are no samplers; data.Subset(dataset, indices) takes what you drew, also several times",
    },
    "microtensor.data.transforms": {
        "ToTensor": "write transforms.ToFloat(); a data set gives arrays, and the loader makes tensors of them",
        "ToImage": "write transforms.ToFloat(); a data set gives arrays, and the loader makes tensors of them",
        "PILToTensor": "write transforms.ToFloat(); a data set gives arrays, and the loader makes tensors of them",
        "ToDtype": "write transforms.ToFloat()",
        "ConvertImageDtype": "write transforms.ToFloat()",
        "Rescale": "write transforms.ToFloat()",
        "RandomErasing": "write transforms.Cutout(size)",
        "RandomFlip": "write transforms.RandomHorizontalFlip()",
        "MixUp": "write transforms.Mixup(alpha, num_classes)",
        "Lambda": "any function of the images may stand among those of transforms.Compose([…])",
        "Scale": "write transforms.Resize(size)",
    },
    "microtensor.saliency": {
        "saliency": "write saliency.gradient(model, images, target)",
        "vanilla_gradient": "write saliency.gradient(model, images, target)",
        "backprop": "write saliency.gradient(model, images, target)",
    },
    "microtensor.random": {
        "seed": "write mt.manual_seed(number)",
        "default_rng": "write random.Generator(seed)",
        "random": "write mt.rand(…)",
        "uniform": "write mt.rand(…), from 0 to 1",
        "standard_normal": "write mt.randn(…)",
        "permutation": "write mt.randperm(n)",
    },
}
"""Names of PyTorch, Keras and NumPy, and what to write here."""


def missing(module: str, name: str, there: Iterable[str]) -> Exception:
    """The error for a name that a module does not have, to be raised by the module's `__getattr__`.

    Args:
        there: the names that the module has.

    Returns:
        AttributeError; or ImportError for `from module import name`, which would drop an AttributeError's message.

    >>> missing("microtensor.nn", "Conv2D", ["Conv1d", "Conv2d"])
    AttributeError("module 'microtensor.nn' has no attribute 'Conv2D'; did you mean nn.Conv2d?")
    """
    words = f"module {module!r} has no attribute {name!r}"
    if name.startswith("__"):  # such as __path__, which Python itself asks for
        return AttributeError(words)
    hint = _hint(module, name, sorted(there))
    text = f"{words}; {hint}" if hint else words
    if _is_imported(sys._getframe(2)):
        return ImportError(text.replace(words, f"cannot import name {name!r} from {module!r}"), name=module)
    return AttributeError(text)


def _hint(module: str, name: str, there: list[str]) -> str:
    if name in KNOWN.get(module, {}):
        return KNOWN[module][name]
    if module == "microtensor.models" and name.endswith("_Weights"):
        return "there are no weights to choose from; models.load_weights(model, path) takes them from a file"
    place = _short(module)
    for other in PARTS:
        if other != module and name in _names(other):
            return f"it is {_short(other)}.{name}"
    alike = [known for known in there if _plain(known) == _plain(name)]
    for other in PARTS:
        if not alike and other != module:
            found = [known for known in _names(other) if _plain(known) == _plain(name)]
            if found:
                return f"did you mean {' or '.join(f'{_short(other)}.{known}' for known in found[:3])}?"
    alike += [known for known in difflib.get_close_matches(name, there, n=3, cutoff=0.75) if known not in alike]
    return f"did you mean {' or '.join(f'{place}.{known}' for known in alike[:3])}?" if alike else ""


def _short(module: str) -> str:
    return SHORT.get(module, module.rpartition(".")[2])


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _names(module: str) -> list[str]:
    try:
        return list(importlib.import_module(module).__all__)
    except (ImportError, AttributeError):  # the module is only partly imported
        return []


def _is_imported(frame: Any) -> bool:
    """Whether this frame is at `from module import name`."""
    return frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == opmap["IMPORT_FROM"]
