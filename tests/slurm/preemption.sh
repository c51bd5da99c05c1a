#!/usr/bin/env bash
# Trains one job twice under a real Slurm: undisturbed, and preempted in mid-run by a job of a
# partition with higher priority. slurm/train.sbatch must bring the second run back by itself,
# and its last checkpoint must hold the same bits as the first run's (h5diff).
#
#   tests/slurm/preemption.sh path/to/lockstep
#
# Needs a running cluster of two nodes (found through SLURM_CONF or the default configuration)
# whose partition $LOW is preempted by partition $HIGH with PreemptMode=REQUEUE. Ends with
# status 77 and a sentence where there is none. Takes about half a minute.
set -euo pipefail

low=${LOW:-low} high=${HIGH:-high}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
skip() { echo "skipped: $*"; exit 77; }
fail() { echo "FAILED: $*" >&2; [ -f "${log:-}" ] && tail -n 40 "$log" >&2; exit 1; }

[ $# -eq 1 ] || { sed -n '6p' "$0" >&2; exit 2; }
for program in sbatch scontrol sinfo squeue scancel h5diff; do
  command -v $program >/dev/null || skip "$program is not installed (Debian: slurm-wlm, hdf5-tools)"
done
[ "$(timeout 10 sinfo -h -p "$low" -o %D 2>/dev/null | awk '{n += $1} END {print n + 0}')" -ge 2 ] ||
  skip "no Slurm cluster with two nodes in partition $low answers (set SLURM_CONF)"
[ -n "$(timeout 10 sinfo -h -p "$high" -o %D 2>/dev/null)" ] || skip "the cluster has no partition $high"
[ "$(scontrol show config | awk '$1 == "PreemptMode" {print $3}')" != OFF ] || skip "the cluster preempts nothing"

LOCKSTEP=$(realpath "$1")
export LOCKSTEP
work=$(mktemp -d "${TMPDIR:-/tmp}/lockstep-preemption-XXXXXX")
jobs=()
clean_up() {
  [ ${#jobs[@]} -eq 0 ] || scancel "${jobs[@]}" 2>/dev/null || true
  if [ -z "${KEEP:-}" ]; then rm -rf "$work"; else echo "kept: $work"; fi
}
trap clean_up EXIT
cd "$work"

# A small job that lasts long enough to be interrupted: 1,024 made-up 8x8 images.
awk 'BEGIN {srand(1); for (i = 0; i < 1024; ++i) {
  c = i % 10; s = ""; for (k = 0; k < 64; ++k) s = s int(16 * rand() * ((k + c) % 10 < 4 ? 1 : 0.3)) ","; print s c}}' >made-up.csv
"$LOCKSTEP" convert csv made-up.csv --shape 1,8,8 --out data >convert.log 2>&1 || fail "convert: $(cat convert.log)"
cat >job.yaml <<YAML
name: preemption
seed: 7
device: cpu
model: {zoo: lenet5, classes: 10}
data: {train: {path: $work/data, input: image, target: label}}
batch: {global: 64, micro: 16}
loss: softmax_cross_entropy
optimizer: {sgd: {lr: 0.02, momentum: 0.9}}
train: {epochs: ${EPOCHS:-100}}
checkpoint: {every_epochs: 25, keep: 3}
YAML

submit() {  # RUN -> job id
  sbatch --parsable --partition="$low" --nodes=2 --ntasks-per-node=1 --time=20 --output="$work/$1.log" \
    "$root/slurm/train.sbatch" job.yaml "$work/$1"
}
state_of() { scontrol show job "$1" | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p'; }
wait_for() {  # SECONDS DESCRIPTION COMMAND...
  local limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt $limit ] || fail "waited in vain for: $what"
    sleep 0.2
  done
}
is_state() { [ "$(state_of "$1")" = "$2" ]; }
is_over() { case $(state_of "$1") in COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL) ;; *) return 1 ;; esac; }
has_lines() { [ -f "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; }
last_checkpoint() { find "$1/checkpoints" -name 'step-*.h5' | sort | tail -n 1; }

log=$work/calm.log
calm=$(submit calm); jobs+=("$calm")
wait_for 300 "the undisturbed run to end" is_over "$calm"
is_state "$calm" COMPLETED || fail "the undisturbed run ended as $(state_of "$calm")"

log=$work/disturbed.log
disturbed=$(submit disturbed); jobs+=("$disturbed")
wait_for 120 "the first steps of the run to be disturbed" has_lines disturbed/metrics.jsonl 20
bully=$(sbatch --parsable --partition="$high" --nodes=2 --exclusive --time=5 --output=/dev/null --wrap 'sleep 2')
jobs+=("$bully")
wait_for 60 "the preempted job to be back in the queue" is_state "$disturbed" PENDING
wait_for 60 "the job with priority to end" is_over "$bully"
scontrol update jobid="$disturbed" StartTime=now
wait_for 300 "the preempted run to end" is_over "$disturbed"
is_state "$disturbed" COMPLETED || fail "the preempted run ended as $(state_of "$disturbed")"
restarts=$(scontrol show job "$disturbed" | sed -n 's/.*Restarts=\([0-9]*\).*/\1/p')
[ "$restarts" = 1 ] || fail "the run was restarted $restarts times, not once"
resumed=$(sed -n 's/.*"kind": "resume", "step": \([0-9]*\).*/\1/p' disturbed/metrics.jsonl)
[ "${resumed:-0}" -gt 0 ] || fail "the second part did not resume from a checkpoint of the first"

a=$(last_checkpoint calm) b=$(last_checkpoint disturbed)
[ "$(basename "$a")" = "$(basename "${b:-none}")" ] || fail "last checkpoints differ in name: $a, $b"
n_compared=$(h5diff --verbose "$a" "$b" | grep -c '^dataset:' || true)
[ "$n_compared" -ge 10 ] || fail "h5diff compared only $n_compared datasets"
h5diff "$a" "$b" || fail "the preempted run ended with other bits"
echo "passed: preempted and resumed at step $resumed; $n_compared datasets of $(basename "$b") are equal"
