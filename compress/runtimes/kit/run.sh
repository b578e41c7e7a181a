#!/bin/sh
# Builds the engine on this board, measures its latency, writes board-report.json. Needs what JetPack installs, no more.
set -eu
cd "$(dirname "$0")"
exec python3 board.py "$@"
