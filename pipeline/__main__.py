"""`python -m pipeline STAGE ...` is the same as `visagg STAGE ...`."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
