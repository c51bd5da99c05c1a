#!/usr/bin/env bash
# The scripts of `lockstep slurm` on a real Slurm of two nodes, which this test starts and ends: each disturbed
# run must finish with the weights of an undisturbed one, bit for bit (h5diff).
#
#   tests/slurm/slurm_box_test.sh path/to/lockstep [CASE…]
#
# Cases: preempted, one_rank, time_limit, drained, array, chain, no_progress, refused; all by default. Ends with
# status 77 and a sentence where no Slurm can be started.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fail() { echo "FAILED: $*" >&2; for f in "$work"/*.log; do [ ! -f "$f" ] || { echo "== $f" >&2; tail -n 25 "$f" >&2; }; done; exit 1; }
[ $# -ge 1 ] || { sed -n '5p' "$0" >&2; exit 2; }
command -v h5diff >/dev/null || { echo "skipped: h5diff is not installed (Debian: hdf5-tools)"; exit 77; }
LOCKSTEP=$(realpath "$1")
export LOCKSTEP OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
shift
cases=${*:-preempted one_rank time_limit drained array chain no_progress refused}

work=$(mktemp -d "${TMPDIR:-/tmp}/lockstep-slurm-XXXXXX")
box=$work/box
mkdir "$box"
clean_up() {
  SLURM_CONF=$box/slurm.conf timeout 10 scancel -u "$(id -un)" 2>/dev/null || true
  "$here/slurm_box.sh" stop "$box"
  sleep 1
  if [ -z "${KEEP:-}" ]; then rm -rf "$work"; else echo "kept: $work"; fi
}
trap clean_up EXIT
status=0
"$here/slurm_box.sh" start "$box" $((20000 + $$ % 10000 * 3)) || status=$?
[ $status -eq 0 ] || exit $status
export SLURM_CONF=$box/slurm.conf
cd "$work"

# 1,024 made-up 8x8 images, and a job that lasts long enough to be disturbed.
awk 'BEGIN {srand(1); for (i = 0; i < 1024; ++i) {
  c = i % 10; s = ""; for (k = 0; k < 64; ++k) s = s int(16 * rand() * ((k + c) % 10 < 4 ? 1 : 0.3)) ","; print s c}}' >made-up.csv
"$LOCKSTEP" convert csv made-up.csv --shape 1,8,8 --out data >convert.log 2>&1 || fail "convert"
cat >job.yaml <<YAML
name: box
seed: 7
device: cpu
model: {zoo: lenet5, classes: 10}
data: {train: {path: $work/data, input: image, target: label}, validation: {path: $work/data, input: image, target: label}}
batch: {global: 64, micro: 16}
loss: softmax_cross_entropy
optimizer: {sgd: {lr: 0.02, momentum: 0.9}}
train: {epochs: ${EPOCHS:-200}, validate_every_epochs: 100}
checkpoint: {every_epochs: 60, keep: 3}
YAML

state_of() { scontrol show job "$1" 2>/dev/null | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p' | head -n 1; }
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
trains() { [ -f "$1/metrics.jsonl" ] && [ "$(grep -c '"kind": "train"' "$1/metrics.jsonl")" -ge "${2:-20}" ]; }
last_checkpoint() { find "$1/checkpoints" -name 'step-*.h5' | sort | tail -n 1; }
queue_is_empty() { [ -z "$(squeue -h -n box -o %A)" ]; }
is_queued_again() { is_state "$1" PENDING; }
has_no_step() { ! pgrep -f "^slurmstepd: \\[$1\\." >/dev/null; }
# The PMIx sockets of a step are named by job and step: the old ones must be gone.
start_now() { wait_for 30 "the old step to end" has_no_step "$1"; scontrol update jobid="$1" StartTime=now; }
write_script() {  # RUN OPTIONS… -> RUN.sbatch
  local run=$1
  shift
  "$LOCKSTEP" slurm job.yaml --run "$work/$run" --nodes 2 --time 20 --out "$run.sbatch" "$@" >"$run.command.log" 2>&1 || fail "lockstep slurm $*"
}
submit() { local run=$1; shift; sbatch --parsable --output="$work/$run.log" "$@" "$run.sbatch"; }
expect_same_bits() {  # RUN
  local a b n
  a=$(last_checkpoint calm) b=$(last_checkpoint "$1")
  [ "$(basename "$a")" = "$(basename "${b:-none}")" ] || fail "last checkpoints differ in name: $a, $b"
  n=$(h5diff --verbose "$a" "$b" | grep -c '^dataset:' || true)
  [ "$n" -ge 10 ] || fail "h5diff compared only $n datasets"
  h5diff "$a" "$b" || fail "$1 ended with other bits"
  resumed=$(sed -n 's/.*"kind": "resume", "step": \([0-9]*\).*/\1/p' "$1/metrics.jsonl" | tail -n 1)
  [ "${resumed:-0}" -gt 0 ] || fail "$1 did not resume from a checkpoint"
  echo "passed: $1, resumed at step $resumed; $n datasets equal"
}
expect_completed() { wait_for 120 "$1 to end" is_over "$2"; is_state "$2" COMPLETED || fail "$1 ended as $(state_of "$2")"; }

preempted() {
  write_script preempted
  local job bully
  job=$(submit preempted -p low)
  wait_for 60 "first steps" trains preempted
  bully=$(sbatch --parsable -p high --nodes=2 --exclusive --time=5 --output=/dev/null --wrap 'sleep 1')
  wait_for 60 "the preempted job in the queue" is_queued_again "$job"
  wait_for 60 "the other job to end" is_over "$bully"
  start_now "$job"
  expect_completed preempted "$job"
  expect_same_bits preempted
}

one_rank() {  # USR1 to the process of one rank alone
  write_script one_rank
  local job pid
  job=$(submit one_rank)
  wait_for 60 "first steps" trains one_rank
  pid=$(pgrep -n -f "^$LOCKSTEP train job.yaml --out $work/one_rank ")
  kill -USR1 "$pid"
  wait_for 60 "the job in the queue" is_queued_again "$job"
  start_now "$job"
  expect_completed one_rank "$job"
  expect_same_bits one_rank
}

time_limit() {  # no signal: the run knows when Slurm ends the job, and leaves before
  write_script time_limit --signal-before 0
  local job ends=$(($(date +%s) + 8))
  # Slurm counts in minutes: this job is told an earlier end, at its first start.
  sed -i 's/ && export LOCKSTEP_END_TIME=$end$/; export LOCKSTEP_END_TIME=${ENDS:-$end}/' time_limit.sbatch
  job=$(ENDS=$ends submit time_limit)
  wait_for 60 "the first step" trains time_limit 1
  wait_for 60 "the job in the queue" is_queued_again "$job"
  grep -q 'before the time limit' time_limit.log || fail "the run did not say why it left"
  sleep $((ends + 1 - $(date +%s)))   # a time that has passed no longer counts
  start_now "$job"
  expect_completed time_limit "$job"
  expect_same_bits time_limit
}

drained() {  # its node goes; the job comes back on one node with both ranks
  write_script drained
  local job
  job=$(submit drained)
  wait_for 60 "first steps" trains drained
  scontrol update nodename=n2 state=drain reason=test
  scancel --signal=USR1 "$job"
  wait_for 60 "the job in the queue" is_queued_again "$job"
  scontrol update jobid="$job" NumNodes=1 NumTasks=1   # tasks of the allocation; srun starts two, still
  start_now "$job"
  expect_completed drained "$job"
  grep -q "start on n1: 2 ranks" drained.log || fail "the job did not come back on n1 alone"
  scontrol update nodename=n2 state=resume
  expect_same_bits drained
}

array() {
  write_script array --array 'kfold --folds 2' --set train.epochs=2
  local job
  job=$(sbatch --parsable --output="$work/array-%a.log" array.sbatch)
  local task
  for task in 1 2; do expect_completed "task $task" "${job}_$task"; done
  [ "$(grep -l '"status": "finished"' array/fold-*/metrics.jsonl | wc -l)" = 2 ] || fail "not both folds have finished"
  echo "passed: array, two folds"
}

chain() {  # the first link is told to leave; the second finishes, and the third is taken back
  write_script chain --chain 3
  local job next
  job=$(submit chain)
  wait_for 60 "first steps" trains chain
  next=$(squeue -h -n box -t PENDING -o %A | head -n 1)
  [ -n "$next" ] || fail "no link waits for the first one"
  scancel --signal=USR1 "$job"
  wait_for 60 "the first link to end" is_over "$job"
  expect_completed "the second link" "$next"
  wait_for 30 "no link to be left" queue_is_empty
  expect_same_bits chain
}

says_no_progress() { grep -qs 'made no progress' no_progress.log box-*.log; }
no_progress() {  # a chain whose links all leave before their first step ends, and says why
  write_script no_progress --chain 9
  cat >leaves_at_once <<PROGRAM
#!/bin/sh
case \$1 in slurm) exec "$LOCKSTEP" "\$@" ;; *) exit 85 ;; esac
PROGRAM
  chmod +x leaves_at_once
  LOCKSTEP=$work/leaves_at_once submit no_progress >/dev/null
  wait_for 90 "the chain to end" says_no_progress
  wait_for 30 "the queue to be empty" queue_is_empty
  [ "$(wc -l <no_progress/starts.jsonl)" = 3 ] || fail "$(wc -l <no_progress/starts.jsonl) starts, not 3"
  echo "passed: no_progress, ended at the third start"
}

refused() {
  local options
  while IFS='|' read -r options expected; do
    # shellcheck disable=SC2086 # several words
    if "$LOCKSTEP" slurm job.yaml $options >refused.out 2>&1; then fail "not refused: $options"; fi
    grep -q "$expected" refused.out || { cat refused.out; fail "$options: lacks '$expected'"; }
    [ "$(grep -c remedy refused.out)" = 1 ] || fail "$options: not one remedy"
  done <<'LIST'
--nodes 2 --time 10 --partition lo|choose one of: low, high
--nodes 2 --time 10 --gpus-per-node 4 --set device=cuda --set batch.micro=8|has no node with more GPUs than 0
--nodes 4 --time 10|has nodes: 2, and 4
--nodes 2 --time soon|is not a time limit
--nodes 3 --time 10|not a power of two
--nodes 8 --time 10|cannot share the 4 micro-batches
--nodes 2 --time 1 --signal-before 60|the signal comes before
LIST
  echo "passed: refused, seven lines"
}

write_script calm
calm=$(submit calm)
expect_completed calm "$calm"
for one in $cases; do $one; done
echo "passed in $SECONDS s: $cases"
