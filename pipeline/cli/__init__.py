"""The command line: reads the settings, calls one function, turns an error into one line and an exit status.

Each command imports what it calls when it runs: `visagg heads` does not wait for torch.
"""
