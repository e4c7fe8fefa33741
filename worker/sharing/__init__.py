"""What goes into a zip for others: checkpoints, trainers, ONNX."""
