#!/usr/bin/env bash
# Everything that needs a GPU, in at most nine minutes, without a network:
#
#     WHEELS=.wheels bash benchmarks/gpu_suite.sh OUT [options of `gpu_suite.py run`]
#
# OUT     folder for a JSON file of each part
# WHEELS  folder of `python benchmarks/gpu_suite.py pack`; without it the packages of this machine are used
# PYTHON  interpreter that has PyTorch
# MINI    folder of `make mini`, for the study of the embedded model
set -euo pipefail

if [ $# -lt 1 ] || [ "${1#-}" != "$1" ]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
out=$1
shift
python=${PYTHON:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)
path=$root

if [ -n "${WHEELS:-}" ]; then
  if [ ! -d "$WHEELS" ]; then
    echo "WHEELS is $WHEELS, which is no folder. Make it with: python benchmarks/gpu_suite.py pack $WHEELS" >&2
    exit 2
  fi
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --no-cache-dir \
    --target "$site" "$WHEELS"/*.whl
  for folder in "$WHEELS"/*/; do
    if [ -d "$folder" ]; then cp -r "${folder%/}" "$site/"; fi
  done
  path=$root:$site
fi

PYTHONPATH=$path${PYTHONPATH:+:$PYTHONPATH} "$python" "$root/benchmarks/gpu_suite.py" run "$out" \
  ${MINI:+--mini "$MINI"} "$@"
