"""`python -P -m nnunet_mcp.worker <run directory> <stage>`: carry out one stage.

Every pool process that nnU-Net spawns imports this file again, so nothing is imported at its top that such a process
does not need.
"""

if __name__ == "__main__":
    import sys

    from nnunet_mcp.worker.stage import carry_out

    sys.exit(carry_out(sys.argv[1], sys.argv[2]))
else:
    from nnunet_mcp.worker.orphans import end_with_parent

    end_with_parent()
