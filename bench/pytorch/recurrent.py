#!/usr/bin/env python3
"""Training steps of recurrent layers alone (forward, backward, all gradients): Lockstep beside PyTorch.

    recurrent.py build/bin/lockstep_recurrent_bench [--pairs 5] [CASE …]

Each case runs in pairs, one after the other on the same core: the benchmark of Lockstep in a process of its own,
then PyTorch (eager, one thread, processor time). A ratio is PyTorch's time over Lockstep's; the median of the
pairs counts, the lowest and highest stand beside it.
"""
import argparse
import os
import re
import statistics
import subprocess
import time

import torch

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


def torch_ms(step, repeats):
    step()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        step()
        times.append(time.process_time() - begin)
    return 1e3 * statistics.median(times)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("bench")
    p.add_argument("cases", nargs="*")
    p.add_argument("--pairs", type=int, default=5)
    args = p.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}")
    for name in args.cases or CASES:
        case = CASES[name]
        repeats = 200 if case[4] <= 64 else 5
        step = torch_step(*case)
        ratios, ours, theirs, shares = [], [], [], []
        for _ in range(args.pairs):
            out = subprocess.run([args.bench, *map(str, case), str(repeats)], capture_output=True, text=True, check=True,
                                 env={**os.environ, "OMP_NUM_THREADS": "1"}).stdout
            found = re.match(r"ms (\S+) .* share (\S+)", out)
            ours.append(float(found[1]))
            shares.append(float(found[2]))
            theirs.append(torch_ms(step, repeats))
            ratios.append(theirs[-1] / ours[-1])
        print(f"{name:11} {'x'.join(map(str, case)):24} Lockstep {statistics.median(ours):9.3f} ms  PyTorch "
              f"{statistics.median(theirs):9.3f} ms  ratio {statistics.median(ratios):.2f} "
              f"[{min(ratios):.2f} {max(ratios):.2f}]  share of matrix product {statistics.median(shares):.2f}", flush=True)


if __name__ == "__main__":
    main()
