#!/usr/bin/env bash
# embed_test.sh BUILD_FOLDER: installs Lockstep into a fresh folder, builds examples/embed against it in another
# one, as a program elsewhere would, and trains with it on 1 and 2 ranks: equal bytes in their checkpoints. Nothing
# installed or built so may name the folders of Lockstep's source and build.
set -euo pipefail

source_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
fail() { echo "FAILED: $*" >&2; exit 1; }
[ $# -eq 1 ] || { sed -n '2p' "$0" >&2; exit 2; }
build=$(cd "$1" && pwd)
cached() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }
work=$(mktemp -d "${TMPDIR:-/tmp}/lockstep-embed-XXXXXX")
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >/dev/null
where=-rlFI  # programs for debuggers name their source
[ "$(cached CMAKE_BUILD_TYPE)$(cached LOCKSTEP_SANITIZE)" != Release ] || where=-rlF
for folder in "$build" "$source_folder"; do
  [[ $folder == /*/* ]] || continue  # such as /src, which is the end of other names too
  ! grep $where "$folder" "$work/prefix" || fail "these name $folder"
done
for file in bin/lockstep include/lockstep/lockstep.h include/lockstep/src/network/layer.h; do
  [ -f "$work/prefix/$file" ] || fail "$file is not installed"
done
[ ! -e "$work/prefix/include/lockstep/kernels/cpu" ] || fail "the backends' headers are nobody's"

# What the build used for the same things: compiler, launcher, generator.
options=(-G "$(cached CMAKE_GENERATOR)" "-DCMAKE_PREFIX_PATH=$work/prefix")
for name in CMAKE_C_COMPILER CMAKE_CXX_COMPILER CMAKE_CXX_COMPILER_LAUNCHER; do
  [ -z "$(cached $name)" ] || options+=("-D$name=$(cached $name)")
done
cp -r "$source_folder/examples/embed" "$work/embed"
cd "$work/embed"
CCACHE_BASEDIR=$work cmake -S . -B build "${options[@]}" -DCMAKE_CXX_FLAGS=-Wall >configured 2>&1 || fail "$(cat configured)"
CCACHE_BASEDIR=$work cmake --build build >built 2>&1 || fail "$(cat built)"
! grep -q warning: built || fail "$(cat built)"
! grep -rF "$source_folder" build/CMakeCache.txt build/*.ninja build/Makefile 2>/dev/null || fail "the example's build names Lockstep's source"

# A library that is missing is one sentence with its remedy, and no error where nobody insists.
mkdir "$work/asks"
echo 'cmake_minimum_required(VERSION 3.25)
project(asks)
find_package(Lockstep)
message(STATUS "found: ${Lockstep_FOUND}")' >"$work/asks/CMakeLists.txt"
cmake -S "$work/asks" -B "$work/asks/build" "${options[@]}" -DCMAKE_DISABLE_FIND_PACKAGE_oneDNN=ON >asked 2>&1 || fail "$(cat asked)"
for line in '-- found: (0|FALSE)' '.*Remedy:.*'; do grep -qxE -- "$line" asked || fail "no $line: $(cat asked)"; done
grep -q 'libdnnl-dev' asked || fail "$(cat asked)"

# Ten patterns of 12x12 pixels with noise, made into datasets by the installed program.
rows() {
  awk -v n="$1" -v seed="$2" 'BEGIN {
    srand(seed)
    for (i = 0; i < n; ++i) {
      line = ""
      for (p = 0; p < 144; ++p) line = line int(60 * rand() + 190 * ((p * (i % 10 + 2) + int(p / 12)) % 7 < 3)) ","
      print line i % 10
    }
  }'
}
rows 240 1 >train.csv
rows 80 2 >test.csv
for part in train test; do
  "$work/prefix/bin/lockstep" convert csv $part.csv --out data/$part --shape 1,12,12 >/dev/null
done

mpirun=$(cached MPIEXEC_EXECUTABLE)
for n in 1 2; do
  "$mpirun" -n $n build/embed data/train data/test run-$n >said-$n 2>&1 || fail "on $n ranks: $(cat said-$n)"
  grep "a wrong job: the program's job: optimizer" said-$n | grep -q "did you mean 'sign_momentum'" || fail "$(cat said-$n)"
  grep -q "a wrong job: no/such/data" said-$n || fail "$(cat said-$n)"
  [ "$(grep -c '^after epoch' said-$n)" = 4 ] || fail "$(cat said-$n)"
  grep '60 steps on' said-$n | sed "s/ on $n ranks//" >measured-$n
done
cat said-2
cmp measured-1 measured-2
grep -qE 'accuracy (0\.[6-9]|1\.0)' measured-1 || fail "it has not learned: $(cat measured-1)"
n_compared=0
for checkpoint in run-1/checkpoints/*.h5; do
  cmp "$checkpoint" "run-2/checkpoints/$(basename "$checkpoint")"
  n_compared=$((n_compared + 1))
done
[ $n_compared -ge 3 ] || fail "only $n_compared checkpoints"
echo "$n_compared checkpoints of 1 and 2 ranks are equal"

# An error on all ranks, and the status.
status=0
"$mpirun" -n 2 build/embed data/absent data/test run-3 >said-3 2>&1 || status=$?
[ $status -eq 1 ] || fail "status $status: $(cat said-3)"
[ "$(grep -c '^data/absent' said-3)" = 1 ] || fail "$(cat said-3)"
