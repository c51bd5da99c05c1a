#!/usr/bin/env bash
# A Slurm of two nodes, n1 and n2, on this machine alone, for tests:
#
#   tests/slurm/slurm_box.sh start FOLDER PORT    then export SLURM_CONF=FOLDER/slurm.conf
#   tests/slurm/slurm_box.sh stop FOLDER
#
# Partition low is preempted by partition high, and requeued. Needs root, Debian's slurm-wlm and munge; ends
# with status 77 and a sentence where they are missing. Each slurmd lives in a host name space of its own, so
# that MPI sees two hosts; all listen on the loopback interface, on PORT to PORT + 2.
set -euo pipefail

skip() { echo "skipped: $*"; exit 77; }

start() {
  local folder=$1 port=$2 host node
  [ "$(id -u)" = 0 ] || skip "a Slurm of two nodes on one machine needs root"
  for program in slurmctld slurmd munged munge srun unshare; do
    command -v $program >/dev/null || skip "$program is not installed (Debian: slurm-wlm munge)"
  done
  unshare --mount --uts true 2>/dev/null || skip "this machine allows no name spaces (unshare)"
  host=$(hostname -s)
  mkdir -p "$folder"/{state,log,run} /run/pmix
  # Two cores for each node, whatever the machine has: config_overrides lets the nodes promise them.
  cat >"$folder/slurm.conf" <<CONF
ClusterName=lockstep
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
SlurmdParameters=config_overrides
AuthType=auth/munge
MpiDefault=pmix
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/%n.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=10
SchedulerParameters=sched_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + 2))] CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes=n[1-2] Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=n[1-2] State=UP PriorityTier=10 PreemptMode=OFF
CONF
  echo 'PMIxCliTmpDirBase=/run/pmix' >"$folder/mpi.conf"
  if ! munge -n 2>/dev/null | unmunge >/dev/null 2>&1; then
    mkdir -p /run/munge /var/log/munge && chown munge: /run/munge /var/log/munge
    [ -f /etc/munge/munge.key ] || { head -c 1024 /dev/urandom >/etc/munge/munge.key; chown munge: /etc/munge/munge.key; chmod 400 /etc/munge/munge.key; }
    su -s /bin/sh munge -c munged || skip "munged does not start"
    for _ in 1 2 3 4 5; do munge -n 2>/dev/null | unmunge >/dev/null 2>&1 && break; sleep 1; done
  fi
  export SLURM_CONF=$folder/slurm.conf
  slurmctld
  for node in n1 n2; do
    mkdir -p "$folder/$node" "$folder/pmix-$node"
    unshare --mount --uts sh -c "hostname $node; mount --bind '$folder/pmix-$node' /run/pmix; exec slurmd -N $node"
  done
  for _ in $(seq 60); do
    [ "$(sinfo -h -t idle -p low -o %D 2>/dev/null)" = 2 ] && return
    sleep 0.5
  done
  skip "the nodes did not come up: $(tail -n 3 "$folder"/log/*.log)"
}

stop() {
  local file
  for file in "$1"/run/*.pid; do [ ! -f "$file" ] || kill "$(cat "$file")" 2>/dev/null || true; done
}

case ${1:-} in
  start) start "$2" "$3" ;;
  stop) stop "$2" ;;
  *) sed -n '2,9p' "$0"; exit 2 ;;
esac
