"""The programs of a Jetson for tests: ``nvpmodel``, ``jetson_clocks``, ``tegrastats`` in the formats that boards print.

The lines are those of a Jetson Orin Nano Super with JetPack 6.2 (L4T R36.4): public recordings, numbers as they came.
"""

import os
from pathlib import Path

import fake_trtexec

NVPMODEL = "NV Power Mode: MAXN_SUPER\n2\n"

CLOCKS = """\
SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super
Online CPUs: 0-5
cpu0:  Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1728000 CurrentFreq=729600 IdleStates: WFI=1 c7=1
GPU MinFreq=306000000 MaxFreq=1020000000 CurrentFreq=306000000
EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=2133000000 FreqOverride=0
NV Power Mode: MAXN_SUPER
"""

TEGRASTATS = (
    "04-27-2026 15:00:54 RAM 779/7620MB (lfb 2x4MB) SWAP 0/3810MB (cached 0MB)"
    " CPU [0%@1344,0%@1344,0%@1344,0%@1344,0%@1344,0%@1344] GR3D_FREQ 0%"
    " cpu@50.125C soc2@49.125C soc0@49.25C gpu@50.562C tj@50.562C soc1@50.437C"
    " VDD_IN 6626mW/6625mW VDD_CPU_GPU_CV 1228mW/1230mW VDD_SOC 2380mW/2380mW"
)

FILES = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "sys/class/hwmon/hwmon3/oc1_event_cnt": "0\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
}

_CLOCKS_PROGRAM = r"""#!/bin/sh
here="$(dirname "$0")"
echo "$@" >> "$here/clocks.calls"
case "$1" in
  --show) cat "$here/clocks.txt" ;;
  --store) cp "$here/clocks.state" "$2" ;;
  --restore) cp "$2" "$here/clocks.state" ;;
  "") echo locked > "$here/clocks.state" ;;
esac
"""

_TEGRASTATS_PROGRAM = r"""#!/bin/sh
while true; do echo '{line}'; sleep 0.05; done
"""


def install(folder: Path) -> Path:
    """Write the programs into a folder that is then put on PATH; return the file that says how the clocks are."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clocks.txt").write_text(CLOCKS, encoding="utf-8")
    (folder / "clocks.state").write_text("as they were\n", encoding="utf-8")
    programs = {
        "nvpmodel": f"#!/bin/sh\nprintf '{NVPMODEL}'\n".replace("\n2\n'", "\\n2\\n'"),
        "jetson_clocks": _CLOCKS_PROGRAM,
        "tegrastats": _TEGRASTATS_PROGRAM.replace("{line}", TEGRASTATS),
    }
    for name, text in programs.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder / "clocks.state"


def make_jetson(folder: Path, python: str, **trtexec: bool | float) -> dict[str, str]:
    """Make a whole Jetson: its programs, trtexec among them, and its files; return the environment that it needs."""
    programs, root = folder / "bin", folder / "root"
    install(programs)
    # Long enough for tegrastats to speak, on a busy machine too.
    fake_trtexec.install(programs, python, **{"seconds": 0.3, **trtexec})  # type: ignore[arg-type]
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return {"PATH": os.pathsep.join([str(programs), "/usr/bin", "/bin"]), "COMPRESS_SYSTEM_ROOT": str(root)}
