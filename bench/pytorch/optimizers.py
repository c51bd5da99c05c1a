#!/usr/bin/env python3
"""Updates of 25 million parameters by every optimizer that torch.optim has: Lockstep beside PyTorch.

    optimizers.py build/bin/lockstep_optimizer_bench [--pairs 5] [CASE …]

Each case runs in pairs, one after the other on the same core: the benchmark of Lockstep in a process of its own,
then PyTorch (fused where it has that on a CPU, else foreach; one thread, processor time). A ratio is PyTorch's time
over Lockstep's; the median of the pairs counts, the lowest and highest stand beside it. Lockstep's share is that of
copying as many bytes.
"""
import torch

import pairs

O = torch.optim
CASES = {
    "sgd": "{sgd: {lr: 0.001}}",
    "momentum": "{sgd: {lr: 0.001, momentum: 0.9}}",
    "adam": "adam",
    "adamw": "{adamw: {weight_decay: 0.01}}",
    "adagrad": "adagrad",
    "rmsprop": "rmsprop",
    "rmsprop_all": "{rmsprop: {centered: true, momentum: 0.9}}",
    "adadelta": "adadelta",
    "nadam": "nadam",
    "radam": "radam",
    "amsgrad": "{adam: {amsgrad: true}}",
    "adamax": "adamax",
}
THEIRS = {
    "sgd": lambda p: O.SGD(p, lr=0.001, fused=True),
    "momentum": lambda p: O.SGD(p, lr=0.001, momentum=0.9, fused=True),
    "adam": lambda p: O.Adam(p, fused=True),
    "adamw": lambda p: O.AdamW(p, fused=True),
    "adagrad": lambda p: O.Adagrad(p, fused=True),
    "rmsprop": lambda p: O.RMSprop(p, foreach=True),
    "rmsprop_all": lambda p: O.RMSprop(p, centered=True, momentum=0.9, foreach=True),
    "adadelta": lambda p: O.Adadelta(p, foreach=True),
    "nadam": lambda p: O.NAdam(p, foreach=True),
    "radam": lambda p: O.RAdam(p, foreach=True),
    "amsgrad": lambda p: O.Adam(p, amsgrad=True, fused=True),
    "adamax": lambda p: O.Adamax(p, foreach=True),
}


def torch_step(job):
    name = next(name for name, of in CASES.items() if of == job)
    parameters = [torch.nn.Parameter(torch.rand(5000, 5000) - 0.5), torch.nn.Parameter(torch.zeros(5000))]
    for p in parameters:
        p.grad = torch.rand_like(p) - 0.5
    return THEIRS[name](parameters).step


if __name__ == "__main__":
    pairs.run(__doc__, {name: (job,) for name, job in CASES.items()}, torch_step, lambda name, case: 7,
              lambda case: "a copy")
