#!/usr/bin/env bash
# Train on several GPUs, or processes of a CPU, on one machine or more: see docs/distributed.md.
set -euo pipefail

if [[ $# -lt 2 || ! $2 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500] $0 CONFIG NUM_PROCESSES [options of tools/train.py]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
TOOLS=$(cd "$(dirname "$0")" && pwd)

# On one machine, torchrun finds a free port itself; several have to agree on one.
PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" \
exec python -m mmcell.cli.torchrun \
    --nnodes="${NNODES:-1}" \
    --node-rank="${NODE_RANK:-0}" \
    ${MASTER_ADDR:+--master-addr="$MASTER_ADDR"} \
    ${PORT:+--master-port="$PORT"} \
    --nproc-per-node="$GPUS" \
    "$TOOLS/train.py" "$CONFIG" --launcher pytorch "${@:3}"
