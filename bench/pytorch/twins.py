#!/usr/bin/env python3
"""PyTorch twins of the benchmark jobs: the same model, batch, precision and optimizer.

Times the training step (forward, backward, gradient all-reduce, SGD with momentum, of transformers AdamW) and
prints one JSON object. Data lies in memory before the clock starts. Every variant that
PyTorch offers for the case is tried (memory format, optimizer form, torch.compile); the
fastest is the result, so that a comparison is against PyTorch at its best.

The memory of a step is the high-water mark of the resident set (VmHWM) less what was resident when
PyTorch was loaded and neither data nor model were made; it is told when one variant runs alone.

    twins.py --model mlp                       one process
    twins.py --model resnet18_cifar --batch 64 --steps 10 --precision bfloat16
    twins.py --model lenet5 --ranks 2          two processes, DistributedDataParallel over gloo
    twins.py --model lenet5 --data DIR         images from HDF5 files instead of synthetic ones
    twins.py --model resnet50 --device cuda --precision tf32        on a GPU, see on_cuda.py
"""
import argparse
import contextlib
import ctypes
import glob
import json
import math
import os
import socket
import statistics
import sys
import time

import on_cuda


def parse_arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, help="a name of models.py or of torchvision")
    p.add_argument("--batch", type=int, default=128, help="samples per rank and step")
    p.add_argument("--ranks", type=int, default=1, help="processes on this host")
    p.add_argument("--threads", type=int, default=1, help="threads per process")
    p.add_argument("--input", default="", help="C,H,W of a sample (default: 784 for mlp, 1,32,32 for lenet5, else 3,224,224)")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    p.add_argument("--precision", choices=["float32", "bfloat16", "tf32", "float16"], default="float32",
                   help="bfloat16: autocast, weights stay float32; tf32 and float16: on GPUs only")
    p.add_argument("--hidden", default="512,512", help="widths of the MLP's hidden layers; units of recurrent ones")
    p.add_argument("--layers", type=int, default=1, help="recurrent layers of char_lstm, char_gru and char_rnn")
    p.add_argument("--embedding", type=int, default=64, help="features of a token there; --input: tokens of a sample")
    p.add_argument("--width", type=int, default=768, help="features of a token in gpt2 and gpt2_mini")
    p.add_argument("--heads", type=int, default=12, help="of attention there")
    p.add_argument("--positions", type=int, default=1024, help="that there are there")
    p.add_argument("--classes", type=int, default=10)
    p.add_argument("--activation", choices=["relu", "tanh", "sigmoid"], default="relu")
    p.add_argument("--pool", choices=["max", "average"], default="max")
    p.add_argument("--lr", type=float, default=0.01)
    p.add_argument("--momentum", type=float, default=0.9)
    p.add_argument("--data", default="", help="folder of HDF5 files with fields image and label")
    p.add_argument("--steps", type=int, default=200, help="timed steps; the median counts")
    p.add_argument("--warmup", type=int, default=20, help="steps before the first timed one")
    p.add_argument("--variants", default="all",
                   help="comma list of eager, foreach, no_onednn, compile, channels_last, channels_last_compile "
                        "(on GPUs: of on_cuda.py's); or all")
    p.add_argument("--json", action="store_true", help="the output is always JSON")
    args = p.parse_args()
    if args.device == "cpu" and args.precision in ("tf32", "float16"):
        p.error(f"{args.precision} is a format of GPUs: add --device cuda")
    return args


def make_model(args, shape):
    import models
    options = {"mlp": {"hidden": [int(w) for w in args.hidden.split(",")], "activation": args.activation},
               "lenet5": {"activation": args.activation, "pooling": args.pool}}.get(args.model, {})
    if args.model.startswith("char_"):
        options = {"hidden": int(args.hidden), "layers": args.layers, "embedding": args.embedding}
    if is_transformer(args):
        options = {"width": args.width, "layers": args.layers, "heads": args.heads, "positions": args.positions}
    return models.make(args.model, shape, args.classes, **options)


def is_transformer(args):
    return args.model.startswith("gpt2")


def is_language_model(args):
    return args.model.startswith("char_") or is_transformer(args)


def load_batches(torch, args, rank):
    """A list of (src, target): src (N, C, H, W) float32, target (N) int64, of language models src (N, T) and
    target (N T), both int64; this rank's own samples."""
    if args.data:
        import h5py
        import numpy
        images, labels = [], []
        for path in sorted(glob.glob(os.path.join(args.data, "*.h5"))):
            with h5py.File(path, "r") as f:
                images.append(f["image"][:])
                labels.append(f["label"][:])
        src = torch.from_numpy(numpy.concatenate(images)).float()
        if src.dim() == 3:
            src = src.unsqueeze(1)
        src = (src - src.mean()) / src.std()
        target = torch.from_numpy(numpy.concatenate(labels)).long()
        order = torch.randperm(len(src), generator=torch.Generator().manual_seed(1))
        rows = [order[i:i + args.batch] for i in range(0, len(src) - args.batch + 1, args.batch)][rank::args.ranks]
        return [(src[r].contiguous(), target[r]) for r in rows]
    text = args.input or {"mlp": "784", "lenet5": "1,32,32"}.get(args.model, "3,224,224")
    shape = [int(v) for v in text.split(",")]
    generator = torch.Generator().manual_seed(1 + rank)
    if is_language_model(args):
        return [(torch.randint(args.classes, (args.batch, shape[0]), generator=generator),
                 torch.randint(args.classes, (args.batch * shape[0],), generator=generator)) for _ in range(8)]
    shape = shape if len(shape) == 3 else [1, 1, shape[0]]
    # As many as `lockstep bench step` makes: 256 MiB, but 2 to 8 batches.
    return [(torch.randn(args.batch, *shape, generator=generator),
             torch.randint(args.classes, (args.batch,), generator=generator))
            for _ in range(min(max(2, (1 << 26) // (math.prod(shape) * args.batch * args.ranks)), 8))]


def time_variant(torch, args, variant, batches):
    """Seconds of each timed step, for one way of running the model."""
    torch.manual_seed(1)
    shape = list(batches[0][0].shape[1:])
    model = make_model(args, shape)
    n_parameters = sum(p.numel() for p in model.parameters())
    if "channels_last" in variant:
        model = model.to(memory_format=torch.channels_last)
        batches = [(src.to(memory_format=torch.channels_last), target) for src, target in batches]
    model = model.to(batches[0][0].device)
    options = {"foreach": True} if variant == "foreach" else {"fused": True}
    if is_transformer(args):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.001, weight_decay=0.1, **options)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum, **options)
    if args.ranks > 1:
        model = torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    if args.device == "cuda":
        return on_cuda.time_steps(torch, args, variant, model, optimizer, batches), n_parameters
    if "compile" in variant:
        model = torch.compile(model)
    loss_function = torch.nn.CrossEntropyLoss()

    times = []
    for step in range(args.warmup + args.steps):
        src, target = batches[step % len(batches)]
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bfloat16"):
            loss = loss_function(model(src), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - begin)  # DDP's all-reduce makes the ranks wait for each other
    if not torch.isfinite(loss):
        raise RuntimeError("the loss is not finite")
    return times[args.warmup:], n_parameters


def keep_freed_memory():
    """Stops glibc from giving every large buffer back to the system and faulting it in again at the
    next step, as PyTorch's tuning guide does with another malloc; LeNet-5 gains a quarter."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD, at its maximum
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def resident_mb(key):
    """VmRSS, or its high-water mark VmHWM since reset_peak()."""
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith(key))


def reset_peak():
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as f:
        f.write("5")


def worker(rank, args, port, results):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(args.threads)
    keep_freed_memory()
    import torch
    torch.set_num_threads(args.threads)
    device = on_cuda.prepare(torch, args, rank) if args.device == "cuda" else torch.device("cpu")
    if args.ranks > 1:
        if args.device == "cpu":
            os.sched_setaffinity(0, cores_of(rank, args))
        backend = "nccl" if args.device == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, init_method=f"tcp://127.0.0.1:{port}",
                                             rank=rank, world_size=args.ranks)
    small = args.model in ("mlp", "lenet5") or is_language_model(args)
    if not small:
        import torchvision  # noqa: F401: its memory is no part of the model's
    reset_peak()
    resident_before_mb = resident_mb("VmRSS")
    batches = load_batches(torch, args, rank)
    batches = [(src.to(device), target.to(device)) for src, target in batches]
    names = ["eager", "foreach", "compile", "no_onednn"] if small else ["eager", "compile"]
    if args.model != "mlp" and not is_language_model(args):
        names += ["channels_last", "channels_last_compile"]
    if args.device == "cuda":
        names = on_cuda.variants(args.model, args.ranks)
        torch.cuda.reset_peak_memory_stats()
    if args.variants != "all":
        names = args.variants.split(",")
    report = {}
    for name in names:
        try:
            with torch.backends.mkldnn.flags(enabled=False) if name == "no_onednn" else contextlib.nullcontext():
                times, n_parameters = time_variant(torch, args, name, batches)
            report[name] = {"samples_per_s": args.batch * args.ranks / statistics.median(times),
                            "step_s": statistics.median(times), "step_min_s": min(times)}
        except Exception as error:  # a variant this installation cannot run is reported, not fatal
            if name == "eager" and args.device == "cpu":
                raise
            report[name] = {"error": (str(error).strip() or type(error).__name__).splitlines()[0][:200]}
    memory_mb = on_cuda.peak_mb(torch) if args.device == "cuda" else resident_mb("VmHWM") - resident_before_mb
    if rank == 0:
        good = {k: v for k, v in report.items() if "samples_per_s" in v}
        if not good:
            raise RuntimeError(f"no variant ran: {report}")
        best = max(good, key=lambda k: good[k]["samples_per_s"])
        results.put({"program": "pytorch", "version": torch.__version__, "model": args.model,
                     "parameters": n_parameters, "ranks": args.ranks, "threads": args.threads,
                     "batch_per_rank": args.batch, "precision": args.precision,
                     "gpu": torch.cuda.get_device_name() if args.device == "cuda" else None,
                     "memory_mb": memory_mb if len(names) == 1 else None,
                     "input": list(batches[0][0].shape[1:]),
                     "samples_per_s": good[best]["samples_per_s"], "step_s": good[best]["step_s"],
                     "variant": best, "variants": report})
    if args.ranks > 1:
        torch.distributed.destroy_process_group()


def cores_of(rank, args):
    """This rank's share of the cores the program may use, as mpirun would bind it."""
    cores = sorted(os.sched_getaffinity(0))
    if args.ranks * args.threads > len(cores):
        return set(cores)
    return set(cores[rank * args.threads:(rank + 1) * args.threads])


def main():
    args = parse_arguments()
    import queue
    if args.ranks == 1:
        results = queue.SimpleQueue()
        worker(0, args, 0, results)
        print(json.dumps(results.get()))
        return 0
    import multiprocessing
    context = multiprocessing.get_context("spawn")
    with socket.socket() as s:  # a free port for the rendezvous
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    results = context.SimpleQueue()
    processes = [context.Process(target=worker, args=(r, args, port, results)) for r in range(args.ranks)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    if any(p.exitcode for p in processes):
        print("twins: a rank failed", file=sys.stderr)
        return 1
    print(json.dumps(results.get()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
