"""Post-training INT8 quantization: calibrate, plan, insert Q/DQ in the target's dialect."""
