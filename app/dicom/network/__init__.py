"""DICOM by association: what comes in, what goes out, what is fetched."""
