"""The networks of Lockstep's zoo in PyTorch, with the same parameter names.

make("resnet18_cifar", shape, classes) gives a module for samples of `shape` (C, H, W). Networks
that torchvision has are torchvision's; the others are written out here, with the options of the zoo.
"""
import functools
from collections import OrderedDict

import torch
from torch import nn


def act(name):
    return {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[name]()


def chain(*layers):
    """(name, module) pairs as a Sequential; "" numbers a layer without parameters."""
    return nn.Sequential(OrderedDict((name or f"_{i}", layer) for i, (name, layer) in enumerate(layers)))


def mlp(shape, classes, hidden=(512, 512), activation="relu"):
    widths = [shape[0] * shape[1] * shape[2], *hidden]
    layers = [("", nn.Flatten())]
    for i, (n_in, n_out) in enumerate(zip(widths, widths[1:]), 1):
        layers += [(f"fc{i}", nn.Linear(n_in, n_out)), ("", act(activation))]
    return chain(*layers, (f"fc{len(widths)}", nn.Linear(widths[-1], classes)))


def lenet5(shape, classes, activation="tanh", pooling="average", width=1):
    """LeCun et al. 1998; images below 32 pixels are padded by 2, those below 20 twice."""
    pool = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}[pooling]
    size = min(shape[1:])
    pad1, pad2 = (2 if size < 32 else 0), (2 if size < 20 else 0)
    side = [((n + 2 * pad1 - 4) // 2 + 2 * pad2 - 4) // 2 for n in shape[1:]]
    c1, c2, f1, f2 = (max(1, int(n * width)) for n in (6, 16, 120, 84))
    return chain(("conv1", nn.Conv2d(shape[0], c1, 5, padding=pad1)), ("", act(activation)), ("", pool(2)),
                 ("conv2", nn.Conv2d(c1, c2, 5, padding=pad2)), ("", act(activation)), ("", pool(2)),
                 ("", nn.Flatten()), ("fc1", nn.Linear(c2 * side[0] * side[1], f1)), ("", act(activation)),
                 ("fc2", nn.Linear(f1, f2)), ("", act(activation)), ("fc3", nn.Linear(f2, classes)))


class Pad(nn.Module):
    """He et al. 2015, option A: every stride-th pixel, and zeros for the channels that are not there."""

    def __init__(self, stride, channels):
        super().__init__()
        self.stride, self.channels = stride, channels

    def forward(self, x):
        x = x[:, :, ::self.stride, ::self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, 0, self.channels - x.shape[1]))


class CifarResNet(nn.Module):
    """He et al. 2015, section 4.2: 3x3 stem, three stages of n basic blocks, 6n + 2 layers."""

    def __init__(self, depth, channels, classes, shortcut="pad"):
        super().__init__()
        from torchvision.models.resnet import BasicBlock
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        n_in = 16
        for stage, width in enumerate((16, 32, 64), 1):
            blocks = []
            for i in range((depth - 2) // 6):
                stride = 2 if stage > 1 and i == 0 else 1
                down = None
                if stride > 1:
                    down = Pad(stride, width) if shortcut == "pad" else nn.Sequential(
                        nn.Conv2d(n_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
                blocks.append(BasicBlock(n_in, width, stride, down))
                n_in = width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def resnet_cifar(shape, classes, depth=20, shortcut="pad"):
    return CifarResNet(depth, shape[0], classes, shortcut)


def autoencoder(shape, classes, hidden=(128,), code=32, activation="relu"):
    n = shape[0] * shape[1] * shape[2]
    encoder, decoder = [("", nn.Flatten())], []
    widths = [n, *hidden]
    for i, (n_in, n_out) in enumerate(zip(widths, widths[1:]), 1):
        encoder += [(f"fc{i}", nn.Linear(n_in, n_out)), ("", act(activation))]
    widths = [code, *reversed(hidden)]
    for i, (n_in, n_out) in enumerate(zip(widths, widths[1:]), 1):
        decoder += [(f"fc{i}", nn.Linear(n_in, n_out)), ("", act(activation))]
    decoder.append((f"fc{len(widths)}", nn.Linear(widths[-1], n)))
    return chain(("encoder", chain(*encoder)), ("code", nn.Linear(([n, *hidden])[-1], code)),
                 ("decoder", chain(*decoder)), ("", nn.Unflatten(1, shape)))


def conv_autoencoder(shape, classes, channels=(16, 32), activation="relu"):
    """Sides must be divisible by 2 to the number of channels' power here."""
    widths = [shape[0], *channels]
    encoder, decoder = [], []
    for i, (n_in, n_out) in enumerate(zip(widths, widths[1:]), 1):
        encoder += [(f"conv{i}", nn.Conv2d(n_in, n_out, 3, 2, 1)), ("", act(activation))]
    widths.reverse()
    for i, (n_in, n_out) in enumerate(zip(widths, widths[1:]), 1):
        decoder += [(f"conv{i}", nn.ConvTranspose2d(n_in, n_out, 3, 2, 1, 1)), ("", act(activation))]
    return chain(("encoder", chain(*encoder)), ("decoder", chain(*decoder[:-1])))


class UNet(nn.Module):
    def __init__(self, n_in, classes, depth, channels):
        super().__init__()
        self.depth = depth
        for level in range(depth):
            self.add_module(f"down{level + 1}", self.pair(n_in, channels << level))
            n_in = channels << level
        self.bottom = self.pair(n_in, channels << depth)
        for level in range(depth):
            up = nn.ConvTranspose2d(channels << (level + 1), channels << level, 2, 2)
            self.add_module(f"up{level + 1}", chain(("up", up), *self.pair(2 * channels << level,
                                                                             channels << level).named_children()))
        self.scores = nn.Conv2d(channels, classes, 1)

    @staticmethod
    def pair(n_in, n_out):
        layers = []
        for i in (1, 2):
            layers += [(f"conv{i}", nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)), (f"bn{i}", nn.BatchNorm2d(n_out)),
                       (f"relu{i}", nn.ReLU())]
            n_in = n_out
        return chain(*layers)

    def forward(self, x):
        skips = []
        for level in range(self.depth):
            skips.append(getattr(self, f"down{level + 1}")(x))
            x = nn.functional.max_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for level in reversed(range(self.depth)):
            up = getattr(self, f"up{level + 1}")
            x = up[1:](torch.cat([skips[level], up[0](x)], 1))
        return self.scores(x)


def unet(shape, classes, depth=3, channels=16):
    return UNet(shape[0], classes, depth, channels)


def tdnn(shape, classes, channels=(8,), kernel=(3, 5), dilation=None, activation="sigmoid"):
    """Waibel et al. 1989; samples (C, T)."""
    widths = [shape[0], *channels, classes]
    layers = []
    for i in range(len(kernel)):
        conv = nn.Conv1d(widths[i], widths[i + 1], kernel[i], dilation=(dilation or [1] * len(kernel))[i])
        layers += [(f"conv{i + 1}", conv), ("", act(activation))]
    return chain(*layers[:-1], ("", nn.AdaptiveAvgPool1d(1)), ("", nn.Flatten()))


def resnet18_cifar(shape, classes):
    """ResNet-18 with a 3x3 stem and without the first pooling, for images of 32 pixels."""
    model = torchvision_model("resnet18", [3, *shape[1:]], classes)
    model.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def narrow(classifier, hidden):
    """The affine layers of AlexNet or VGG with `hidden` units; the scores stay."""
    layers = [(i, layer) for i, layer in enumerate(classifier) if isinstance(layer, nn.Linear)]
    widths = [layers[0][1].in_features, *[hidden] * (len(layers) - 1), layers[-1][1].out_features]
    for (i, _), n_in, n_out in zip(layers, widths, widths[1:]):
        classifier[i] = nn.Linear(n_in, n_out)


def torchvision_model(name, shape, classes, **options):
    hidden = options.pop("hidden", None)
    try:
        import torchvision
    except ImportError:
        raise SystemExit(f"{name} needs torchvision beside torch: pip install torchvision") from None
    model = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
    if hidden:
        narrow(model.classifier, hidden)
    if shape[0] != 3:
        raise SystemExit(f"{name} reads images of 3 channels, the samples have {shape[0]}")
    return model


class LanguageModel(nn.Module):
    """Ids (N, T) to scores (N T, classes): embedding, recurrent layers, affine layer."""

    def __init__(self, cell, classes, hidden, layers, embedding):
        super().__init__()
        self.embedding = nn.Embedding(classes, embedding)
        self.rnn = cell(embedding, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, classes)

    def forward(self, ids):
        return self.output(self.rnn(self.embedding(ids))[0]).flatten(0, 1)


def language_model(shape, classes, cell=None, hidden=256, layers=1, embedding=64):
    return LanguageModel(cell, classes, hidden, layers, embedding)


class TransformerBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.packed, self.after = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = (a.view(n, t, self.heads, -1).transpose(1, 2) for a in self.packed(self.norms[0](x)).chunk(3, 2))
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.after(seen.transpose(1, 2).reshape(n, t, d))
        return x + self.narrow(nn.functional.gelu(self.wide(self.norms[1](x)), approximate="tanh"))


class Gpt2(nn.Module):
    """Ids (N, T) to scores (N T, classes), the embedding's weights used for both."""

    def __init__(self, classes, width, layers, heads, positions):
        super().__init__()
        self.words, self.places = nn.Embedding(classes, width), nn.Embedding(positions, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.words.weight, std=0.02)

    def forward(self, ids):
        x = self.words(ids) + self.places.weight[:ids.shape[1]]
        return nn.functional.linear(self.norm(self.blocks(x)), self.words.weight).flatten(0, 1)


def gpt2(shape, classes, width=768, layers=12, heads=12, positions=1024):
    return Gpt2(classes, width, layers, heads, positions)


OWN = {f.__name__: f for f in (mlp, lenet5, autoencoder, conv_autoencoder, unet, tdnn, resnet_cifar, resnet18_cifar, gpt2)}
OWN.update({"gpt2_mini": gpt2, "gpt2_mini_1024": gpt2, "gpt2_1024": gpt2})
OWN.update({f"resnet{depth}": functools.partial(resnet_cifar, depth=depth) for depth in (20, 32, 44, 56, 110)})

OWN.update({f"char_{name}": functools.partial(language_model, cell=cell)
            for name, cell in (("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU))})


def make(name, shape, classes, **options):
    if name in OWN:
        return OWN[name](shape, classes, **options)
    if name == "googlenet":
        options.update(aux_logits=False, init_weights=False)
    return torchvision_model(name, shape, classes, **options)
