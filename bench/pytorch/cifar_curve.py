#!/usr/bin/env python3
"""Trains the PyTorch twin of a Lockstep run from the same initial weights and writes its losses.

    cifar_curve.py --make-weights init.safetensors                    He et al. 2015, batch norms 1 and 0
    lockstep import init.safetensors --job jobs/resnet20-cifar10.yaml --out init.h5
    mpirun -n 2 lockstep train jobs/resnet20-cifar10.yaml --resume init.h5 --set train='{steps: 400, …}'
    cifar_curve.py --data data/cifar10/train --weights init.safetensors --steps 400 --out twin.jsonl
    cifar_curve.py --plot docs/cifar10.svg --lines "Lockstep float32=runs/a/metrics.jsonl" …

With `--model resnet18 --augment --one-cycle --nesterov --lr 0.05 --weight-decay 5e-4 --micro 32 --steps 300` it is the twin of
jobs/resnet18-cifar10-one-cycle.yaml with `--set optimizer.sgd.lr=0.05 --set 'train={steps: 300, log_every_steps: 1}'`.

Data are the same HDF5 files, normalised by the mean and deviation stored in them. A step takes one
global batch, in micro-batches whose batch norms see their own samples, as Lockstep's do. The
order of samples is its own, so that curves agree as two runs with different seeds do.
"""
import argparse
import glob
import json
import os
import time

import h5py
import numpy
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two 3x3 convolutions; the shortcut subsamples and pads channels (He et al. 2016, option A)."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.stride, self.pad = stride, c_out - c_in

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1 or self.pad:
            x = F.pad(x[:, :, ::self.stride, ::self.stride],
                      (0, 0, 0, 0, self.pad // 2, self.pad - self.pad // 2))
        return F.relu(x + y)


class ResNetCifar(nn.Module):
    def __init__(self, depth, classes):
        super().__init__()
        n = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        c_in = 16
        for stage, c_out in enumerate((16, 32, 64), 1):
            blocks = []
            for i in range(n):
                blocks.append(Block(c_in, c_out, 2 if stage > 1 and i == 0 else 1))
                c_in = c_out
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the shortcut is a 1x1 convolution where the shape changes (option B)."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.downsample = None
        if stride > 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu((x if self.downsample is None else self.downsample(x)) + y)


class ResNet18Cifar(nn.Module):
    """ResNet-18 whose first convolution is 3x3 and no pooling follows it, for images of 32x32."""

    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        c_in = 64
        for stage, c_out in enumerate((64, 128, 256, 512), 1):
            blocks = [BasicBlock(c_in, c_out, 2 if stage > 1 else 1), BasicBlock(c_out, c_out, 1)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            c_in = c_out
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def augmented(images, rng):
    """Padded by 4 pixels of zero after normalisation, cropped, half of them reflected."""
    n, _, height, width = images.shape
    padded = numpy.pad(images, ((0, 0), (0, 0), (4, 4), (4, 4)))
    out = numpy.empty_like(images)
    for i, (y, x, flips) in enumerate(zip(rng.integers(0, 9, n), rng.integers(0, 9, n), rng.integers(0, 2, n))):
        crop = padded[i, :, y:y + height, x:x + width]
        out[i] = crop[:, :, ::-1] if flips else crop
    return out


def load_data(folder):
    images, labels = [], []
    for path in sorted(glob.glob(os.path.join(folder, "*.h5"))):
        with h5py.File(path) as f:
            images.append(f["image"][:])
            labels.append(f["label"][:])
            mean, stddev = f["image"].attrs["mean"], f["image"].attrs["stddev"]
    shape = (1, -1, 1, 1)
    images = numpy.concatenate(images)
    return images, numpy.concatenate(labels).astype("int64"), mean.reshape(shape), stddev.reshape(shape)


def plot(path, lines, window=10):
    """Losses over steps, each the mean of `window` steps."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for line in lines:
        label, file = line.split("=", 1)
        rows = [json.loads(text) for text in open(file)]
        rows = [row for row in rows if "loss" in row and row.get("kind", "train") == "train"]
        losses = numpy.array([row["loss"] for row in rows])
        n = len(losses) // window * window
        steps = numpy.array([row["step"] for row in rows])[:n].reshape(-1, window).mean(1)
        axes.plot(steps, losses[:n].reshape(-1, window).mean(1), label=label, linewidth=1.2)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss, mean of %d steps" % window)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="resnet20")
    p.add_argument("--data", help="folder of HDF5 files with image and label")
    p.add_argument("--weights", help="safetensors to begin with")
    p.add_argument("--make-weights", metavar="FILE", help="only write initial weights")
    p.add_argument("--plot", metavar="FILE", help="only plot the files of --lines")
    p.add_argument("--lines", nargs="*", default=[], metavar="LABEL=FILE", help="JSON lines with step and loss")
    p.add_argument("--steps", type=int, default=400)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--micro", type=int, default=64)
    p.add_argument("--lr", type=float, default=0.1)
    p.add_argument("--momentum", type=float, default=0.9)
    p.add_argument("--weight-decay", type=float, default=1e-4)
    p.add_argument("--nesterov", action="store_true")
    p.add_argument("--augment", action="store_true", help="random crops of padded images, and reflections")
    p.add_argument("--one-cycle", action="store_true", help="torch's OneCycleLR over all steps, momentum as it is")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--bfloat16", action="store_true", help="autocast")
    p.add_argument("--out", help="JSON lines to write")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    if args.plot:
        return plot(args.plot, args.lines)
    from safetensors.torch import load_file, save_file

    depth = int(args.model.removeprefix("resnet"))
    model = ResNet18Cifar(10) if depth == 18 else ResNetCifar(depth, 10)
    if args.make_weights:
        torch.manual_seed(args.seed)
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(model.fc.bias)
        return save_file(model.state_dict(), args.make_weights)
    model.load_state_dict(load_file(args.weights), strict=True)
    images, labels, mean, stddev = load_data(args.data)
    # Biases and the parameters of norms do not decay, as in Lockstep.
    groups = [{"params": [w for w in model.parameters() if w.dim() > 1], "weight_decay": args.weight_decay},
              {"params": [w for w in model.parameters() if w.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=args.lr, momentum=args.momentum, nesterov=args.nesterov)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, args.steps, cycle_momentum=False) if args.one_cycle else None
    rng = numpy.random.default_rng(args.seed)
    order = rng.permutation(len(labels))
    at = 0
    with open(args.out, "w") as out:
        for step in range(1, args.steps + 1):
            if at + args.batch > len(order):
                order, at = rng.permutation(len(labels)), 0
            rows = order[at:at + args.batch]
            at += args.batch
            x = ((images[rows] - mean) / stddev).astype("float32")
            x = torch.from_numpy(augmented(x, rng) if args.augment else x)
            y = torch.from_numpy(labels[rows])
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            total = 0.0
            for part in range(0, args.batch, args.micro):
                with torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16):
                    scores = model(x[part:part + args.micro])
                loss = F.cross_entropy(scores.float(), y[part:part + args.micro]) * args.micro / args.batch
                loss.backward()
                total += loss.item()
            optimizer.step()
            if schedule:
                schedule.step()
            out.write(json.dumps({"step": step, "loss": total, "time_s": time.perf_counter() - start}) + "\n")
            if step % 50 == 0:
                print(step, total, flush=True)


if __name__ == "__main__":
    main()
