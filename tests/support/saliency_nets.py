"""Networks that the tests of saliency share, each with its twin in PyTorch."""

import numpy as np

import microtensor as mt
from microtensor import nn


def draw(seed, *shape, dtype=np.float64):
    return mt.Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


class Reused(nn.Module):
    """One ReLU module called twice, one that is a function, a ReLU6, a max pooling: hooks on modules would go wrong here."""

    def __init__(self):
        self.conv1, self.bn, self.conv2 = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, padding=1)
        self.act, self.six, self.pool = nn.ReLU(), nn.ReLU6(), nn.MaxPool2d(2)
        self.fc = nn.Linear(6 * 4 * 4, 5)

    def forward(self, x):
        x = self.act(self.bn(self.conv1(x)))
        x = self.act(self.conv2(x) - 0.1)
        x = (x * 3 - 0.5).relu()
        x = self.six(self.pool(x) * 2)
        return self.fc(x.flatten(1))


def reused():
    mt.manual_seed(1)
    model = Reused().double()
    for i, parameter in enumerate(model.parameters()):
        parameter.array[...] = draw(i, *parameter.shape).array * 0.4
    model.bn.running_mean.array[...] = draw(20, 6).array * 0.1
    model.bn.running_var.array[...] = draw(21, 6).array ** 2 + 0.5
    return model


def twin(torch, model, rectify=None, rectify6=None):
    """`Reused` in PyTorch with the same weights: a function x → scores, and the maps of each stage, by name."""
    functional = torch.nn.functional
    w = {name: torch.tensor(value.numpy()) for name, value in model.state_dict().items()}
    relu, relu6 = rectify or functional.relu, rectify6 or functional.relu6

    def forward(x, stages=None):
        seen = {} if stages is None else stages
        y = functional.conv2d(x, w["conv1.weight"], w["conv1.bias"], padding=1)
        y = functional.batch_norm(y, w["bn.running_mean"], w["bn.running_var"], w["bn.weight"], w["bn.bias"], False)
        y = seen["first"] = relu(y)
        y = seen["conv2"] = functional.conv2d(y, w["conv2.weight"], w["conv2.bias"], padding=1)
        y = relu(y - 0.1)
        y = relu(y * 3 - 0.5)
        y = seen["six"] = relu6(functional.max_pool2d(y, 2) * 2)
        return functional.linear(y.flatten(1), w["fc.weight"], w["fc.bias"])

    return forward


def ruled(torch, guided, ceiling=float("inf")):
    """A ReLU in PyTorch whose backward pass is that of guided backpropagation, or of the deconvnet."""

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            context.save_for_backward(x)
            return x.clamp(0, ceiling)

        @staticmethod
        def backward(context, g):
            (x,) = context.saved_tensors
            kept = g * (g > 0)
            return kept * ((x > 0) & (x < ceiling)) if guided else kept

    return Rule.apply
