"""The report as SARIF 2.1.0: what the gate does not pass and what the run found, each at the line behind it."""
