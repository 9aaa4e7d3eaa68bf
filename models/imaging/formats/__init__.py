"""Image formats other than DICOM: headers and decoding."""
