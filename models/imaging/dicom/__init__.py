"""DICOM images: data sets, pixels, lookup tables and codecs."""
