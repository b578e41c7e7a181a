"""What runs on a board: the build kit's program and the agent of ``--device ssh://…``, one zip archive of plain Python.

Python 3.8 and the standard library, plus the runtime that the board has (ONNX Runtime with NumPy, or TensorRT's
trtexec). Nothing here imports the rest of the project, and nothing is installed: :mod:`compress.runtimes.kit.archive`
packs the folder into ``board.pyz``, in which the package is called ``board``.
"""
