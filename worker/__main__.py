"""`python -P -m nnunet_mcp.worker <run directory> <stage>`: carry out one stage."""

if __name__ == "__main__":
    import sys

    from nnunet_mcp.worker.stage import carry_out

    sys.exit(carry_out(sys.argv[1], sys.argv[2]))
