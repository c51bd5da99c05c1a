#!/usr/bin/env python3
"""The two sides of tests/jobs/torchvision_weights_test.cpp that are Python's.

    torchvision_weights.py write FOLDER MODEL      theirs.safetensors, data/*.h5, job.yaml, scores.npy
    torchvision_weights.py compare FOLDER MODEL    logits.h5 and ours.safetensors with them

The network is torchvision's with random weights (nothing is downloaded) and running statistics of a few
batches; scores.npy is its output in evaluation mode. The images are uint8 and carry mean and stddev as
docs/weights.md has it. Needs torch, torchvision, h5py, safetensors.
"""
import os
import sys

import h5py
import numpy
import torch
import torchvision
from safetensors.torch import load_file, save_file

MEAN, STDDEV = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES, SIZE, SHARDS = 10, 64, (7, 4)
JOB = """name: theirs
model: {{zoo: {model}, classes: {classes}{options}}}
data: {{train: {{path: {folder}/data}}}}
batch: {{global: 4}}
optimizer: {{sgd: {{lr: 0.01}}}}
train: {{steps: 1}}
"""


def make(name):
    """Random weights, the same at each call."""
    torch.manual_seed(1)
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **options)
    if name.startswith("vgg"):  # half a gigabyte of weights otherwise; option `hidden` of the zoo
        model.classifier = torch.nn.Sequential(
            torch.nn.Linear(512 * 7 * 7, 64), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(64, 64),
            torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(64, CLASSES))
    return model


def normalised(images):
    scale = [torch.tensor(numbers).reshape(1, 3, 1, 1) for numbers in (MEAN, STDDEV)]
    return (images.float() / 255 - scale[0]) / scale[1]


def patches(n):
    """Images that differ: coloured squares under noise, uint8."""
    squares = torch.randint(0, 192, (n, 3, 4, 4)).repeat_interleave(SIZE // 4, 2).repeat_interleave(SIZE // 4, 3)
    return (squares + torch.randint(0, 64, (n, 3, SIZE, SIZE))).to(torch.uint8)


def write(folder, name):
    model = make(name)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.2)
                module.momentum = None  # the mean of the batches
        for _ in range(3):
            model.train()(normalised(patches(8)))
        images = patches(sum(SHARDS))
        scores = model.eval()(normalised(images))
    statistics = [t for n, t in model.named_buffers() if n.endswith(("running_mean", "running_var"))]
    assert statistics and all(t.std() > 0 for t in statistics)
    numpy.save(f"{folder}/scores.npy", scores.numpy())
    save_file(model.state_dict(), f"{folder}/theirs.safetensors")
    os.makedirs(f"{folder}/data")
    for k, part in enumerate(torch.split(images, SHARDS)):
        with h5py.File(f"{folder}/data/shard-{k}.h5", "w") as f:
            f["image"] = part.numpy()
            f["label"] = numpy.arange(len(part)) % CLASSES
            f["image"].attrs["mean"] = [255 * x for x in MEAN]
            f["image"].attrs["stddev"] = [255 * x for x in STDDEV]
    options = ", hidden: 64" if name.startswith("vgg") else ""
    with open(f"{folder}/job.yaml", "w") as f:
        f.write(JOB.format(model=name, classes=CLASSES, options=options, folder=folder))


def compare(folder, name):
    want = numpy.load(f"{folder}/scores.npy")
    with h5py.File(f"{folder}/logits.h5") as f:
        got, classes = f["output"][:], f["class"][:]
    assert got.shape == want.shape == (sum(SHARDS), CLASSES), (got.shape, want.shape)
    spread = (want - want.mean(0)).std() / numpy.abs(want).max()
    assert spread > 0.05, f"the samples' scores are alike: {spread:.2g}"
    error = numpy.abs(got - want).max() / numpy.abs(want).max()
    assert error <= 1e-4, f"scores differ by {error:.2g} of the largest one"
    assert (classes == got.argmax(1)).all()

    theirs, ours = load_file(f"{folder}/theirs.safetensors"), load_file(f"{folder}/ours.safetensors")
    make(name).load_state_dict(ours, strict=True)
    for key, tensor in theirs.items():
        if key.endswith("num_batches_tracked"):  # counted anew, from the checkpoint's step
            assert ours[key].dtype == torch.int64 and ours[key].item() == 0, key
        else:
            assert ours[key].dtype == tensor.dtype and torch.equal(ours[key], tensor), f"{key} differs"
    print(f"{name}: {len(theirs)} tensors with the same bits, scores within {error:.2g}")


if __name__ == "__main__":
    {"write": write, "compare": compare}[sys.argv[1]](*sys.argv[2:])
