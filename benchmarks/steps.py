"""Training steps (forward, cross-entropy, backward, SGD with momentum), and `infer`: forward passes in eval mode."""

from __future__ import annotations

import numpy as np

from benchmarks.nets import NETS

CASES = {
    "lenet5 32": 20,
    "lenet5 128": 8,
    "lenet5 512": 3,
    "resnet20 64": 1,
    "densenet_bc_40_12 64": 1,
    "mobilenet_quarter 32": 2,
    "vgg11 16": 1,
    "infer lenet5 128": 20,
    "infer resnet20 64": 2,
    "infer densenet_bc_40_12 64": 1,
    "infer mobilenet_quarter 32": 4,
    "infer vgg11 16": 2,
    "infer efficientnet_lite0 1": 2,
    "infer efficientnet_lite0 16": 1,
}
"""Network and batch size → steps per round."""

LR, MOMENTUM = 0.01, 0.9


def parts(case: str):
    """The network, whether to run forward only, images, labels, steps per round."""
    name, batch = case.split()[-2:]
    net, rng = NETS[name], np.random.default_rng(0)
    images = rng.standard_normal((int(batch), *net.shape)).astype(np.float32)
    return net, case.startswith("infer"), images, rng.integers(0, net.classes, int(batch)), CASES[case]


def microtensor(case: str):
    import microtensor as mt
    from benchmarks.modules import ours
    from microtensor import nn

    net, infers, images, labels, repeats = parts(case)
    model, x = ours(net.layers), mt.Tensor(images)
    optimizer = nn.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    if infers:
        model.eval()

    def work():
        for _ in range(repeats):
            if infers:
                with mt.no_grad():
                    model(x)
            else:
                optimizer.zero_grad()
                nn.cross_entropy(model(x), labels).backward()
                optimizer.step()

    return work


def torch(case: str):
    import torch

    from benchmarks.modules import pytorchs

    net, infers, images, labels, repeats = parts(case)
    model, x, y = pytorchs(net.layers), torch.tensor(images), torch.tensor(labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    if infers:
        model.eval()

    def work():
        for _ in range(repeats):
            if infers:
                with torch.no_grad():
                    model(x)
            else:
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()

    return work


def jax(case: str):
    import jax
    import jax.numpy as jnp

    net, infers, images, labels, repeats = parts(case)

    def loss(weights, x, y):
        return -jnp.take_along_axis(jax.nn.log_softmax(_jax_apply(net.layers, weights, x, infers)), y[:, None], 1).mean()

    @jax.jit
    def step(weights, velocity, x, y):
        gradient = jax.grad(loss)(weights, x, y)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
        return jax.tree.map(lambda w, v: w - LR * v, weights, velocity), velocity

    forward = jax.jit(lambda weights, x: _jax_apply(net.layers, weights, x, infers))
    weights = jax.tree.map(jnp.asarray, _jax_weights(net.layers, np.random.default_rng(1)))
    state = [weights, jax.tree.map(jnp.zeros_like, weights)]
    x, y = jnp.asarray(images), jnp.asarray(labels)

    def work():
        for _ in range(repeats):
            if infers:
                forward(weights, x).block_until_ready()
            else:
                state[:] = step(*state, x, y)
        jax.block_until_ready(state)

    return work


def _jax_weights(layers, rng):
    """Initial weights as nested lists of arrays."""
    found = []
    for kind, *numbers in layers:
        if kind == "conv":
            i, o, k, _, _, groups, bias = numbers
            fan = i // groups * k * k
            found.append(
                [rng.standard_normal((o, i // groups, k, k)).astype(np.float32) * fan**-0.5] + [np.zeros(o, np.float32)] * bias
            )
        elif kind == "linear":
            i, o = numbers
            found.append([rng.standard_normal((i, o)).astype(np.float32) * i**-0.5, np.zeros(o, np.float32)])
        elif kind == "bn":
            found.append([np.ones(numbers[0], np.float32), np.zeros(numbers[0], np.float32)])
        elif kind in ("residual", "dense"):
            found.append(_jax_weights(numbers[0], rng))
        else:
            found.append([])
    return found


def _jax_apply(layers, weights, x, infers):
    """The network's forward pass."""
    import jax.numpy as jnp
    from jax import lax

    for (kind, *numbers), w in zip(layers, weights):
        if kind == "conv":
            _, _, _, stride, p, groups, bias = numbers
            x = lax.conv_general_dilated(x, w[0], (stride, stride), [(p, p), (p, p)], feature_group_count=groups)
            x = x + w[1][:, None, None] if bias else x
        elif kind == "linear":
            x = x @ w[0] + w[1]
        elif kind == "bn":  # statistics of the batch; in eval mode constants, as stored ones
            mean, var = (0.0, 1.0) if infers else (x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True))
            x = (x - mean) * lax.rsqrt(jnp.asarray(var + 1e-5)) * w[0][:, None, None] + w[1][:, None, None]
        elif kind == "relu":
            x = jnp.maximum(x, 0)
        elif kind == "relu6":
            x = jnp.clip(x, 0, 6)
        elif kind == "maxpool":
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, *numbers * 2), (1, 1, *numbers * 2), "VALID")
        elif kind == "avgpool":
            x = lax.reduce_window(x, 0.0, lax.add, (1, 1, *numbers * 2), (1, 1, *numbers * 2), "VALID") / numbers[0] ** 2
        elif kind == "mean":
            x = x.mean((2, 3), keepdims=True)
        elif kind == "flatten":
            x = x.reshape(len(x), -1)
        elif kind == "dense":
            x = jnp.concatenate([x, _jax_apply(numbers[0], w, x, infers)], 1)
        elif kind == "residual":
            body, stride, more = numbers
            x = _jax_apply(body, w, x, infers) + jnp.pad(x[:, :, ::stride, ::stride], [(0, 0), (0, more), (0, 0), (0, 0)])
    return x


def tinygrad(case: str):
    from tinygrad import Tensor, TinyJit, nn
    from tinygrad.helpers import Context

    net, infers, images, labels, repeats = parts(case)

    def build(layers):
        built = []
        for kind, *numbers in layers:
            if kind == "conv":
                i, o, k, stride, padding, groups, bias = numbers
                built.append(nn.Conv2d(i, o, k, stride=stride, padding=padding, groups=groups, bias=bias))
            elif kind in ("bn", "linear"):
                built.append((nn.BatchNorm if kind == "bn" else nn.Linear)(*numbers))
            else:
                built.append(build(numbers[0]) if kind in ("residual", "dense") else None)
        return built

    def apply(layers, built, x):
        for (kind, *numbers), layer in zip(layers, built):
            if kind in ("conv", "bn", "linear"):
                x = layer(x)
            elif kind == "residual":
                _, stride, more = numbers
                x = apply(numbers[0], layer, x) + x[:, :, ::stride, ::stride].pad((None, (0, more), None, None))
            elif kind == "dense":
                x = x.cat(apply(numbers[0], layer, x), dim=1)
            elif kind == "mean":
                x = x.mean((2, 3))
            elif kind == "flatten":
                x = x.flatten(1)
            else:
                method = {"relu": "relu", "relu6": "relu6", "maxpool": "max_pool2d", "avgpool": "avg_pool2d"}[kind]
                x = getattr(x, method)(*[numbers * 2] * bool(numbers))
        return x

    model = build(net.layers)
    x, y = Tensor(images).realize(), Tensor(labels.astype(np.int32)).realize()
    if infers:
        forward = TinyJit(lambda: apply(net.layers, model, x).realize())
        return lambda: [forward().numpy() for _ in range(repeats)] and None
    optimizer = nn.optim.SGD(nn.state.get_parameters(model), lr=LR, momentum=MOMENTUM)

    @TinyJit
    def step():
        with Context(TRAINING=1):
            optimizer.zero_grad()
            loss = apply(net.layers, model, x).sparse_categorical_crossentropy(y).backward()
            return loss.realize(*optimizer.schedule_step())

    return lambda: [step().numpy() for _ in range(repeats)] and None


def autograd(case: str):
    """HIPS autograd has no convolution and no pooling: only LeNet-5, with im2col by indexing."""
    import autograd
    import autograd.numpy as anp

    net, infers, images, labels, repeats = parts(case)
    if net is not NETS["lenet5"] or infers:
        raise RuntimeError("it has no convolution: only LeNet-5's training step is written for it")
    rng = np.random.default_rng(1)
    shapes = [(25, 6), (150, 16), (400, 120), (120, 84), (84, 10)]
    weights = [
        (rng.standard_normal(shape).astype(np.float32) * shape[0] ** -0.5, np.zeros(shape[1], np.float32)) for shape in shapes
    ]
    velocity = [[np.zeros_like(array) for array in pair] for pair in weights]

    def windows(size):
        place = np.arange(size - 4)
        return place[:, None, None, None] + np.arange(5)[:, None], place[:, None, None] + np.arange(5)

    def conv(x, w, b):  # (N, C, H, W) → (N, O, H − 4, W − 4)
        rows, columns = windows(x.shape[2])
        found = anp.transpose(x[:, :, rows, columns], (0, 2, 3, 1, 4, 5))
        y = anp.dot(anp.reshape(found, (len(x), *found.shape[1:3], -1)), w) + b
        return anp.transpose(y, (0, 3, 1, 2))

    def pool(x):
        n, c, h, w = x.shape
        return anp.max(anp.reshape(x, (n, c, h // 2, 2, w // 2, 2)), axis=(3, 5))

    def loss(weights):
        x = np.pad(images, [(0, 0), (0, 0), (2, 2), (2, 2)])
        for w, b in weights[:2]:
            x = pool(anp.maximum(conv(x, w, b), 0))
        x = anp.reshape(x, (len(x), -1))
        for i, (w, b) in enumerate(weights[2:]):
            x = anp.dot(x, w) + b
            x = anp.maximum(x, 0) if i < 2 else x
        x = x - anp.max(x, axis=1, keepdims=True)
        return -anp.mean(x[np.arange(len(x)), labels] - anp.log(anp.sum(anp.exp(x), axis=1)))

    gradient = autograd.grad(loss)

    def work():
        for _ in range(repeats):
            for pair, speeds, slopes in zip(weights, velocity, gradient(weights)):
                for w, v, g in zip(pair, speeds, slopes):
                    v *= MOMENTUM
                    v += g
                    w -= LR * v

    return work
