#!/usr/bin/env python3
"""Trains the PyTorch twin (Hugging Face's BertForMaskedLM) of a Lockstep run that guesses masked tokens, from the
same initial weights, and writes its losses and accuracies.

    masked_curve.py --make-weights init.safetensors
    lockstep import init.safetensors --job JOB.yaml --out init.h5
    lockstep train JOB.yaml --resume init.h5
    masked_curve.py --data data/shakespeare/train --weights init.safetensors --steps 800 --out twin.jsonl
    masked_curve.py --plot docs/masked-tokens.svg --lines "Lockstep=runs/a/metrics.jsonl" "PyTorch=twin.jsonl"

JOB.yaml asks for what stands here: {zoo: bert_small, layers: 2, width: 128, heads: 4, positions: 64, dropout: 0} over
windows of 64 characters, masking 0.15, 32 windows a step, AdamW with rate 0.001 and decay 0.01, clip 1, no schedule.
The order of the windows and the masks are its own, so that curves agree as two runs with different seeds do."""
import argparse
import glob
import json
import os

import h5py
import numpy
import torch

TOKENS, STEPS, BATCH, SHARE = 65, 64, 32, 0.15


def make_model():
    from transformers import BertConfig, BertForMaskedLM
    return BertForMaskedLM(BertConfig(
        vocab_size=TOKENS + 1, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512,
        max_position_embeddings=STEPS, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))


def load_windows(folder):
    parts = []
    for path in sorted(glob.glob(os.path.join(folder, "*.h5"))):
        with h5py.File(path, "r") as f:
            parts.append(f["tokens"][:])
    stream = torch.from_numpy(numpy.concatenate(parts).astype(numpy.int64))
    return stream[:len(stream) // STEPS * STEPS].reshape(-1, STEPS)


def mask(rows, generator):
    chosen = torch.rand(rows.shape, generator=generator) < SHARE
    draw = torch.rand(rows.shape, generator=generator)
    other = torch.randint(TOKENS, rows.shape, generator=generator)
    masked = torch.where(chosen & (draw < 0.8), torch.tensor(TOKENS), rows)
    masked = torch.where(chosen & (draw >= 0.8) & (draw < 0.9), other, masked)
    return masked, rows.masked_fill(~chosen, -100)


def train(args):
    from safetensors.torch import load_file
    model = make_model()
    model.load_state_dict(load_file(args.weights), strict=False)  # tied weights are stored once
    model.train()
    decays = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decays, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
                                  lr=0.001)
    windows = load_windows(args.data)
    generator = torch.Generator().manual_seed(1)
    order, at = torch.randperm(len(windows), generator=generator), 0
    losses, right, counted = [], 0, 0
    with open(args.out, "w") as out:
        for step in range(1, args.steps + 1):
            if at + BATCH > len(order):
                order, at = torch.randperm(len(windows), generator=generator), 0
            rows, targets = mask(windows[order[at:at + BATCH]], generator)
            at += BATCH
            logits = model(rows).logits
            loss = torch.nn.functional.cross_entropy(logits.reshape(-1, TOKENS + 1), targets.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            right += (logits.argmax(2) == targets).sum().item()
            counted += (targets >= 0).sum().item()
            if step % args.every == 0:
                out.write(json.dumps({"kind": "step", "step": step, "loss": sum(losses) / len(losses),
                                      "accuracy": right / counted}) + "\n")
                out.flush()
                losses, right, counted = [], 0, 0


def plot(path, lines):
    import matplotlib
    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(figsize=(7, 3.5))
    for line in lines:
        label, source = line.split("=", 1)
        with open(source) as f:
            records = [json.loads(text) for text in f]
        records = [r for r in records if "accuracy" in r and "step" in r and r.get("kind") in ("step", "train")]
        axes.plot([r["step"] for r in records], [100 * r["accuracy"] for r in records], label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("masked characters guessed, %")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--make-weights", default="", help="write initial weights to this file")
    p.add_argument("--data", default="", help="the converted training text")
    p.add_argument("--weights", default="")
    p.add_argument("--steps", type=int, default=800)
    p.add_argument("--every", type=int, default=50, help="steps that a line tells the mean of")
    p.add_argument("--out", default="twin.jsonl")
    p.add_argument("--plot", default="", help="draw an SVG of --lines")
    p.add_argument("--lines", nargs="*", default=[], help="LABEL=METRICS.jsonl")
    args = p.parse_args()
    if args.make_weights:
        from safetensors.torch import save_file
        torch.manual_seed(1)
        model = make_model()
        tied = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
        save_file({k: v.contiguous() for k, v in model.state_dict().items() if k not in tied}, args.make_weights)
    elif args.plot:
        plot(args.plot, args.lines)
    else:
        train(args)


if __name__ == "__main__":
    main()
