# shellcheck shell=bash
# Sourced by bundle, quickstart, test and sanitize: folders, job count, the environment of mpirun,
# steps with a title and a time, and the one way to configure and build. Quickstart and test
# use the same folder and the same flags, so that neither compiles what the other has.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${LOCKSTEP_BUILD:-$root/build}
log_folder=$build/log
cd "$root"

# nproc counts no more than OMP_NUM_THREADS, which is 1 below.
n_cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)

# Lets ccache find what another clone of the repository has compiled.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$root} CCACHE_NOHASHDIR=1
# The tests' precompiled header counts by its content.
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros,include_file_mtime,include_file_ctime}

# Compiling one file takes up to about 1.5 GiB.
n_jobs() {
  local cores memory_gib
  cores=$n_cores
  memory_gib=$(awk '/MemAvailable/ {print int($2 / 1048576 / 1.5)}' /proc/meminfo 2>/dev/null || echo "$cores")
  [ "$memory_gib" -lt "$cores" ] && cores=$memory_gib
  [ "$cores" -lt 1 ] && cores=1
  echo "${LOCKSTEP_JOBS:-$cores}"
}

# One thread per rank, and no rank bound to a core that another mpirun on this host has taken
# as well. Containers often run as root and have fewer cores than a test has ranks.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export OMPI_MCA_hwloc_base_binding_policy=${OMPI_MCA_hwloc_base_binding_policy:-none}
export OMPI_MCA_rmaps_base_oversubscribe=1
[ "$n_cores" -lt 4 ] && export OMPI_MCA_mpi_yield_when_idle=1
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

fail() { printf '\n%s\n' "$*" >&2; exit 1; }

# progress LOG BEGIN: the log's last line; of a build that ninja counts also the minutes left, by the pace so far.
progress() {
  local line done all elapsed=$((SECONDS - $2))
  line=$(tail -n 1 "$1" | tr -d '\r')
  if [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]]; then
    done=${BASH_REMATCH[1]} all=${BASH_REMATCH[2]}
    line="$done of $all"
    [ "$elapsed" -lt 20 ] || line+=", about $(((elapsed * (all - done) / done + 59) / 60)) min left"
  fi
  printf '%.60s' "$line"
}

# step TITLE COMMAND...: runs it with its output in a log file; prints the title and the time,
# on a terminal also how far it is while it runs, and the log's end if it fails.
step() {
  local title=$1 log pid status=0 begin=$SECONDS
  shift
  mkdir -p "$log_folder"
  log=$log_folder/$(tr -cs 'a-zA-Z0-9' '-' <<<"$title" | sed 's/-*$//').log
  printf '%-46s' "$title"
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  trap 'kill $pid 2>/dev/null || true; exit 130' INT TERM
  if [ -t 1 ]; then
    while kill -0 $pid 2>/dev/null; do
      printf '\r%-46s%s\033[K' "$title" "$(progress "$log" $begin)"
      sleep 0.5
    done
    printf '\r%-46s\033[K' "$title"
  fi
  wait $pid || status=$?
  trap - INT TERM
  if [ $status -ne 0 ]; then
    printf 'FAILED (exit status %d)\n\n' $status
    tail -n 40 "$log"
    fail "The whole output is in $log"
  fi
  printf '%4d s\n' $((SECONDS - begin))
}

gpu_answers() { nvidia-smi -L 2>/dev/null | grep '^GPU' >/dev/null; }
is_configured() { grep -sq "^$1:" "$build/CMakeCache.txt"; }

# configure OPTIONS...: options are added to those that this folder already has.
configure() {
  local options=(-S "$root" -B "$build")
  if [ ! -f "$build/CMakeCache.txt" ]; then
    command -v ninja >/dev/null && options+=(-G Ninja)
    command -v ccache >/dev/null && options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    options+=(-DCMAKE_BUILD_TYPE=Release)
  fi
  [ -n "${LOCKSTEP_CUDA:-}" ] && options+=("-DLOCKSTEP_CUDA=$LOCKSTEP_CUDA")
  [ -n "${LOCKSTEP_WERROR:-}" ] && options+=("-DLOCKSTEP_WERROR=$LOCKSTEP_WERROR")
  cmake "${options[@]}" "$@"
}

compile() { cmake --build "$build" --parallel "$(n_jobs)" "$@"; }
