"""What a generation is made of: frozen dataclasses that are settings and code in one."""
