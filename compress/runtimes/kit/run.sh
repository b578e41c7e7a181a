#!/bin/sh
# Builds the engine on this board, measures it, writes board-report.json. Needs what JetPack installs, no more.
# --lock-clocks: hold the board's clocks at their maximum while measuring (jetson_clocks, as root); restored in any case.
set -eu
cd "$(dirname "$0")"
exec python3 board.pyz kit "$@"
