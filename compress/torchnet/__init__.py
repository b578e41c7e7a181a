"""Run and train an ONNX graph in PyTorch: initializers are parameters, trained values go back by name."""
