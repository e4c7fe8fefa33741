"""Looks at and writes the files of an import, in a process of its own, without torch."""
