"""The report as one HTML page: offline, from one file, without a request to any network."""
