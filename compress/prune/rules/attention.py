"""The operator Attention of opset 23."""

OPERATORS: dict[str, object] = {}
