#!/usr/bin/env python3
"""scripts/gpu-check where there is no GPU: programs that pass, fail, crash, skip and never end stand in
for Lockstep's, nvidia-smi, compute-sanitizer and a Python with PyTorch. Judged are the table, the JSON, the
exit status, and that nothing is left running."""
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

GPU_CHECK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "gpu-check")
PASSES = """echo '[ RUN      ] A.One
[       OK ] A.One (3 ms)
[ RUN      ] A.Two
[       OK ] A.Two (0 ms)
[ RUN      ] A.Three
[  SKIPPED ] A.Three (0 ms)
[  PASSED  ] 2 tests.'"""
FAILS = """echo '[ RUN      ] Sweep/A.One/0
[  FAILED  ] Sweep/A.One/0, where GetParam() = 8-byte object (3 ms)
[ RUN      ] A.Two
[       OK ] A.Two (0 ms)
[  FAILED  ] 1 test, listed below:
[  FAILED  ] Sweep/A.One/0, where GetParam() = 8-byte object'; exit 1"""
HANGS = """echo '[ RUN      ] A.Loop'; sleep 1000 & echo $! >>"$(dirname "$0")/pids"; wait"""
BANDWIDTH = json.dumps({"copy_gb_per_s": 4000.0, "copy_again_gb_per_s": 4010.0, "cases": [
    {"name": "copy", "gb_per_s": 4000.0, "share_of_copy": 1.0}, {"name": "add/64M", "gb_per_s": 3800.0, "share_of_copy": 0.95},
    {"name": "adam/64M", "gb_per_s": 1000.0, "share_of_copy": 0.25}, {"name": "dropout", "error": "no kernel"}]})
LOCKSTEP = """case "$1" in
  --version) echo 'lockstep 9.9' ;;
  doctor) echo '{"gpus": 1}' ;;
  bench) echo "$@" >>"$(dirname "$0")/said"; echo '{"samples_per_s": 1000.0, "step_ms": 128.0}' ;;
esac"""
SANITIZER = """case "$*" in
  *kernels_bad*) echo '========= Invalid __global__ write of size 4 bytes'; n=2 ;; *) n=0 ;;
esac
echo "$*" >>"$(dirname "$0")/said"
echo '[ RUN      ] A.One
[       OK ] A.One (3 ms)'
case "$*" in *racecheck*) echo "========= RACECHECK SUMMARY: $n hazards displayed ($n errors, 0 warnings)" ;;
  *) echo "========= ERROR SUMMARY: $n errors" ;;
esac"""
# A Python whose torch sees a GPU; bench/compare finishes for the MLP and fails for other models.
PYTHON = """case "$*" in
  *bench/compare*mlp*) while [ "$1" != --out ]; do shift; done
    echo '{"cases": [{"lockstep_median": 1200.0, "pytorch_median": 1000.0, "ratio": 1.2, "pytorch_variant": "eager"}]}' >"$2" ;;
  *bench/compare*) echo 'RuntimeError: no twin' >&2; exit 1 ;;
  *is_available*raise*|*raise*is_available*) exit 0 ;;
  *torch*) echo '{"PyTorch": "9.9"}' ;;
  *) echo '{"cuDNN": "9.19.0", "NCCL": null}' ;;
esac"""


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class GpuCheck(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.script("path/nvidia-smi", "echo 'NVIDIA H000, 570.1, 143771 MiB, 9.0'")
        self.script("bin/lockstep", LOCKSTEP)

    def script(self, name, text):
        path = os.path.join(self.folder.name, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(f"#!/bin/sh\n{text}\n")
        os.chmod(path, 0o755)
        return path

    def said(self, name):
        with open(os.path.join(self.folder.name, name)) as f:
            return f.read()

    def check(self, only, *options, minutes=5, path="path"):
        """(exit status, rows by item, what was printed)"""
        env = dict(os.environ, PATH=f"{self.folder.name}/{path}:/usr/bin:/bin", CUDA_HOME=self.folder.name)
        out = os.path.join(self.folder.name, "out")
        done = subprocess.run([sys.executable, GPU_CHECK, "--build", self.folder.name, "--out", out, "--only", only, "--jobs", "2",
                               "--minutes", str(minutes), *options], capture_output=True, text=True, env=env, timeout=60)
        with open(os.path.join(out, "gpu-check.json")) as f:
            result = json.load(f)
        self.assertTrue(result["finished"], done.stderr)
        return done.returncode, {row["item"]: row for row in result["rows"]}, done.stdout

    def test_counts_of_programs_that_pass_fail_crash_and_skip(self):
        self.script("tests/kernels_good_cuda_test", PASSES)
        self.script("tests/kernels_bad_cuda_test", FAILS)
        self.script("tests/kernels_crash_cuda_test", "echo '[ RUN      ] A.Deep'; kill -SEGV $$")
        self.script("tests/kernels_absent_cuda_test", "echo 'skipped: no usable CUDA device'; exit 77")
        self.script("tests/kernels_empty_cuda_test", "true")
        self.script("tests/device_training_cuda_test", PASSES)
        status, rows, printed = self.check("ops,training")
        self.assertEqual(status, 1)
        verdicts = {item: (row["part"], row["result"], row["verdict"]) for item, row in rows.items()}
        self.assertEqual(verdicts["kernels_good_cuda_test"], ("ops", "2 passed, 0 failed, 1 skipped", "ok"))
        self.assertEqual(verdicts["kernels_bad_cuda_test"], ("ops", "1 passed, 1 failed, 0 skipped; Sweep/A.One/0", "FAILED"))
        self.assertEqual(verdicts["kernels_absent_cuda_test"], ("ops", "skipped: no usable CUDA device", "skipped"))
        self.assertEqual(verdicts["kernels_empty_cuda_test"][1:], ("no test ran", "FAILED"))
        self.assertEqual(verdicts["device_training_cuda_test"], ("training", "2 passed, 0 failed, 1 skipped", "ok"))
        self.assertIn("SIGSEGV", verdicts["kernels_crash_cuda_test"][1])
        self.assertIn("A.Deep", verdicts["kernels_crash_cuda_test"][1])
        self.assertIn("3 FAILED, 2 ok, 1 skipped", printed)
        for item in rows:
            self.assertIn(item, printed)
        self.assertIn("[  FAILED  ] Sweep/A.One/0", self.said("out/gpu-check.log"))

    def test_a_program_without_end_is_ended_and_the_other_parts_go_on(self):
        self.script("tests/kernels_loop_cuda_test", HANGS)
        self.script("tests/last_cuda_test", PASSES)
        begin = time.time()
        status, rows, _ = self.check("ops,training", minutes=0.06)
        self.assertLess(time.time() - begin, 20)
        self.assertEqual(status, 1)
        self.assertEqual(rows["kernels_loop_cuda_test"]["verdict"], "timeout")
        self.assertIn("stopped in A.Loop", rows["kernels_loop_cuda_test"]["result"])
        self.assertEqual(rows["last_cuda_test"]["verdict"], "ok")
        for pid in self.said("tests/pids").split():
            self.assertFalse(is_running(pid), "what the program started still runs")

    def test_all_parts_where_all_is_well(self):
        self.script("tests/kernels_good_cuda_test", PASSES)
        self.script("tests/device_training_cuda_test", PASSES)
        self.script("bin/lockstep_gpu_bandwidth", f"echo '{BANDWIDTH}'")
        self.script("bin/compute-sanitizer", SANITIZER)
        python = self.script("path/python9", PYTHON)
        status, rows, printed = self.check("machine,ops,training,sanitizer,bandwidth", "--python", python)
        self.assertEqual(status, 0, printed)
        self.assertEqual(rows["GPU 0"]["result"], "NVIDIA H000, 143771 MiB, sm_90")
        self.assertEqual((rows["cuDNN"]["result"], rows["NCCL"]["verdict"], rows["PyTorch"]["result"]), ("9.19.0", "skipped", "9.9"))
        self.assertEqual(rows["lockstep sees"]["result"], "1 GPUs")
        self.assertEqual([rows[f"{tool} good"]["verdict"] for tool in ("memcheck", "racecheck")], ["ok", "ok"])
        self.assertEqual([rows[name]["verdict"] for name in ("add/64M", "adam/64M", "dropout")], ["ok", "slow", "skipped"])
        self.assertEqual(rows["add/64M"]["figure"], "95% of copy")
        again = subprocess.run([sys.executable, GPU_CHECK, "--from", os.path.join(self.folder.name, "out/gpu-check.json"), "--markdown"],
                               capture_output=True, text=True)
        self.assertEqual((again.returncode, again.stdout), (0, self.said("out/gpu-check.md")))
        self.assertIn("| bandwidth | add/64M | 3800 GB/s | 95% of copy | 70% | ok |", again.stdout)

    def test_findings_of_the_sanitizer_fail(self):
        self.script("tests/kernels_good_cuda_test", PASSES)
        self.script("tests/kernels_bad_cuda_test", PASSES)
        self.script("bin/compute-sanitizer", SANITIZER)
        status, rows, _ = self.check("sanitizer")
        self.assertEqual(status, 1)
        self.assertEqual((rows["memcheck bad"]["verdict"], rows["memcheck good"]["verdict"]), ("FAILED", "ok"))
        self.assertIn("2 findings", rows["racecheck bad"]["figure"])
        self.assertIn("--gtest_filter=-", self.said("bin/said"))
        self.assertNotIn("LD_LIBRARY_PATH", self.said("bin/said"))
        self.script("libexec/kernels_good_cuda_test", PASSES)  # as in a bundle
        self.check("sanitizer")
        self.assertIn(f"env LD_LIBRARY_PATH={self.folder.name}/lib:", self.said("bin/said"))
        self.assertIn("/libexec/kernels_good_cuda_test --gtest_filter=-", self.said("bin/said"))
        self.script("bin/compute-sanitizer", "echo 'Device not supported'; exit 1")
        status, rows, _ = self.check("sanitizer")
        self.assertEqual((status, rows["memcheck good"]["verdict"]), (1, "FAILED"))
        self.assertIn("no report", rows["memcheck good"]["result"])

    def test_steps_beside_pytorch_or_alone(self):
        python = self.script("path/python9", PYTHON)
        status, rows, _ = self.check("steps", "--quick", "--python", python)
        self.assertEqual(status, 1)
        self.assertEqual((rows["mlp bfloat16"]["figure"], rows["mlp bfloat16"]["verdict"]), ("1.20 of PyTorch", "ok"))
        self.assertIn("no twin", rows["resnet18_cifar bfloat16"]["result"])
        self.assertEqual(rows["resnet18_cifar bfloat16"]["verdict"], "FAILED")
        without = self.script("path/python8", "exit 1")
        status, rows, _ = self.check("steps", "--python", without)
        self.assertEqual((status, {row["verdict"] for row in rows.values()}), (0, {"ok"}))
        self.assertEqual(len(rows), 20)
        self.assertIn("PyTorch sees no GPU", rows["mlp tf32"]["result"])
        self.assertIn("--set device=cuda --set precision=tf32", self.said("bin/said"))

    def test_a_machine_without_gpu_or_programs_fails(self):
        self.script("path2/nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
        self.script("bin/lockstep", "exit 3")
        status, rows, _ = self.check("machine,ops,sanitizer,bandwidth,steps", path="path2")
        self.assertEqual(status, 1)
        self.assertEqual({rows[item]["verdict"] for item in ("GPU", "lockstep", "lockstep sees", "kernels_*_cuda_test",
                                                             "lockstep_gpu_bandwidth", "mlp float32")}, {"FAILED"})
        self.assertIn("has failed", rows["GPU"]["result"])

    def test_refuses_parts_that_there_are_not(self):
        done = subprocess.run([sys.executable, GPU_CHECK, "--only", "ops,moon"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("there is no part moon", done.stderr)


if __name__ == "__main__":
    unittest.main()
