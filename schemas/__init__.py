"""The wire contract: marshmallow schemas, strict. ``openapi.json`` is generated from them (``objection openapi``)."""
