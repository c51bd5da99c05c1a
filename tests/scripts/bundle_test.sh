#!/usr/bin/env bash
# bundle_test.sh BUILD_FOLDER: packs a bundle, unpacks it elsewhere and uses it where no library of the
# build machine can be seen: in a root folder that holds glibc, a shell and the bundle alone, and CUDA where
# it is installed (chroot in a mount namespace). Where namespaces are not permitted, the same commands run in plain sight, and only the
# loader's list shows that every library comes from the bundle. Ends with 77 and a sentence where it cannot run.
set -euo pipefail

source_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
loader=/lib64/ld-linux-x86-64.so.2
skip() { echo "skipped: $*"; exit 77; }
fail() { echo "FAILED: $*" >&2; exit 1; }

[ $# -eq 1 ] || { sed -n '2p' "$0" >&2; exit 2; }
[ -x $loader ] || skip "bundles are for x86-64 Linux with glibc"
for program in strip objdump ldd ompi_info cc cmp; do command -v $program >/dev/null || skip "$program is not installed"; done
grep -q '^LOCKSTEP_SANITIZE:STRING=.' "$1/CMakeCache.txt" && skip "programs with sanitizers need them at run time"

work=$(mktemp -d "${TMPDIR:-/tmp}/lockstep-bundle-XXXXXX")
trap 'rm -rf "$work"' EXIT
place=/opt/some/where root=$work/root
mkdir -p "$root"/{tmp,proc,sys,dev,etc,bin,lib64,lib/x86_64-linux-gnu,usr,work} "$root$place"
ln -s ../bin ../lib ../lib64 "$root/usr/"

"$source_folder/scripts/bundle" --build "$1" --out "$work/bundle.tar.gz"
tar -xzf "$work/bundle.tar.gz" -C "$root$place"
bundle=$root$place/lockstep-bundle

# 1. The loader finds every library of every program in the bundle, or it is glibc's.
n_resolved=0
for file in "$bundle"/libexec/* "$bundle"/openmpi/bin/mpirun; do
  while read -r name _ path _; do
    case $name in linux-vdso* | */ld-linux*) continue ;; esac
    case $path in
      "$bundle"/lib/*) n_resolved=$((n_resolved + 1)) ;;
      not | */lib*.so.*) [[ $(dpkg-query -S "$path" "/usr$path" 2>/dev/null) = *libc6:* || $name =~ ^lib(cuda|cudnn|cublas|nccl|nv) ]] ||
        fail "$(basename "$file") needs $name, which is not in the bundle (the loader says: $path)" ;;
      *) fail "unexpected from the loader for $file: $name $path" ;;
    esac
  done < <(LD_TRACE_LOADED_OBJECTS=1 "$loader" --library-path "$bundle/lib" "$file")
done
[ $n_resolved -ge 50 ] || fail "only $n_resolved libraries were resolved"
echo "every program: $n_resolved times a library of the bundle, else glibc's"

# 2. The launcher looks for what the machine must have: a library that lies nowhere, in a folder of
# CUDA's kind, and among a Python's packages.
echo 'int answer(void) { return 42; }' | cc -shared -x c - -Wl,-soname,liblockstep_absent.so.1 -o "$work/liblockstep_absent.so.1"
echo 'int answer(void); int main(void) { return answer(); }' | cc -x c - -x none "$work/liblockstep_absent.so.1" -o "$bundle/libexec/needs_absent"
status_of() { local status=0; "$@" >"$work/said" 2>&1 || status=$?; echo $status; }
[ "$(status_of "$bundle/run" needs_absent)" = 1 ] || fail "the launcher started a program whose library is missing"
grep -q 'needs liblockstep_absent.so.1, neither in this bundle nor on this machine' "$work/said" || fail "$(cat "$work/said")"
mkdir -p "$work"/{toolkit/lib64,wheels/nvidia/absent/lib,venv/bin}
ln -s "$work/liblockstep_absent.so.1" "$work/toolkit/lib64/"
ln -s "$work/liblockstep_absent.so.1" "$work/wheels/nvidia/absent/lib/"
[ "$(CUDA_HOME=$work/toolkit status_of "$bundle/run" needs_absent)" = 42 ] || fail "not found by CUDA_HOME: $(cat "$work/said")"
[ "$(LD_LIBRARY_PATH=$work/toolkit/lib64 status_of "$bundle/run" needs_absent)" = 42 ] || fail "not found by LD_LIBRARY_PATH"
if command -v python3 >/dev/null; then
  printf '#!/bin/sh\nPYTHONPATH="%s" exec python3 "$@"\n' "$work/wheels" >"$work/venv/bin/python3"
  chmod +x "$work/venv/bin/python3"
  sed -i "s|exec python3|exec $(command -v python3)|" "$work/venv/bin/python3"
  [ "$(LOCKSTEP_PYTHON=$work/venv/bin/python3 status_of "$bundle/run" needs_absent)" = 42 ] || fail "not found in wheels: $(cat "$work/said")"
  [ "$(VIRTUAL_ENV=$work/venv status_of "$bundle/run" needs_absent)" = 42 ] || fail "not found in the environment's wheels"
fi
rm "$bundle/libexec/needs_absent"
[ "$(status_of "$bundle/run" no_such_program)" = 1 ] || fail "an unknown program did not end with 1"

# 3. Train with it. The daemon of a second, made-up machine starts as by ssh, with an empty environment.
awk 'BEGIN {srand(1); for (i = 0; i < 128; ++i) {
  s = ""; for (k = 0; k < 64; ++k) s = s int(16 * rand() * ((k + i) % 10 < 4 ? 1 : 0.3)) ","; print s i % 10}}' >"$root/work/made-up.csv"
cat >"$root/work/job.yaml" <<'YAML'
name: bundle
seed: 7
model: {zoo: lenet5, classes: 10}
data: {train: {path: data, input: image, target: label}}
batch: {global: 32, micro: 8}
loss: softmax_cross_entropy
optimizer: {sgd: {lr: 0.02, momentum: 0.9}}
train: {epochs: 2}
YAML
cat >"$root/work/ssh" <<'SH'
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
shift
echo used >"$0.log"
exec env -i PATH=/usr/bin:/bin OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 sh -c "$*"
SH
cat >"$root/work/use" <<'SH'
set -eu
bundle=$1 here=$2
cd "$here"
ln -s "$bundle/lockstep" lockstep       # through a link, from another folder
./lockstep --version
"$bundle/mpirun" -n 2 "$bundle/lockstep" doctor
./lockstep convert csv made-up.csv --shape 1,8,8 --out data
./lockstep train job.yaml --out one
"$bundle/mpirun" -n 2 "$bundle/lockstep" train job.yaml --out two
"$bundle/mpirun" -n 2 -H "$(cat /proc/sys/kernel/hostname):1,elsewhere:1" --mca plm_rsh_agent "$here/ssh" \
  "$bundle/lockstep" train job.yaml --out far
n_equal=0
for checkpoint in one/checkpoints/step-*.h5; do
  cmp "$checkpoint" "two/checkpoints/${checkpoint##*/}"
  cmp "$checkpoint" "far/checkpoints/${checkpoint##*/}"
  n_equal=$((n_equal + 1))
done
[ $n_equal -ge 1 ]
cat ssh.log
"$bundle/lockstep" bench scaling "$bundle/jobs/bench-mlp.yaml" --ranks 1,2 --steps 2 --set batch.micro=32 --set batch.global=32
"$bundle/run" kernels_reshape_test
"$bundle/tests/kernels_random_test"
"$bundle/bin/lockstep_conv_limit" "$bundle/jobs/bench-mlp.yaml" --batch 32
echo "equal checkpoints of 1 and 2 ranks: $n_equal"
SH
chmod +x "$root/work/ssh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMP_NUM_THREADS=1 \
  OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1
unset LD_LIBRARY_PATH

# The other machine: glibc, a few tools, and what those need.
copy_with_libraries() {
  local library
  cp -L "$1" "$root/bin/${2:-}"
  while read -r library; do cp -Lu "$library" "$root/lib/x86_64-linux-gnu/"; done < <(ldd "$1" | awk '$3 ~ /^\// {print $3}')
}
for tool in readlink dirname cmp env cat ln; do copy_with_libraries "$(type -P $tool)"; done
# sed has libraries that the bundle has too (libpcre2-8, by way of SELinux): they are its own.
mkdir -p "$root/tools/lib"
cp -L "$(type -P sed)" "$root/tools/"
while read -r library; do
  [ "${library##*/}" = libc.so.6 ] || cp -Lu "$library" "$root/tools/lib/"
done < <(ldd "$(type -P sed)" | awk '$3 ~ /^\// {print $3}')
printf '#!/bin/sh\nLD_LIBRARY_PATH=/tools/lib exec /tools/sed "$@"\n' >"$root/bin/sed"
chmod +x "$root/bin/sed"
copy_with_libraries "$(readlink -f /bin/sh)" sh
cp -L $loader "$root/lib64/"
glibc=$(dirname "$("$loader" --list /bin/sh | awk '$1 == "libc.so.6" {print $3}')")
for library in c m pthread dl rt resolv util nss_files nss_dns; do cp -L "$glibc/lib$library".so.[0-9]* "$root/lib/x86_64-linux-gnu/" 2>/dev/null || true; done
echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
for library in "$bundle"/lib/*; do
  [ ! -e "$root/lib/x86_64-linux-gnu/${library##*/}" ] || fail "${library##*/} lies beside the bundle: nothing would be shown"
done

# CUDA's libraries are the machine's, in their usual place.
cuda=${CUDA_HOME:-/usr/local/cuda}
mkdir -p "$root/usr/local/cuda/lib64"
[ -d "$cuda/lib64" ] || cuda=

namespaces=
for options in -m -rm; do
  if unshare $options true 2>/dev/null; then namespaces=$options; break; fi
done
if [ -n "$namespaces" ]; then
  unshare $namespaces sh -eu -c '
    for folder in proc sys dev; do mount --rbind "/$folder" "$1/$folder"; done
    [ -z "$3" ] || mount --rbind "$3/lib64" "$1/usr/local/cuda/lib64"
    exec chroot "$1" /bin/sh /work/use "$2" /work' sh "$root" "$place/lockstep-bundle" "$cuda"
  echo "passed; the machine's libraries but glibc, CUDA and those of the shell's tools were out of sight"
else
  sh "$root/work/use" "$bundle" "$root/work"
  echo "passed, but namespaces are not permitted here: the original libraries were not hidden"
fi
