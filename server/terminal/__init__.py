"""The tools for people: subcommands with the tools' own requests and functions."""
