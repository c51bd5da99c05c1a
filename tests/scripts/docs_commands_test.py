#!/usr/bin/env python3
"""The commands of README.md and docs/, as they stand.

    docs_commands_test.py LOCKSTEP

Every line of a code block that calls lockstep is read: its command must exist, and so must each of its options, by
`--help`. The walk of README's "Your own data" is then run in a fresh folder, with made photos, table and weights where
README expects the reader's own.
"""
import os
import pathlib
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = str(pathlib.Path(sys.argv[1]).resolve())
failures = []


def code_lines(path):
    """Indented or fenced lines, with continuation lines joined."""
    fenced = False
    joined = ""
    for line in path.read_text().splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            joined += line.strip()
            if joined.endswith("\\"):
                joined = joined[:-1] + " "
                continue
            yield joined
            joined = ""


def commands(path):
    """The words of each call of lockstep, without the launcher and what follows a comment or a pipe."""
    for line in code_lines(path):
        for part in re.split(r"\s(?:&&|\|\||\||;|>)\s", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue
            for i, word in enumerate(words):
                if word == "lockstep" or word.endswith("/lockstep"):
                    if not any(w in ("docker", "apptainer", "ln", "scp", "ssh", "ls", "gdb", "-t") for w in words[:i]):
                        yield line, words[i + 1:]
                    break


def run(words, **options):
    return subprocess.run([PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
                          **options)


helps = {}


def help_of(name):
    if name not in helps:
        done = run([*name.split(), "--help"])
        helps[name] = done.stdout if done.returncode == 0 else None
    return helps[name]


def check_words():
    n = 0
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for line, words in commands(path):
            if not words or not re.fullmatch(r"[a-z-]+", words[0]):
                continue  # "lockstep COMMAND", prose
            if words[0] in ("help", "--help", "--version", "version"):
                continue
            name = words[0]
            if name in ("bench", "convert", "tokenizer") and len(words) > 1 and re.fullmatch(r"[a-z][a-z-]*", words[1]):
                name += " " + words[1]
            text = help_of(name)
            if text is None:
                failures.append(f"{path.name}: no command '{name}': {line}")
                continue
            n += 1
            for word in words:
                option = word.split("=")[0]
                if re.fullmatch(r"--[a-z][a-z0-9_-]*", option) and not re.search(re.escape(option) + r"\b", text):
                    failures.append(f"{path.name}: '{name}' has no option {option}: {line}")
    if n < 40:
        failures.append(f"only {n} commands were found")
    return n


def png(width, height, value):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    rows = b"".join(b"\0" + bytes([value, (7 * y) % 256, 99]) * width for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def check_walk():
    """README's own data: its code blocks, run one after another."""
    text = (ROOT / "README.md").read_text()
    job = re.search(r"```yaml\n(.*?)```", text, re.S).group(1)
    maker = re.search(r"```python\n(.*?)```", text, re.S).group(1)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        for i, name in enumerate(("cat", "dog")):
            (place / "my_photos" / name).mkdir(parents=True)
            for k in range(8):
                (place / "my_photos" / name / f"{k}.png").write_bytes(png(70 + 9 * k, 64 + 5 * k + i, 20 * k + i))
        import gzip
        rows = "\n".join(",".join(str((i * j) % 17) for j in range(64)) + f",{i % 3}" for i in range(40))
        (place / "measurements.csv.gz").write_bytes(gzip.compress((rows + "\n").encode()))
        (place / "book.txt").write_text("It was the best of times, it was the worst of times.\n" * 40)
        (place / "mine.yaml").write_text(job)
        (place / "jobs").symlink_to(ROOT / "jobs")
        have_h5py = subprocess.run(["/usr/bin/python3", "-c", "import h5py"], capture_output=True).returncode == 0
        if have_h5py:
            subprocess.run(["/usr/bin/python3", "-c", maker], cwd=folder, check=True)
        n = 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        for line, words in commands(ROOT / "README.md"):
            if words[:1] == ["convert"] or (have_h5py and words[:1] in (["inspect"], ["train"]) and "mine.yaml" in words):
                if line.startswith(("mpirun", "srun", "sbatch")):
                    continue  # the same job again
                quick = ["--set", "train.epochs=1"] if words[0] == "train" else []
                done = run([*words, *quick, *(["--overwrite"] if words[0] == "train" else [])], cwd=folder, env=environment)
                n += 1
                if done.returncode != 0:
                    failures.append(f"README.md: {line}\n{done.stdout}")
        if n < (5 if have_h5py else 2):
            failures.append(f"only {n} commands of README's walk were run")
        return n


n_read, n_run = check_words(), check_walk()
for failure in failures:
    print("FAILED:", failure)
print(f"{n_read} commands read, {n_run} run, {len(failures)} failures")
sys.exit(1 if failures else 0)
