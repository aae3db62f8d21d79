"""What every room needs: errors, files, progress, provenance, vectors, and what this machine is."""
