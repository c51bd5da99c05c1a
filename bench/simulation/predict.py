#!/usr/bin/env python3
"""Predicts how training scales past this machine: docs/scaling.md.

    bench/simulation/predict.py [SCENARIO ...] [--program build/bin/lockstep] [--out docs] [--check]

Each scenario of scenarios.json names a job, how fast one rank computes (measured here by `bench step`, or published), and a
network. SimGrid's SMPI runs comm's own all-reduce (simulate.cpp) bucket by bucket as backward makes gradients final; what does
not fit under backward is added to the step. Writes scaling.csv, scaling-weak.svg and scaling-strong.svg. --check only compares
the bits of 8 simulated ranks with those of a real MPI. Wants SimGrid (Debian: libsimgrid-dev) and python3 with matplotlib."""
import argparse
import csv
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SOURCES = ["bench/simulation/simulate.cpp", "comm/reduction/tree_reduction.cpp", "comm/reduction/tree_rounds.cpp", "comm/mpi_check.cpp",
           "comm/patience.cpp", "kernels/error.cpp", "kernels/printable.cpp", "kernels/bfloat16.cpp"]
FIRST_BUCKET, BUCKET = 1 << 20, 25 << 20  # bytes; src/step/bucket_sizes.h
PROTOCOL = 0.92  # of the line rate that payload gets


def run(*command, cwd=ROOT):
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=cwd)
    if ran.returncode != 0:
        sys.exit(f"predict: {' '.join(map(str, command))} ended with {ran.returncode}\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return ran.stdout


def compile_program(compiler, out, *defines):
    if not out.exists() or any((ROOT / source).stat().st_mtime > out.stat().st_mtime for source in SOURCES):
        out.parent.mkdir(parents=True, exist_ok=True)
        run(compiler, "-std=c++20", "-O2", "-w", *defines, "-I.", *SOURCES, "-lfmt", "-o", out)
    return out


def last_json(text):
    return json.loads([line for line in text.splitlines() if line.startswith("{")][-1])


def cluster(n_nodes, scenario):
    """SimGrid's description: one switch up to 16 nodes, above that two levels of a fat tree without a bottleneck."""
    attributes = (f'id="c" prefix="n" suffix="" radical="0-{n_nodes - 1}" speed="1Gf" bw="{PROTOCOL * scenario["node_gb_per_s"]}GBps" '
                  f'lat="{scenario["latency_us"] / 2}us" loopback_bw="{scenario["loopback_gb_per_s"]}GBps" loopback_lat="0.5us"')
    if n_nodes > 16:
        leaf = 16 if n_nodes <= 256 else 32
        attributes += f' topology="FAT_TREE" topo_parameters="2;{leaf},{n_nodes // leaf};1,{leaf};1,1"'
    return ("<?xml version='1.0'?>\n<!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">\n"
            f'<platform version="4.1"><cluster {attributes}/></platform>\n')


def simulate(program, folder, scenario, n_ranks, buckets, *words):
    """What simulate.cpp prints."""
    per_node = scenario["ranks_per_node"]
    n_nodes = max(1, n_ranks // per_node)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cluster.xml").write_text(cluster(n_nodes, scenario))
    by_host = scenario["way"] == "hosts"
    (folder / "hosts").write_text("".join(f"n{rank // per_node}\n" for rank in range(n_ranks)))
    (folder / "buckets").write_text("".join(f"{ready:.9f} {n}\n" for ready, n in buckets))
    text = run("smpirun", "-np", n_ranks, "-platform", folder / "cluster.xml", "-hostfile", folder / "hosts",
               "--cfg=smpi/simulate-computation:no", "--cfg=smpi/host-speed:1Gf", "--cfg=smpi/bw-factor:0:1", "--cfg=smpi/lat-factor:0:1",
               "--cfg=network/TCP-gamma:0", "--cfg=smpi/async-small-thresh:0", "--cfg=contexts/stack-size:256", "--log=root.thres:error",
               program, "--buckets", folder / "buckets", "--way", scenario["way"], "--ranks-per-node", per_node if by_host else 1,
               "--add-gb-per-s", scenario["add_gb_per_s"], "--host-gb-per-s", scenario.get("host_gb_per_s", 5),
               "--latency-us", scenario.get("round_us", 0), *words)
    return text


def simulated_step(program, folder, scenario, n_ranks, buckets, forward_s):
    words = ["--forward-s", forward_s, "--jitter", scenario["jitter"], "--steps", 8 if n_ranks <= 64 else 3]
    return float(simulate(program, folder, scenario, n_ranks, buckets, *words).split("step ")[1].split()[0])


def buckets_of(layers, backward_s, backward_ms):
    """Gradients in backward's order, cut as make_buckets() does. Time goes by the measured backward of each layer or, without, by
    its products."""
    costs = [backward_ms.get(layer["name"], 0.0) if backward_ms else layer["multiply_adds"] for layer in layers]
    total = sum(costs)
    buckets, n, at = [], 0, 0.0
    for layer, cost in zip(reversed(layers), reversed(costs)):
        at += backward_s * cost / total
        n += layer["parameters"]
        if 4 * n >= (BUCKET if buckets else FIRST_BUCKET):
            buckets.append((at, n))
            n = 0
    if n:
        buckets.append((backward_s, n))
    return buckets


def measure(program, job, sets, steps):
    """Times of the fastest step of one rank while every core computes: as many single ranks at once as there are cores. (The fastest,
    as others disturb the rest; its parts are in proportion to the means.)"""
    command = [program, "bench", "step", job, "--json", "--profile", "--steps", steps, *sets]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(os.cpu_count())]
    rows = [last_json(process.communicate()[0]) for process in running]
    mean = {key: sum(row[key] * row["step_min_ms"] / row["step_ms"] for row in rows) / len(rows) * 1e-3
            for key in ("forward_ms", "backward_ms", "update_ms", "other_ms")}
    by_layer = {}
    for row in rows:
        for step in row["profile"]:
            name = step["step"].split(" ")[0]
            by_layer[name] = by_layer.get(name, 0.0) + step["backward_ms"]
    return mean, by_layer, rows[0]["micro_batch"]


def host_rate(program):
    """GB/s of buckets summed among the ranks of this host, as training does it."""
    n = os.cpu_count()
    return last_json(run("mpirun", "-n", n, program, "bench", "allreduce", "--sizes", "25", "--json"))["results"][0]["in_training_gb_per_s"]


def measured_step(program, job, micro, sets, steps):
    """Seconds of the fastest step of two real ranks with the same work for each."""
    return 1e-3 * last_json(run("mpirun", "-n", 2, program, "bench", "step", job, "--json", "--steps", steps, *sets,
                                "--set", f"batch.global={2 * micro}"))["step_min_ms"]


def predict(name, scenario, program, simulator, folder):
    sets = [word for text in scenario.get("set", []) for word in ("--set", text)]
    layers = last_json(run(program, "inspect", scenario["job"], "--json", *sets))["layers"]
    if scenario.get("measured"):
        scenario["host_gb_per_s"] = host_rate(program)
        turns, steps = [], str(scenario.get("steps", 12))
        for _ in range(3):
            alone = measure(program, ROOT / scenario["job"], sets, steps)
            turns.append((alone, measured_step(program, ROOT / scenario["job"], alone[2], sets, steps)))
        turns.sort(key=lambda turn: sum(turn[0][0].values()))
        times, by_layer, micro = turns[0][0]
        real = min(turn[1] for turn in turns)
    else:  # backward takes two thirds, as it has twice the products
        micro, by_layer = scenario["micro"], {}
        micro_s = micro / scenario["samples_per_s"]
        times = {"forward_ms": micro_s / 3, "backward_ms": micro_s * 2 / 3, "update_ms": 0.0, "other_ms": 0.0}
    computing = times["forward_ms"] + times["backward_ms"]
    rest = times["update_ms"] + times["other_ms"]
    buckets = buckets_of(layers, times["backward_ms"], by_layer)
    most = 16 * max(1, scenario["ranks_per_node"])  # micro-batches of the strong study's batch
    rows = []
    for n in scenario["ranks"]:
        exposed = 0.0
        if n > 1:
            together = simulated_step(simulator, folder / f"{name}-{n}", scenario, n, buckets, times["forward_ms"])
            exposed = max(0.0, together - computing)
        alone, step = computing + rest, computing + exposed + rest
        row = {"scenario": name, "ranks": n, "step_ms": 1e3 * step, "samples_per_s": n * micro / step,
               "waiting_ms": 1e3 * exposed, "weak_efficiency": 100 * alone / step}
        if n <= most:
            row["strong_speed_up"] = (most * computing + rest) / (most / n * computing + exposed + rest)
        rows.append(row)
        print(f"{name:20} {n:5} ranks  {row['step_ms']:10.2f} ms  {row['samples_per_s']:12.1f} samples/s  waiting {1e3 * exposed:9.3f} ms"
              f"  {row['weak_efficiency']:6.2f} %", flush=True)
    if scenario.get("measured"):
        print(f"{name:20} the fastest step of two real ranks took {1e3 * real:.2f} ms: the prediction is {rows[1]['step_ms'] / (1e3 * real):.3f} of it; "
              f"sums on this host {scenario['host_gb_per_s']:.2f} GB/s")
    return rows


def draw(results, scenarios, out):
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "scaling"
    from matplotlib import pyplot
    for kind, field, label in (("weak", "weak_efficiency", "efficiency, % (the same work for each rank)"),
                               ("strong", "strong_speed_up", "speed-up (the same batch for all ranks)")):
        picture, axes = pyplot.subplots(figsize=(8, 5))
        for name, rows in results.items():
            rows = [row for row in rows if field in row]
            line, = axes.plot([row["ranks"] for row in rows], [row[field] for row in rows], marker=".", label=scenarios[name]["title"])
            for ranks, value, who in scenarios[name].get("published", []) if kind == "weak" else []:
                axes.plot([ranks], [value], marker="x", markersize=8, color=line.get_color(), linestyle="none")
                axes.annotate(who, (ranks, value), textcoords="offset points", xytext=(6, -8), fontsize=7, color=line.get_color())
        axes.set_xscale("log", base=2)
        if kind == "strong":
            axes.set_yscale("log", base=2)
            axes.plot([1, 128], [1, 128], color="gray", linewidth=0.8, linestyle="dotted", label="ideal")
        else:
            axes.set_ylim(60, 101)
        axes.set_xlabel("ranks")
        axes.set_ylabel(label)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
        picture.tight_layout()
        picture.savefig(out / f"scaling-{kind}.svg", metadata={"Date": None})


def check(simulator, folder):
    real = compile_program("mpicxx", folder / "real")
    for way, per_node in (("tree", 1), ("rounds", 1), ("hosts", 2)):
        scenario = {"way": way, "ranks_per_node": per_node, "node_gb_per_s": 10, "latency_us": 1, "loopback_gb_per_s": 10, "add_gb_per_s": 10}
        simulated = simulate(simulator, folder / "check", scenario, 8, [(0.01, 1000), (0.02, 300000), (0.03, 2500000)], "--hash")
        measured = run("mpirun", "-n", 8, real, "--buckets", folder / "check" / "buckets", "--way", way, "--ranks-per-node", per_node, "--hash")
        bits = [text.split("hash ")[1].split()[0] for text in (simulated, measured)]
        print(f"{way:8} 8 simulated ranks {bits[0]}, 8 ranks of MPI {bits[1]}")
        if bits[0] != bits[1]:
            sys.exit("predict: the simulated ranks add in another order")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "build/bin/lockstep"))
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build/simulation")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--again", action="store_true", help="also what --folder has predicted")
    parser.add_argument("scenarios", nargs="*")
    options = parser.parse_args()
    folder = options.folder.absolute()
    simulator = compile_program("smpicxx", folder / "simulate", "-DLOCKSTEP_SIMULATED")
    if options.check:
        return check(simulator, folder)
    scenarios = json.loads((pathlib.Path(__file__).parent / "scenarios.json").read_text())
    results = {}
    for name in options.scenarios or scenarios:
        kept = folder / f"{name}.json"
        if options.again or not kept.exists():
            rows = predict(name, scenarios[name], os.path.abspath(options.program), simulator, folder)
            kept.write_text(json.dumps(rows))
        results[name] = json.loads(kept.read_text())
    fields = ["scenario", "ranks", "step_ms", "samples_per_s", "waiting_ms", "weak_efficiency", "strong_speed_up"]
    with open(options.out / "scaling.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fields, restval="")
        writer.writeheader()
        for rows in results.values():
            writer.writerows({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows)
    draw(results, scenarios, options.out)


if __name__ == "__main__":
    main()
