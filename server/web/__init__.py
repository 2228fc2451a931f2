"""HTTP: parse the request, call one use case, write the answer."""
