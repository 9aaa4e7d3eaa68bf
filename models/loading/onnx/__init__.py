"""A lab's own image classifier as an ONNX network: what may be certified, checked and loaded."""
