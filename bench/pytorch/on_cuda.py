"""The PyTorch twin's training step on GPUs.

Variants are words joined by "_": eager, channels_last, compile (torch.compile), compile_graphs (the same with
mode="reduce-overhead", CUDA graphs of forward and backward), step_graph (one CUDA graph of forward, backward
and update). The optimizer is the fused one. Products follow the precision: TF32 only for tf32, autocast
for bfloat16 and float16, the latter with a gradient scaler; cuDNN tries its algorithms (benchmark).

A step's time is that between two events on the stream, so that the host may run ahead; memory is the most
that PyTorch's allocator held, batches included. The batches lie in the GPU's memory before the clock starts.
"""
import contextlib

VARIANTS = ("eager", "channels_last", "compile", "channels_last_compile", "compile_graphs",
            "channels_last_compile_graphs", "step_graph", "channels_last_step_graph")


def variants(model, ranks):
    """Those that a comparison tries: channels matter to images only, step_graph holds no all-reduce."""
    return [v for v in VARIANTS if not ("channels_last" in v and model == "mlp") and not ("step_graph" in v and ranks > 1)]


def prepare(torch, args, rank):
    """This rank's device, and the precision of its products."""
    if not torch.cuda.is_available():
        raise SystemExit("twins: this PyTorch sees no GPU (torch.cuda.is_available() is false)")
    torch.cuda.set_device(rank % torch.cuda.device_count())
    set_products(torch, args.precision)
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda")


def set_products(torch, precision):
    """Products of float32 round their factors to TF32 for tf32 and nowhere else."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def autocast(torch, precision):
    if precision not in ("bfloat16", "float16"):
        return contextlib.nullcontext()
    return torch.autocast("cuda", getattr(torch, precision))


def make_step(torch, args, model, optimizer):
    """step(src, target) -> loss: forward, backward and update."""
    loss_function = torch.nn.CrossEntropyLoss()
    scaler = torch.amp.GradScaler("cuda", enabled=args.precision == "float16")

    def step(src, target):
        with autocast(torch, args.precision):
            loss = loss_function(model(src), target)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss
    return step


def make_step_graph(torch, step, optimizer, batch):
    """The same as one graph over memory of its own, after steps that choose algorithms and make state."""
    src, target = (tensor.clone() for tensor in batch)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step(src, target)
    torch.cuda.current_stream().wait_stream(aside)
    optimizer.zero_grad(set_to_none=True)  # the gradients are the graph's own
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(src, target)

    def run(new_src, new_target):
        src.copy_(new_src)
        target.copy_(new_target)
        graph.replay()
        return loss
    return run


def time_steps(torch, args, variant, model, optimizer, batches):
    """Seconds of each timed step."""
    if "compile" in variant:
        model = torch.compile(model, mode="reduce-overhead" if "graphs" in variant else None)
    step = make_step(torch, args, model, optimizer)
    if "step_graph" in variant:
        step = make_step_graph(torch, step, optimizer, batches[0])
    events = [torch.cuda.Event(enable_timing=True) for _ in range(args.steps + 1)]
    for i in range(args.warmup + args.steps):
        if i == args.warmup:
            torch.cuda.synchronize()
        if i >= args.warmup:
            events[i - args.warmup].record()
        torch.compiler.cudagraph_mark_step_begin()
        loss = step(*batches[i % len(batches)])
    events[args.steps].record()
    torch.cuda.synchronize()
    if not torch.isfinite(loss):
        raise RuntimeError("the loss is not finite")
    return [a.elapsed_time(b) / 1e3 for a, b in zip(events, events[1:])]


def peak_mb(torch):
    return torch.cuda.max_memory_allocated() / 2**20
