"""Devices: where an engine runs: this machine, or another CPU under user-mode QEMU (accuracy only, never speed)."""
