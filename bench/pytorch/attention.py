#!/usr/bin/env python3
"""Attention and cross-entropy alone (forward, backward, all gradients): Lockstep beside PyTorch.

    attention.py build/bin/lockstep_attention_bench [--pairs 5] [CASE …]

Each case runs in pairs, one after the other on the same core: the benchmark of Lockstep in a process of its own,
then PyTorch (eager, one thread, processor time): scaled_dot_product_attention, cross_entropy. A ratio is PyTorch's
time over Lockstep's; the median of the pairs counts, the lowest and highest stand beside it.
"""
import torch
import torch.nn.functional as F

import pairs

# causal or full, batch, steps, features, heads; or cross_entropy, rows, classes
CASES = {
    "short": ("causal", 16, 128, 256, 8),
    "short_64": ("causal", 16, 128, 256, 4),
    "long": ("causal", 4, 1024, 256, 8),
    "long_64": ("causal", 4, 1024, 256, 4),
    "full": ("full", 16, 128, 256, 8),
    "vocabulary": ("cross_entropy", 2048, 50257),
    "bytes": ("cross_entropy", 2048, 256),
}


def attention_step(causal, batch, steps, features, heads):
    width = features // heads
    sources = [torch.randn(batch, steps, heads, width).transpose(1, 2).requires_grad_() for _ in range(3)]
    diff = torch.randn(batch, heads, steps, width)

    def step():
        context = F.scaled_dot_product_attention(*sources, is_causal=causal)
        torch.autograd.grad(context, sources, diff)

    return step


def cross_entropy_step(rows, classes):
    x = torch.randn(rows, classes, requires_grad=True)
    target = torch.randint(0, classes, (rows,))

    def step():
        torch.autograd.grad(F.cross_entropy(x, target, reduction="sum"), x)

    return step


def torch_step(kind, *sizes):
    return cross_entropy_step(*sizes) if kind == "cross_entropy" else attention_step(kind == "causal", *sizes)


if __name__ == "__main__":
    pairs.run(__doc__, CASES, torch_step,
              lambda name, case: 5 if name in ("long", "long_64", "vocabulary") else 30,
              lambda case: "memory copy" if case[0] == "cross_entropy" else "matrix product")
