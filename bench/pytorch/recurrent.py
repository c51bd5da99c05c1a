#!/usr/bin/env python3
"""Training steps of recurrent layers alone (forward, backward, all gradients): Lockstep beside PyTorch.

    recurrent.py build/bin/lockstep_recurrent_bench [--pairs 5] [CASE …]

Each case runs in pairs, one after the other on the same core: the benchmark of Lockstep in a process of its own,
then PyTorch (eager, one thread, processor time). A ratio is PyTorch's time over Lockstep's; the median of the
pairs counts, the lowest and highest stand beside it.
"""
import torch

import pairs

# cell, batch, steps, inputs, hidden, layers
CASES = {
    "char_lstm": ("lstm", 64, 64, 64, 256, 2),
    "char_gru": ("gru", 64, 64, 64, 256, 2),
    "char_rnn": ("rnn_tanh", 64, 64, 64, 256, 2),
    "wide_lstm": ("lstm", 32, 35, 512, 512, 1),
    "small_lstm": ("lstm", 8, 32, 32, 32, 1),
    "small_gru": ("gru", 8, 32, 32, 32, 1),
    "small_rnn": ("rnn_tanh", 8, 32, 32, 32, 1),
}


def torch_step(cell, batch, steps, inputs, hidden, layers):
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn_tanh": torch.nn.RNN}[cell]
    model = kind(inputs, hidden, layers, batch_first=True)
    x = torch.randn(batch, steps, inputs, requires_grad=True)
    diff = torch.randn(batch, steps, hidden)

    def step():
        for p in model.parameters():
            p.grad = None
        x.grad = None
        y, _ = model(x)
        y.backward(diff)

    return step


if __name__ == "__main__":
    pairs.run(__doc__, CASES, torch_step, lambda name, case: 200 if case[4] <= 64 else 5, lambda case: "matrix product")
