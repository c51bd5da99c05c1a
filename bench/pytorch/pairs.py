"""Pairs of timings of one of our programs and of PyTorch, for recurrent.py and attention.py."""
import argparse
import os
import re
import statistics
import subprocess
import time

import torch


def torch_ms(step, repeats):
    """Median of the processor time of step(), in ms."""
    step()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        step()
        times.append(time.process_time() - begin)
    return 1e3 * statistics.median(times)


def run(description, cases, torch_step, repeats_of, limit_of):
    """A line for each case named on the command line, or for all.

    cases: name -> arguments of the program; torch_step(*case): the step as a function; repeats_of(name, case); limit_of(case):
    what the program's share is of."""
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("bench")
    p.add_argument("cases", nargs="*")
    p.add_argument("--pairs", type=int, default=5)
    args = p.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}")
    for name in args.cases or cases:
        case = cases[name]
        repeats = repeats_of(name, case)
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
              f"[{min(ratios):.2f} {max(ratios):.2f}]  share of {limit_of(case)} {statistics.median(shares):.2f}", flush=True)
