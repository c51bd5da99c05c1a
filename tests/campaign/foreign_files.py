"""Files of other programs, written by their own libraries and read by Lockstep: scripts/foreign-files.

    python foreign_files.py PROGRAM [--only WORD] [--keep FOLDER]

foreign_cases.py writes the files. Each is read by `lockstep predict` with a network that gives back its input,
so that every value comes out as float32 and is compared with NumPy's, bit for bit; what must be refused must
end with status 1 and say certain words. Prints a table by the lines of docs/data.md; status 1 if a file differs.
"""
import argparse
import collections
import os
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy
from safetensors.numpy import save_file

JOB = """name: identity
model: {layers: [flatten, affine: {name: same, features: %(n)d}]}
data: {train: {path: %(data)s, input: input, target: label%(keys)s}, normalize: none}
batch: {global: 16, micro: 16}
loss: softmax_cross_entropy
optimizer: {sgd: {lr: 0.0}}
train: {steps: 1}
"""


class Campaign:
    """Runs the program on one file after the other, in a folder of its own, and counts what it makes of them."""

    def __init__(self, program, folder, only):
        self.program, self.folder, self.only = program, folder, only
        self.line = ""
        self.networks = {}
        self.counts = collections.OrderedDict()
        self.wrong = []
        # The plugins' folder is found through the environment: only the cases that say so may find it.
        self.environment = {k: v for k, v in os.environ.items() if k not in ("HDF5_PLUGIN_PATH", "VIRTUAL_ENV", "CONDA_PREFIX")}
        self.environment["PATH"] = os.pathsep.join(["/usr/local/bin", "/usr/bin", "/bin"])
        self.environment["HOME"] = folder

    def at(self, name):
        return os.path.join(self.folder, name)

    def run(self, *words, environment=None):
        # Into a file: Open MPI's daemon of a program without mpirun may hold a pipe open for longer than the program lives.
        with open(self.at("said.txt"), "w+", errors="replace") as said:
            done = subprocess.run([self.program, *words], stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, timeout=60,
                                  env={**self.environment, **(environment or {})}, cwd=self.folder)
            said.seek(0)
            return done.returncode, said.read()

    def network(self, shape, layout, keys):
        """Path of a checkpoint of the identity over samples of this shape; `keys` stand beside the data's path."""
        found = self.networks.get((shape, layout, keys))
        if found:
            return found
        name = f"network-{len(self.networks)}"
        n = int(numpy.prod(shape))
        stored = (shape[1], shape[2], shape[0]) if layout == "NHWC" else shape
        with h5py.File(self.at(name + ".h5"), "w") as f:
            f["input"] = numpy.zeros((16, *stored), "float32")
            f["label"] = numpy.arange(16) % max(n, 2)
        save_file({"same.weight": numpy.eye(n, dtype="float32"), "same.bias": numpy.zeros(n, "float32")}, self.at("same.safetensors"))
        with open(self.at(name + ".yaml"), "w") as f:
            f.write(JOB % {"n": n, "data": name + ".h5", "keys": (f", layout: {layout}" if layout else "") + keys})
        checkpoint = name + "-checkpoint.h5"
        status, text = self.run("import", "same.safetensors", "--job", name + ".yaml", "--out", checkpoint)
        if status:
            sys.exit(f"foreign-files: the identity network cannot be imported: {text}")
        self.networks[shape, layout, keys] = checkpoint
        return checkpoint

    def score(self, name, fault, refused):
        row = self.counts.setdefault(self.line, [0, 0, 0])
        row[2 if fault else 1 if refused else 0] += 1
        if fault:
            self.wrong.append(f"{self.line}: {name}: {fault}")

    def gives(self, file, field, expected, layout="", keys="", environment=None, name=""):
        """Samples of `field` are `expected` (N, ...), channels first."""
        name = name or f"{file} {field}"
        if self.only not in f"{self.line}: {name}":
            return
        expected = numpy.asarray(expected)
        shape = expected.shape[1:] or (1,)
        out = self.at("out.h5")
        if os.path.exists(out):
            os.remove(out)
        status, text = self.run("predict", self.network(shape, layout, keys), "--data", file, "--input", field, "--out", "out.h5",
                                environment=environment)
        fault = ""
        if status:
            fault = f"status {status}: {text.strip()}"
        else:
            with h5py.File(out) as f:
                output = f["output"][...]
            wanted = expected.astype("float32").reshape(len(expected), -1)
            if output.shape != wanted.shape:
                fault = f"{output.shape} instead of {wanted.shape}"
            elif not numpy.array_equal(output, wanted):
                fault = f"{int((output != wanted).sum())} of {wanted.size} values differ, such as {output[output != wanted][0]} for {wanted[output != wanted][0]}"
        self.score(name, fault, False)

    def refuses(self, file, field, *words, shape=(4,), layout="", keys="", environment=None, name=""):
        """Ends with status 1, and reason and remedy hold these words; without a field, it is the file that is refused."""
        name = name or f"{file} {field}"
        if self.only not in f"{self.line}: {name}":
            return
        if os.path.exists(self.at("refused.h5")):
            os.remove(self.at("refused.h5"))
        if field:
            status, text = self.run("predict", self.network(shape, layout, keys), "--data", file, "--input", field, "--out", "refused.h5",
                                    environment=environment)
        else:
            self.network((4,), "", "")
            status, text = self.run("train", "network-0.yaml", "--out", "refused", "--set", f"data.train.path={file}",
                                    environment=environment)
        missing = [word for word in words if word not in text]
        fault = ""
        if status != 1:
            fault = f"status {status} instead of a refusal: {text.strip()[-300:]}"
        elif missing:
            fault = f"does not say {missing}: {text.strip()}"
        self.score(name, fault, True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program", help="the built lockstep")
    p.add_argument("--only", default="", metavar="WORD", help="only checks whose line and name hold this word")
    p.add_argument("--keep", metavar="FOLDER", help="write files and networks there and leave them")
    args = p.parse_args()
    program = os.path.abspath(args.program)
    if not os.access(program, os.X_OK):
        sys.exit(f"foreign-files: there is no program {program}. Build it first, or give its path.")
    folder = os.path.abspath(args.keep) if args.keep else tempfile.mkdtemp(prefix="foreign-files-")
    os.makedirs(folder, exist_ok=True)
    campaign = Campaign(program, folder, args.only)
    try:
        import foreign_cases
        foreign_cases.check_all(campaign)
    finally:
        if not args.keep:
            shutil.rmtree(folder)
    print("| file | right values | right refusals | wrong |")
    print("|---|---|---|---|")
    for line, (values, refusals, wrong) in campaign.counts.items():
        print(f"| {line} | {values} | {refusals} | {wrong} |")
    for fault in campaign.wrong:
        print(f"\nWrong: {fault}")
    n_checks = sum(map(sum, campaign.counts.values()))
    print(f"\n{n_checks} checks, {len(campaign.wrong)} wrong")
    return 1 if campaign.wrong or n_checks == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
