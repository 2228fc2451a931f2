"""The register: records signed objections, proves that it did, and opens them for their holders only."""
