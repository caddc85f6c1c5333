"""A local stand-in for the vendors: sample shops and a server that speaks their protocols."""
