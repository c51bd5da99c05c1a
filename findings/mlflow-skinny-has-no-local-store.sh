#!/usr/bin/env bash
# mlflow-skinny 3.17.2, the package for programs that only log.
# Guess: it records a run on the local disk, in a folder (file:…) as MLflow has done by default since its beginning, or in the
# SQLite file that is the new default.
# Behaviour: neither. The default, and any sqlite: address, is refused because the package has no SQLAlchemy, with a list of
# supported schemes that names file; file is refused as being in maintenance mode, with the advice to use sqlite. Only the
# variable MLFLOW_ALLOW_FILE_STORE=true lets a run be logged without a server.
# Seen:
#   default: UnsupportedModelRegistryStoreURIException
#   sqlite:///m.db: UnsupportedModelRegistryStoreURIException
#   file:runs: MlflowException
#   file:runs: logged, with MLFLOW_ALLOW_FILE_STORE
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q mlflow-skinny==3.17.2
cat >"$folder/look.py" <<'PYTHON'
import os, sys
import mlflow
address = sys.argv[1]
if address != "default":
    mlflow.set_tracking_uri(address)
allowed = ", with MLFLOW_ALLOW_FILE_STORE" if "MLFLOW_ALLOW_FILE_STORE" in os.environ else ""
try:
    with mlflow.start_run():
        mlflow.log_metrics({"loss": 0.5}, step=1)
    print(f"{address}: logged{allowed}")
except Exception as error:
    print(f"{address}: {type(error).__name__}")
PYTHON
cd "$folder"
unset MLFLOW_TRACKING_URI MLFLOW_ALLOW_FILE_STORE
{
  for address in default sqlite:///m.db file:runs; do venv/bin/python look.py $address 2>/dev/null; done
  MLFLOW_ALLOW_FILE_STORE=true venv/bin/python look.py file:runs 2>/dev/null
} | tee seen
diff seen - <<'SEEN'
default: UnsupportedModelRegistryStoreURIException
sqlite:///m.db: UnsupportedModelRegistryStoreURIException
file:runs: MlflowException
file:runs: logged, with MLFLOW_ALLOW_FILE_STORE
SEEN
