"""The tools at the terminal: subcommands with the tools' own requests and functions."""
