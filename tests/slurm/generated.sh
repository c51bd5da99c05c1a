#!/usr/bin/env bash
# What `lockstep slurm` writes, under a real Slurm of two nodes (tests/slurm/two-nodes):
#
#   tests/slurm/generated.sh path/to/lockstep
#
# The script runs; is told to save and comes back by itself; goes on on one node while the other is drained; a signal to one
# rank alone ends all at one step; an array; a chain that makes no progress stops and says why. All finished runs hold the
# same bits (h5diff). Ends with status 77 and a sentence where there is no Slurm. About a minute and a half.
set -euo pipefail
[ $# -eq 1 ] || { sed -n 4p "$0" >&2; exit 2; }
lockstep=$(realpath "$1")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fail() { echo "FAILED: $*" >&2; tail -n 20 "$work"/*.log >&2 || true; exit 1; }
command -v h5diff >/dev/null || { echo "skipped: h5diff is not installed (Debian: hdf5-tools)"; exit 77; }

work=$(mktemp -d "${TMPDIR:-/tmp}/lockstep-slurm-XXXXXX")
clean_up() {
  scancel --full -u root 2>/dev/null || true
  "$here/two-nodes" stop "$work/slurm" || true
  if [ -z "${KEEP:-}" ]; then rm -rf "$work"; else echo "kept: $work"; fi
}
trap clean_up EXIT
status=0
"$here/two-nodes" start "$work/slurm" || status=$?
[ $status -eq 0 ] || exit $status
export SLURM_CONF=$work/slurm/slurm.conf
cd "$work"

awk 'BEGIN {srand(1); for (i = 0; i < 1024; ++i) {
  c = i % 10; s = ""; for (k = 0; k < 64; ++k) s = s int(16 * rand() * ((k + c) % 10 < 4 ? 1 : 0.3)) ","; print s c}}' >made-up.csv
"$lockstep" convert csv made-up.csv --shape 1,8,8 --out data >convert.log 2>&1 || fail convert
cat >job.yaml <<YAML
name: generated
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

write() {  # NAME options of lockstep slurm
  local name=$1
  shift
  "$lockstep" slurm job.yaml --program "${program:-$lockstep}" --run "$work/$name" --out "$name.sbatch" --overwrite "$@" >"write-$name.log" 2>&1 ||
    fail "lockstep slurm $*: $(cat "write-$name.log")"
}
state_of() { scontrol show job "$1" | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p' | head -n 1; }
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
completes() { wait_for 200 "$2 to end" is_over "$1"; is_state "$1" COMPLETED || fail "$2 ended as $(state_of "$1")"; }
last_checkpoint() { find "$1/checkpoints" -name 'step-*.h5' | sort | tail -n 1; }
equal_to_calm() {
  local a b
  a=$(last_checkpoint calm) b=$(last_checkpoint "$1")
  [ "$(h5diff --verbose "$a" "$b" | grep -c '^dataset:' || true)" -ge 10 ] || fail "h5diff compared nothing in $b"
  h5diff "$a" "$b" || fail "$1 ended with other bits"
}

start_again() { sleep 3; scontrol update jobid="$1" StartTime=now; }   # PMIx has to forget the first start

write calm --nodes 2 --time 20
calm=$(sbatch --parsable --output=calm.log calm.sbatch)
completes "$calm" "the undisturbed run"

# Told to save (as before a limit): back in the queue by itself, then a node is gone, and one node goes on.
write told --nodes 2 --time 20
told=$(sbatch --parsable --output=told.log told.sbatch)
wait_for 100 "the first steps" has_lines told/metrics.jsonl 20
scancel --signal=USR1 "$told"
wait_for 60 "the job to be back in the queue" is_state "$told" PENDING
start_again "$told"
completes "$told" "the run that was told to save"
grep -q '"kind": "resume"' told/metrics.jsonl || fail "the second start did not resume"
equal_to_calm told
echo "requeued after a signal: equal bits"

write drained --nodes 2 --time 20
drained=$(sbatch --parsable --output=drained.log drained.sbatch)
wait_for 100 "the first steps" has_lines drained/metrics.jsonl 20
scancel --signal=USR1 "$drained"
wait_for 60 "the job to be back in the queue" is_state "$drained" PENDING
scontrol update nodename=two2 state=drain reason=test
scancel "$drained"
write drained --nodes 1 --ranks-per-node 1 --time 20
alone=$(sbatch --parsable --output=drained.log drained.sbatch)
completes "$alone" "the run on the node that is left"
scontrol update nodename=two2 state=resume
equal_to_calm drained
echo "one node drained, gone on on the other: equal bits"

write one --nodes 2 --time 20
one=$(sbatch --parsable --output=one.log one.sbatch)
wait_for 100 "the first steps" has_lines one/metrics.jsonl 20
rank=$(pgrep -f "$lockstep train job.yaml --out $work/one" | tail -n 1)
kill -USR1 "$rank"
wait_for 60 "the job to be back in the queue" is_state "$one" PENDING
start_again "$one"
completes "$one" "the run of which one rank was signalled"
equal_to_calm one
echo "a signal to one rank alone: equal bits"

write seeds --nodes 1 --time 20 --array 1-2
seeds=$(sbatch --parsable --output=seeds-%a.log seeds.sbatch)
for task in 1 2; do wait_for 200 "task $task" is_over "${seeds}_$task"; done
for task in 1 2; do [ -f "seeds-$task/checkpoints/last.h5" ] || fail "task $task has no checkpoint"; done
echo "an array of two seeds: both there"

# A program that never gets to a checkpoint: the third link does not start it.
cat >stuck <<SCRIPT
#!/bin/sh
[ "\$1" != slurm ] || exec "$lockstep" "\$@"
echo started >>"$work/starts"
exit 85
SCRIPT
chmod +x stuck
program=$work/stuck write chain --nodes 1 --time 20 --chain 9
sed -i 's/^srun [^\\]*/env /' chain.sbatch   # it is no MPI program
sbatch chain.sbatch >/dev/null
chain_stopped() { grep -qs 'two starts in a row' generated-*.log && [ -z "$(squeue -h -n generated -o %i)" ]; }
wait_for 120 "the chain to stop" chain_stopped
[ "$(wc -l <starts)" -eq 2 ] || fail "the chain started $(wc -l <starts) times, not twice"
echo "a chain without progress: stopped after two starts"
echo passed
