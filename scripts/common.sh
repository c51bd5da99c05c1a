# shellcheck shell=bash
# Sourced by bundle, quickstart, test and sanitize: folders, job count, the environment of mpirun,
# steps with a title and a time, and the one way to configure and build. Quickstart and test
# use the same folder and the same flags, so that neither compiles what the other has.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${LOCKSTEP_BUILD:-$root/build}
log_folder=$build/log
cd "$root"

# Lets ccache find what another clone of the repository has compiled.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$root} CCACHE_NOHASHDIR=1

# Compiling one file takes up to about 1.5 GiB.
n_jobs() {
  local cores memory_gib
  cores=$(nproc)
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
[ "$(nproc)" -lt 4 ] && export OMPI_MCA_mpi_yield_when_idle=1
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

fail() { printf '\n%s\n' "$*" >&2; exit 1; }

# step TITLE COMMAND...: runs it with its output in a log file; prints the title and the time,
# on a terminal also the log's last line while it runs, and the log's end if it fails.
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
      printf '\r%-46s%.60s\033[K' "$title" "$(tail -n 1 "$log" | tr -d '\r')"
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
