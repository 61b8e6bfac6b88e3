"""One module per contestant; a function per case that it can take part in. Imported in the worker only."""
