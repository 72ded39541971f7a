"""How policy files are read: bytes of YAML in, one checked set of policies or all mistakes out."""
