"""How large the values of a graph become on calibration samples."""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from compress.data.subset import take
from compress.errors import DataError
from compress.model import Model
from compress.quantize.calibrate import batch_size
from compress.runtimes import open_graph
from compress.runtimes.batching import fill_batch, fixed_batch
from compress.steps import StepContext


def measure_magnitudes(model: Model, count: int, context: StepContext) -> dict[str, float]:
    """Return the largest magnitude of each float32 activation on at most so many calibration samples, by name.

    Raises:
        DataError: A value is not finite.
    """
    graph = model.copy_graph()
    ShapeInferencePass()(graph)
    values = [value for node in graph.graph for value in node.outputs]
    names = [str(value.name) for value in values if value.name and value.dtype is ir.DataType.FLOAT]
    inputs = [spec.name for spec in model.inputs if spec.dtype == "float32"]
    found = dict.fromkeys((*inputs, *names), 0.0)
    samples = take(context.calibration, count)
    fixed, done = fixed_batch(model), 0
    # Every Q/DQ as it is written: the compiler's kernels are not this machine's.
    with open_graph(model.to_bytes(), threads=context.threads, outputs=names, simulate=True) as session:
        for batch in samples.batches(batch_size(model, samples, session, names)):
            feed = fill_batch(batch.inputs, fixed)
            for name, array in {**feed, **session.run(feed)}.items():
                if name in found:
                    found[name] = max(found[name], float(np.max(np.abs(array), initial=0.0)))
            done += len(batch)
            context.progress("measure magnitudes", done, len(samples))
    for name, magnitude in found.items():
        if not np.isfinite(magnitude):
            raise DataError(
                f"activation `{name}` is not finite on the samples of {samples.name}",
                hint="look for a division by zero or an overflow in the model, or for broken samples",
            )
    return found
