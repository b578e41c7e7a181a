"""TensorRT's fused layers find the layers of the graph that they compute."""

from qdq_graphs import residual_net

from compress.measure.fused_layers import describe_slowest, match_fused
from compress.precision import COMPUTE
from compress.runtimes.variants import RanNode


def ran(name: str, seconds: float) -> RanNode:
    return RanNode(name, "", "TensorRT", seconds)


def test_a_layer_is_found_in_the_name_of_a_fused_one() -> None:
    model = residual_net()
    names = [node.name for node in model.graph.graph if node.op_type in COMPUTE]
    assert all(names)
    profile = [ran(f"PWN({name}_relu) + {name}", 0.001 * number) for number, name in enumerate(names, start=1)]
    found = match_fused(model, profile)
    assert [run.node.name for run in found] == names
    assert [run.ran and run.ran.seconds for run in found] == [node.seconds for node in profile]


def test_a_layer_fused_with_others_has_no_time_of_its_own() -> None:
    model = residual_net()
    names = [str(node.name) for node in model.graph.graph if node.op_type in COMPUTE]
    found = match_fused(model, [ran("{ForeignNode[" + "...".join(names[:1]) + "]} + " + names[1], 0.001)])
    assert all(run.ran is None for run in found)


def test_the_slowest_are_told_with_their_share() -> None:
    text = describe_slowest([ran("a", 0.001), ran("b + c", 0.006), ran("d", 0.002), ran("e", 0.001)])
    assert text == (
        "Of 4 layers TensorRT's slowest are `b + c` 6.00 ms (60 %), `d` 2.00 ms (20 %), `a` 1.00 ms (10 %),"
        " timed one by one in a run of its own."
    )
    assert describe_slowest([]) is None
    assert describe_slowest([ran("a", 0.0)]) is None
